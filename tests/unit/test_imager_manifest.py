# SPDX-License-Identifier: Apache-2.0
"""The file by which Raspberry Pi Imager offers an image: the fields that its schema wants, and right."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from tests.required import need

ROOT = Path(__file__).parents[2]
# "required" of an entry in rpi-imager's doc/json-schema/os-list-schema.json, and devices (its doc/schema-notes.md).
REQUIRED = {"name", "description", "icon", "url", "extract_size", "extract_sha256"}
REQUIRED |= {"image_download_size", "release_date", "devices"}


def manifest(*words: str | Path) -> tuple[int, str]:
    done = subprocess.run(
        [ROOT / "flash.sh", "manifest", *words], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_it_says_of_the_image_what_imager_checks(tmp_path: Path) -> None:
    need("zstd", "zstd")
    data = bytes(range(256)) * 5_000
    image = tmp_path / "porter-0.1.0+g1-rpi5-raspios.img"
    image.write_bytes(data)
    subprocess.run(["zstd", "-q", image], check=True)
    packed = image.with_name(f"{image.name}.zst")
    code, said = manifest("--image", packed, "--url", "https://door.example/images/")
    assert code == 0, said
    (entry,) = json.loads(said)["os_list"]
    assert set(entry) >= REQUIRED
    assert entry["name"] == "Porter 0.1.0+g1 (Raspberry Pi 5, raspios)"
    assert entry["url"] == f"https://door.example/images/{packed.name}"
    assert (entry["extract_size"], entry["extract_sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert entry["image_download_size"] == packed.stat().st_size
    assert entry["image_download_sha256"] == hashlib.sha256(packed.read_bytes()).hexdigest()
    assert (entry["devices"], entry["init_format"]) == (["pi5-64bit"], "none")


@pytest.mark.parametrize(
    ("name", "url", "reason"),
    [
        ("porter-1-rpi4-debian.img", "door.example", "expected https://"),
        ("other.img", "https://door.example", "expected a name as flash.sh build gives it"),
        ("porter-1-rpi4-debian.img.zst", "https://door.example", "could not be unpacked"),
        ("away/porter-1-rpi4-debian.img", "https://door.example", "No such file"),
    ],
)
def test_what_it_cannot_describe_it_refuses(tmp_path: Path, name: str, url: str, reason: str) -> None:
    need("zstd", "zstd")
    if "/" not in name:
        (tmp_path / name).write_bytes(b"not an image")
    code, said = manifest("--image", tmp_path / name, "--url", url)
    assert (code, reason in said) == (2, True), said
