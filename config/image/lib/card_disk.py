# SPDX-License-Identifier: Apache-2.0
"""The disk that flash.sh write is about to write: may it be written, and does it hold what was written?

Run by `config/image/lib/write.sh` with any Python 3.11 or newer and nothing but its standard library. Exit codes: 0
yes, 1 failed (cannot be read or written, reads back otherwise), 2 this disk must not be written.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import stat
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

COLUMNS = "NAME,PATH,TYPE,SIZE,MODEL,SERIAL,TRAN,RM,HOTPLUG,RO,MOUNTPOINTS,FSTYPE,LABEL"
SYSTEM = ("/", "/boot", "/boot/efi", "/boot/firmware", "/usr", "/var", "/home")
# The file systems in which stale data between what the image maps would count: an old journal, an old FAT.
FILLED = ("autoboot", "boot-a", "data")
EMPTY_BYTES = 1024 * 1024
BLKFLSBUF = 0x1261
CHUNK_BYTES = 4 * 1024 * 1024


class WrongDiskError(Exception):
    """Must not be written; the second argument is a hint."""


@dataclass(frozen=True)
class Range:
    """Bytes start (included) to end (not included); sha256 is of what the image has there."""

    start: int
    end: int
    sha256: str = ""


def mapped(bmap: Path) -> tuple[int, list[Range]]:
    """The image's size in bytes, and the ranges that hold data. Raises ValueError where it is no bmap file."""
    try:
        root = ET.fromstring(bmap.read_text("utf-8"))  # noqa: S314  its hash was checked
        size, block = int(_text(root, "ImageSize")), int(_text(root, "BlockSize"))
        _text(root, "ChecksumType", "sha256")
        ranges = []
        for each in root.iter("Range"):
            first, _, last = (each.text or "").strip().partition("-")
            end = min((int(last or first) + 1) * block, size)
            ranges.append(Range(int(first) * block, end, each.attrib["chksum"]))
    except (ET.ParseError, KeyError, UnicodeDecodeError, ValueError) as error:
        raise ValueError(f"{bmap}: expected a bmap file of bmaptool ({error})") from error
    return size, ranges


def _text(root: ET.Element, name: str, expected: str = "") -> str:
    found = root.find(name)
    text = "" if found is None else (found.text or "").strip()
    if not text or (expected and text != expected):
        raise ValueError(f"{name} is {text or 'missing'}" + (f", expected {expected}" if expected else ""))
    return text


