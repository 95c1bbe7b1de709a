# SPDX-License-Identifier: Apache-2.0
"""A desk with a small image in the form of Porter's, at which flash.sh write is tried."""

from __future__ import annotations

import hashlib
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.required import need

ROOT = Path(__file__).parents[1]
MIB = 1024 * 1024
PARTITIONS = (("autoboot", 4, 8), ("boot-a", 12, 4), ("root-a", 16, 4), ("data", 20, 8))
TOOLS = (
    ("bmaptool", "bmap-tools"),
    ("sfdisk", "fdisk"),
    ("mcopy", "mtools"),
    ("mkfs.vfat", "dosfstools"),
    ("zstd", "zstd"),
    ("ssh-keygen", "openssh-client"),
)


@dataclass
class Desk:
    """A folder with a small image in the form of Porter's, and the command."""

    folder: Path
    image: Path
    card: Path = field(init=False)

    def __post_init__(self) -> None:
        self.card = self.folder / "card.img"

    def write(self, *words: str | Path, given: str = "") -> tuple[int, str]:
        """Exit code, and what it said."""
        done = subprocess.run(
            [ROOT / "flash.sh", "write", "--image", self.image, *words],
            input=given,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, "TMPDIR": str(self.folder / "tmp")},
        )
        return done.returncode, done.stdout + done.stderr

    def to_file(self, *words: str | Path) -> tuple[int, str]:
        """The same into `card`."""
        return self.write("--to-file", self.card, *words)

    def file(self, name: str, data: str) -> Path:
        """A file of the user's."""
        (self.folder / name).write_text(data)
        return self.folder / name

    def on_card(self, name: str) -> str:
        """A file on the first partition."""
        place = f"{self.card}@@{4 * MIB}"
        done = subprocess.run(
            ["mtype", "-i", place, f"::/{name}"], capture_output=True, text=True, check=False
        )
        return done.stdout if done.returncode == 0 else f"(no {name})"


def run(*command: str | Path, given: str = "") -> None:
    subprocess.run(command, input=given, text=True, capture_output=True, check=True)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image with a FAT that has files, some of it mapped and some not."""
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    for tool, package in TOOLS:
        need(tool, package)
    folder = tmp_path_factory.mktemp("image")
    image = folder / "porter.img"
    with image.open("wb") as opened:
        opened.truncate(32 * MIB)
    table = "".join(f"start={at}MiB, size={size}MiB, name={name}\n" for name, at, size in PARTITIONS)
    run("sfdisk", "--quiet", "--no-reread", image, given=f"label: gpt\n{table}")
    fat = folder / "p1"
    with fat.open("wb") as opened:
        opened.truncate(8 * MIB)
    run("mkfs.vfat", "-n", "PORTER", fat)
    run("mmd", "-i", fat, "::/porter")
    (folder / "autoboot.txt").write_text("[all]\n")
    run("mcopy", "-i", fat, folder / "autoboot.txt", "::/")
    with image.open("r+b") as opened:
        opened.seek(4 * MIB)
        opened.write(fat.read_bytes())
        opened.seek(21 * MIB)
        opened.write(b"a file system's data" * 10_000)
    run("bmaptool", "create", "-o", folder / "porter.bmap", image)
    run("zstd", "-q", image, "-o", folder / "porter.img.zst")
    lines = [f"{hashlib.sha256(each.read_bytes()).hexdigest()}  {each.name}\n" for each in folder.iterdir()]
    (folder / "porter.sha256").write_text("".join(lines))
    return folder


@pytest.fixture
def desk(made: Path, tmp_path: Path) -> Desk:
    for name in ("porter.img", "porter.img.zst", "porter.bmap", "porter.sha256"):
        run("cp", "--sparse=always", made / name, tmp_path / name)
    (tmp_path / "tmp").mkdir()
    return Desk(tmp_path, tmp_path / "porter.img.zst")
