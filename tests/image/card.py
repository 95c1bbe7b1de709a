# SPDX-License-Identifier: Apache-2.0
"""A card's image from outside, as a Raspberry Pi's firmware sees it: partitions by name, files of a FAT by mtools."""

from __future__ import annotations

import struct
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SECTOR_BYTES = 512


@dataclass(frozen=True, slots=True)
class Partition:
    """Where it lies. number counts from 1, as the firmware counts."""

    number: int
    name: str
    start_bytes: int
    length_bytes: int


def partitions(image: Path) -> dict[int, Partition]:
    """What the GPT says, by number."""
    with image.open("rb") as opened:
        opened.seek(SECTOR_BYTES)
        header = opened.read(92)
        if header[:8] != b"EFI PART":
            raise ValueError(f"{image}: expected a GPT")
        (table,) = struct.unpack_from("<Q", header, 72)
        entries, size = struct.unpack_from("<II", header, 80)
        opened.seek(table * SECTOR_BYTES)
        found = {}
        for number in range(1, entries + 1):
            entry = opened.read(size)
            first, last = struct.unpack_from("<QQ", entry, 32)
            if first:
                name = entry[56:128].decode("utf-16-le").rstrip("\0")
                found[number] = Partition(
                    number, name, first * SECTOR_BYTES, (last - first + 1) * SECTOR_BYTES
                )
    return found


def fat_file(image: Path, partition: Partition, name: str) -> bytes | None:
    """A file of a FAT partition; None where there is none."""
    done = subprocess.run(
        ["mtype", "-i", f"{image}@@{partition.start_bytes}", f"::{name}"], capture_output=True, check=False
    )
    return None if done.returncode else done.stdout


def put_fat_file(image: Path, partition: Partition, here: Path, name: str) -> None:
    """Writes a file into a FAT partition, over what is there."""
    subprocess.run(["mcopy", "-o", "-i", f"{image}@@{partition.start_bytes}", here, f"::{name}"], check=True)


def fat_names(image: Path, partition: Partition, folder: str = "") -> list[str]:
    """The names in a folder of a FAT partition."""
    done = subprocess.run(
        ["mdir", "-b", "-i", f"{image}@@{partition.start_bytes}", f"::{folder}"],
        capture_output=True,
        text=True,
        check=False,
    )
    return [line.removeprefix("::").strip("/") for line in done.stdout.splitlines()]