def lsblk(*names: str) -> list[dict[str, Any]]:
    """All disks, or those named, with what is on them."""
    command = ["lsblk", "--json", "--bytes", "--output", COLUMNS, *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise WrongDiskError(done.stderr.strip() or "lsblk failed", "")
    listed: list[dict[str, Any]] = json.loads(done.stdout)["blockdevices"]
    return listed


def below(disk: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The disk, its partitions, and what lies on those."""
    yield disk
    for child in disk.get("children", ()):
        yield from below(child)


def mounts(disk: dict[str, Any]) -> list[str]:
    """Where it or anything on it is mounted; [SWAP] for swap."""
    return [each for part in below(disk) for each in part.get("mountpoints") or () if each]


def is_card(disk: dict[str, Any]) -> bool:
    """Whether it is of the kind that people put in and take out."""
    return bool(disk.get("rm") or disk.get("hotplug") or disk.get("tran") in ("usb", "mmc"))


def judge(disk: dict[str, Any], need_bytes: int, *, internal: bool) -> None:
    """Raises WrongDiskError where the disk, as lsblk describes it, must not be written."""
    path = disk["path"]
    if disk["type"] == "part":
        raise WrongDiskError(
            f"{path} is a partition, expected the whole disk", "./flash.sh list shows the disks"
        )
    if disk["type"] not in ("disk", "loop"):
        raise WrongDiskError(
            f"{path} is of type {disk['type']}, expected a disk", "./flash.sh list shows the disks"
        )
    used = mounts(disk)
    if any(each in SYSTEM for each in used):
        raise WrongDiskError(f"{path} is a disk that this system runs from: it is never written", "")
    if used:
        raise WrongDiskError(f"{path} is in use: {', '.join(used)}", "unmount it first (umount, swapoff)")
    held = [part["name"] for part in below(disk) if part["type"] not in ("disk", "part", "loop")]
    if held:
        raise WrongDiskError(
            f"{path} is in use by {', '.join(held)}", "take it out of that volume or array first"
        )
    if disk.get("ro"):
        raise WrongDiskError(f"{path} is read-only", "the slider at the card's side, or the reader")
    if int(disk["size"] or 0) < need_bytes:
        raise WrongDiskError(
            f"{path} is too small: {size_text(disk['size'])}, the image needs {size_text(need_bytes)}",
            "no card in the reader?" if not disk["size"] else "",
        )
    if not is_card(disk) and not internal:
        raise WrongDiskError(
            f"{path} is neither removable nor USB nor an SD card", "if you are sure: --internal-disk"
        )


def claim(path: str) -> None:
    """Raises WrongDiskError where the kernel says that somebody uses it, also where no mount of ours shows that."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_EXCL))
    except PermissionError:
        raise WrongDiskError(f"{path} may not be opened by you", "run it with sudo") from None
    except OSError as error:
        raise WrongDiskError(f"{path} is in use or away ({error.strerror})", "unmount it first") from None


def size_text(size: int | None) -> str:
    """As it is printed on cards: decimal."""
    size = int(size or 0)
    return f"{size / 1e9:.1f} GB" if size >= 10**9 else f"{size / 1e6:.0f} MB"


def described(disk: dict[str, Any]) -> str:
    """One line that somebody can recognise their card by."""
    model = " ".join(str(disk.get("model") or "no model name").split())
    contents = [f"{part.get('label') or part['name']} ({part.get('fstype') or '?'})" for part in below(disk)][
        1:
    ]
    return "{}: {}, {}, serial {}, {}; on it: {}".format(
        disk["path"],
        model,
        size_text(disk["size"]),
        disk.get("serial") or "unknown",
        disk.get("tran") or ("removable" if is_card(disk) else "internal"),
        ", ".join(contents) or "no partitions",
    )


def check(path: str, need_bytes: int, *, internal: bool) -> str:
    """The description of a disk that may be written. Raises WrongDiskError."""
    try:
        mode = Path(path).stat().st_mode
    except OSError as error:
        raise WrongDiskError(f"{path}: {error.strerror}", "./flash.sh list shows the disks") from None
    if not stat.S_ISBLK(mode):
        raise WrongDiskError(
            f"{path} is no disk, expected e.g. /dev/sdb", "for an image file: --to-file instead"
        )
    (disk,) = lsblk("--", path)
    judge(disk, need_bytes, internal=internal)
    claim(path)
    return described(disk)


def suitable(disks: list[dict[str, Any]]) -> list[str]:
    """A line for each disk that could be written."""
    found = []
    for disk in disks:
        try:
            judge(disk, 1, internal=False)
        except WrongDiskError:
            continue
        if disk["type"] == "disk":
            found.append(described(disk))
    return found


def gaps(ranges: list[Range], start: int, end: int) -> list[Range]:
    """What of start to end no range covers."""
    found, at = [], start
    for each in ranges:
        if each.end <= at or each.start >= end:
            continue
        if each.start > at:
            found.append(Range(at, each.start))
        at = max(at, each.end)
    return found + ([Range(at, end)] if at < end else [])


def fill(disk: Path, bmap: Path, partitions: dict[str, tuple[int, int]]) -> int:
    """Writes zeros where a file system of the image has a hole, and where an empty slot begins; returns how many bytes.

    bmaptool leaves holes as they were on the card, and there an older journal may lie that fits the new file system, or
    an older Porter in the slot that is to be empty.
    """
    size, ranges = mapped(bmap)
    filled = 0
    with disk.open("r+b", buffering=0) as opened:
        for name, (start, end) in partitions.items():
            empty = gaps(ranges, start, end) == [Range(start, end)]
            last = min(end, size) if name in FILLED else min(end, start + EMPTY_BYTES) if empty else start
            for gap in gaps(ranges, start, last):
                opened.seek(gap.start)
                for at in range(gap.start, gap.end, CHUNK_BYTES):
                    filled += opened.write(bytes(min(CHUNK_BYTES, gap.end - at)))
        os.fsync(opened.fileno())
    return filled


def partitions_of(disk: Path) -> dict[str, tuple[int, int]]:
    """Name to first byte and byte after the last, by sfdisk. Raises ValueError."""
    done = subprocess.run(["sfdisk", "--json", disk], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"{disk}: no partition table could be read")
    table = json.loads(done.stdout)["partitiontable"]
    sector = int(table.get("sectorsize", 512))
    return {
        each.get("name", ""): (each["start"] * sector, (each["start"] + each["size"]) * sector)
        for each in table["partitions"]
    }


def verify(disk: Path, bmap: Path, *, progress: bool) -> int:
    """Reads back every range from the medium itself, as far as Linux can tell; returns how many bytes.

    Raises ValueError with the first place that differs.
    """
    _, ranges = mapped(bmap)
    total, done = sum(each.end - each.start for each in ranges), 0
    with disk.open("rb", buffering=0) as opened:
        _forget(opened.fileno())
        for each in ranges:
            opened.seek(each.start)
            digest, left = hashlib.sha256(), each.end - each.start
            while left:
                data = opened.read(min(CHUNK_BYTES, left))
                if not data:
                    raise ValueError(f"{disk} ends at {opened.tell()} bytes, expected {each.end}")
                digest.update(data)
                left -= len(data)
                done += len(data)
                if progress:
                    bar = "#" * (done * 40 // total)
                    print(f"\r  [{bar:<40}] {done * 100 // total:3d} %", end="", file=sys.stderr, flush=True)
            if digest.hexdigest() != each.sha256:
                raise ValueError(
                    f"{disk} does not hold what was written: bytes {each.start} to {each.end} differ"
                )
    if progress:
        print(file=sys.stderr)
    return total


def _forget(opened: int) -> None:
    """What the kernel still has of it in memory is written and forgotten."""
    if stat.S_ISBLK(os.fstat(opened).st_mode) and os.geteuid() == 0:
        fcntl.ioctl(opened, BLKFLSBUF, 0)
    os.posix_fadvise(opened, 0, 0, os.POSIX_FADV_DONTNEED)


def run(command: str, *words: str) -> str:
    """What it found, for people or for the shell. Raises WrongDiskError, ValueError, OSError."""
    match command, words:
        case "list", ():
            return "\n".join(suitable(lsblk()))
        case "check", (path, need, internal):
            return check(path, int(need), internal=internal == "yes")
        case "size", (bmap,):
            return str(mapped(Path(bmap))[0])
        case "offset", (disk,):
            return str(partitions_of(Path(disk))["autoboot"][0])
        case "fill", (disk, bmap):
            return str(fill(Path(disk), Path(bmap), partitions_of(Path(disk))))
        case "verify", (disk, bmap):
            return str(verify(Path(disk), Path(bmap), progress=sys.stderr.isatty()))
    raise ValueError(f"unknown: {command} {' '.join(words)}")


def main() -> int:
    """For the shell: one line on stdout, or two on stderr."""
    try:
        print(run(*sys.argv[1:]))
    except WrongDiskError as error:
        said, hint = error.args
        print(f"flash.sh: {said}" + (f"\n  hint: {hint}" if hint else ""), file=sys.stderr)
        return 2
    except KeyError as error:
        print(f"flash.sh: no partition {error}: is it an image of Porter?", file=sys.stderr)
        return 1
    except (ValueError, OSError) as error:
        print(f"flash.sh: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
