# SPDX-License-Identifier: Apache-2.0
"""Updates that are wrong in one known way, and one that is right: bundles made out of an image that is there.

The root of the image is unpacked, changed as a careless maker of updates would change it, packed again under another
version and signed with the key whose certificate the devices have. Nothing in the image knows that it is tested.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.image.card import Partition, fat_file, put_fat_file
from tests.image.owner import run

if TYPE_CHECKING:
    from collections.abc import Callable

FLASH = str(Path(__file__).parents[2] / "flash.sh")
PORTER = Path("opt/porter")
UNITS = Path("usr/lib/systemd/system")
# Nothing that an emulated device uses, and a quarter of what its processor has to stream and check in each update.
LEFT_OUT = (
    "usr/lib/firmware",
    *(
        f"usr/lib/modules/*/kernel/{part}"
        for part in ("drivers/media", "drivers/net/ethernet", "drivers/net/wireless", "sound")
    ),
    *(f"opt/porter/.venv/lib/python3.13/site-packages/{part}" for part in ("av", "av.libs")),
)
NO_FRAME = """

def _none(self, timeout_s):
    raise CameraStalledError("no frame, by a defect of this update")


FilesCamera.capture = _none
"""


@dataclass(frozen=True, slots=True)
class Variant:
    """One update. root, boot: what is done to the unpacked root, and to the boot partition's file system.

    root: None leaves all of it as it is, even its version: for an update that no device gets to run.
    """

    version: str
    root: Callable[[Path], None] | None = lambda _: None
    boot: Callable[[Path], None] = lambda _: None
    key: str = "update"


def drop_in(root: Path, unit: str, text: str) -> None:
    """What the image's own drop-ins look like."""
    folder = root / UNITS / f"{unit}.d"
    folder.mkdir(exist_ok=True)
    (folder / "variant.conf").write_text(text)


def impatient(root: Path) -> None:
    """porter commit gives up after a minute: what fails only by waiting is waited for less long."""
    drop_in(
        root,
        "porter-commit.service",
        "[Service]\nExecStart=\nExecStart=/opt/porter/.venv/bin/porter commit --deadline 60\n",
    )


def without_detector(root: Path) -> None:
    """A file that was forgotten: the vision service refuses to start, and says why."""
    for file in (root / PORTER / "models").glob("yunet-320x256/*.tflite"):
        file.unlink()


def change(root: Path, module: str, old: str, new: str) -> None:
    """A change of Porter's own code; with an empty `old` at the end of a module."""
    file = root / PORTER / module
    text = file.read_text()
    assert old in text, f"{module}: no {old!r}"
    file.write_text(text.replace(old, new, 1) if old else text + new)
    for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*"):
        compiled.unlink()


def camera_that_never_gives_a_frame(root: Path) -> None:
    """A camera stack that does not work any more: both services run, and nothing is seen."""
    change(root, "device/adapters/camera_files.py", "", NO_FRAME)
    impatient(root)


def option_with_a_new_name(root: Path) -> None:
    """A newer Porter that calls motion.enabled otherwise, and has declared so."""
    change(
        root,
        "device/options.py",
        '    """The motion gate: nothing runs on a still picture."""\n\n    enabled:',
        '    """The motion gate: nothing runs on a still picture."""\n\n    gate:',
    )
    change(root, "device/assembly.py", "if motion.enabled", "if motion.gate")
    moved = 'MIGRATIONS = (Migration("motion.enabled", "motion.gate", "0.0.9", "a test"),)\n'
    change(root, "device/config_migrations.py", "MIGRATIONS: tuple[Migration, ...] = ()\n", moved)


def first_process_that_dies(root: Path) -> None:
    """systemd itself crashes some seconds after the boot and stops for good: only the hardware watchdog is left."""
    (root / UNITS / "variant-crash.service").write_text(
        # Before it could be kept, which takes half a minute: multi-user.target comes only after that.
        "[Unit]\nAfter=porter.target\n[Service]\nExecStart=/bin/sh -c 'sleep 5; kill -SEGV 1'\n"
    )
    wants = root / UNITS / "multi-user.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / "variant-crash.service").symlink_to("../variant-crash.service")


def initramfs_cut_short(boot: Path) -> None:
    """A kernel that finds no root."""
    whole = Partition(1, "boot", 0, boot.stat().st_size)
    data = fat_file(boot, whole, "initrd.img")
    assert data
    with tempfile.NamedTemporaryFile(dir=boot.parent) as half:
        half.write(data[: len(data) // 3])
        half.flush()
        put_fat_file(boot, whole, Path(half.name), "initrd.img")


def change_root(old: Path, version: str, edit: Callable[[Path], None], new: Path) -> None:
    """Unpacks the root, does that to it, and packs it under another version."""
    with tempfile.TemporaryDirectory(dir=new.parent) as folder:
        root = Path(folder) / "root"
        run("unsquashfs", "-quiet", "-no-progress", "-d", str(root), "-excludes", str(old), *LEFT_OUT)
        edit(root)
        release = root / "usr/lib/os-release"
        release.write_text(re.sub(r'VERSION_ID="[^"]*"', f'VERSION_ID="{version}"', release.read_text()))
        packing = ("-quiet", "-no-progress", "-comp", "zstd", "-Xcompression-level", "1", "-no-exports")
        run("mksquashfs", str(root), str(new), *packing)


def bundle(image: Path, variant: Variant, keys: Path, out: Path) -> Path:
    """The update of that variant, made out of `image` and what lies beside it. From `out` where it is newer."""
    made = out / f"{variant.version}.raucb"
    base = image.with_suffix("")
    parts = {part: Path(f"{base}.{part}") for part in ("root.squashfs", "boot.vfat", "compatible")}
    if made.exists() and made.stat().st_mtime > max(
        file.stat().st_mtime for file in (*parts.values(), Path(__file__))
    ):
        return made
    made.unlink(missing_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="variant-", dir=out))
    try:
        name = folder / "update"
        packed = Path(f"{name}.root.squashfs")
        if variant.root is None:
            packed.symlink_to(parts["root.squashfs"])
        else:
            change_root(parts["root.squashfs"], variant.version, variant.root, packed)
        shutil.copy(parts["boot.vfat"], f"{name}.boot.vfat")
        variant.boot(Path(f"{name}.boot.vfat"))
        board = parts["compatible"].read_text().splitlines()[0]
        Path(f"{name}.compatible").write_text(f"{board}\n{variant.version}\n")
        Path(f"{name}.img").touch()
        signed = [
            "--cert",
            str(keys / f"{variant.key}.cert.pem"),
            "--key",
            str(keys / f"{variant.key}.key.pem"),
        ]
        run(FLASH, "bundle", "--image", f"{name}.img", *signed, "--out", str(made))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return made


class Updates:
    """The bundle of a variant, made when it is first wanted."""

    def __init__(self, image: Path, keys: Path, out: Path) -> None:
        self._image, self._keys, self._out = image, keys, out
        self._one = threading.Lock()
        if not (keys / "foreign.cert.pem").exists():
            with tempfile.TemporaryDirectory() as folder:
                run(FLASH, "keys", f"{folder}/keys", "--name", "somebody else")
                for kind in ("cert", "key"):
                    shutil.copy(f"{folder}/keys/update.{kind}.pem", keys / f"foreign.{kind}.pem")

    def __call__(self, variant: Variant) -> Path:
        """Its file."""
        with self._one:
            return bundle(self._image, variant, self._keys, self._out)
