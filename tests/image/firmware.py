# SPDX-License-Identifier: Apache-2.0
"""What a Raspberry Pi's closed firmware does with a card, as documented: which partition it boots, what it loads.

QEMU cannot run that firmware. Rules: https://www.raspberrypi.com/documentation/computers/config_txt.html (autoboot.txt,
tryboot): autoboot.txt of the first FAT partition, of which 512 bytes are read, with the filters [all], [none] and
[tryboot]; without a boot_partition the first partition that can boot. The tryboot flag is gone after it was looked at
once, and with the power.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.image.card import fat_file, partitions

if TYPE_CHECKING:
    from pathlib import Path

AUTOBOOT_BYTES = 512


class DoesNotBootError(Exception):
    """The firmware finds nothing to boot: a brick."""


@dataclass(frozen=True, slots=True)
class Boot:
    """What the firmware hands over to."""

    partition: int
    kernel: bytes
    initramfs: bytes
    command_line: str


def choice(autoboot: bytes | None, *, tryboot: bool) -> int | None:
    """The boot_partition that autoboot.txt names for this boot; None where it names none that is a number."""
    section, chosen = "all", None
    text = (autoboot or b"")[:AUTOBOOT_BYTES].decode("latin-1")
    for line in (each.strip() for each in text.splitlines()):
        if line.startswith("["):
            section = line.strip("[]")
        elif line.startswith("boot_partition=") and (section == "all" or (section == "tryboot" and tryboot)):
            value = line.partition("=")[2]
            chosen = int(value) if value.isdecimal() else chosen
    return chosen


def boot(image: Path, *, tryboot: bool) -> Boot:
    """What a Pi would boot from this card. DoesNotBootError where it would stay dark."""
    found = partitions(image)
    chosen = choice(fat_file(image, found[1], "autoboot.txt"), tryboot=tryboot)
    if chosen and chosen in found and fat_file(image, found[chosen], "config.txt") is not None:
        return _loaded(image, chosen)
    for number in sorted(found):
        if fat_file(image, found[number], "config.txt") is not None:
            return _loaded(image, number)
    raise DoesNotBootError(f"{image}: no partition with a config.txt")


def _loaded(image: Path, number: int) -> Boot:
    partition = partitions(image)[number]
    config = (fat_file(image, partition, "config.txt") or b"").decode()
    names = {}
    for setting in config.splitlines():
        key, _, value = setting.replace("initramfs ", "initramfs=").partition("=")
        names[key.strip()] = value.split()[0] if value.split() else ""
    loaded = [fat_file(image, partition, names.get(key, "")) for key in ("kernel", "initramfs")]
    line = fat_file(image, partition, "cmdline.txt")
    if not loaded[0] or not loaded[1] or line is None:
        raise DoesNotBootError(f"{image}: partition {number} lacks its kernel, initramfs or cmdline.txt")
    return Boot(number, loaded[0], loaded[1], line.decode().strip())
