# SPDX-License-Identifier: Apache-2.0
"""Room on the storage, what it says of its wear, and what the file systems have counted of errors.

- eMMC: `life_time` (two kinds of memory, each in tenths used; 0x0b: beyond its life) and `pre_eol_info` (1 normal,
  2 four fifths of the spare blocks used, 3 urgent), as JEDEC's eMMC 5.0 has them and the kernel shows them in /sys.
- SD cards have no such figure that a reader shows.
- ext4 keeps `errors_count` over reboots until e2fsck clears it.

Never run on a board's own card: tested on files of the same form.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from device.checkup.finding import Finding
from device.health import LOW_MB, LOW_SHARE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from device.checkup.finding import Level
    from device.checkup.host import Host

SPENT, BEYOND = 9, 11  # tenths of a life, as `life_time` counts them from 1
NEW_CARD = "make ready for a new one: docs/recovery.md, The card is dead"


@dataclass(frozen=True, slots=True)
class Mount:
    """A line of /proc/self/mountinfo."""

    point: str
    kind: str
    source: str
    read_only: bool


def disk_findings(
    host: Host, state_dir: Path, statvfs: Callable[[Path], os.statvfs_result] = os.statvfs
) -> Iterator[Finding]:
    """state_dir, and /data where the image has it."""
    mounts = read_mounts(host)
    looked_at: set[str] = set()
    for folder in (state_dir, host.path("data")):
        mount = mount_of(mounts, folder, host.root)
        name = mount.source if mount else str(folder)  # the image has /data in two places
        if not folder.is_dir() or name in looked_at:
            continue
        looked_at.add(name)
        yield room(folder, mount, statvfs(folder))
    yield from errors_counted(host)
    yield from wear(host)


def room(folder: Path, mount: Mount | None, found: os.statvfs_result) -> Finding:
    """Whether it can be written to, and for how long."""
    where = f"{folder} ({mount.kind} on {mount.source})" if mount else str(folder)
    if mount and mount.read_only:
        hint = "the kernel does so after errors: journalctl -k -b | grep -i -e mmc -e ext4; " + NEW_CARD
        return Finding("disk", "wrong", f"{where} is mounted read-only", hint)
    free_mb = found.f_bavail * found.f_frsize // 1_000_000
    share = found.f_bavail / found.f_blocks if found.f_blocks else 0.0
    text = f"{where} has {free_mb:,} MB free, {share:.0%}"
    if share < LOW_SHARE or free_mb < LOW_MB:
        return Finding("disk", "wrong", text, f"look what fills it: sudo du -xh {folder} | sort -h | tail")
    return Finding("disk", "ok", text)


def errors_counted(host: Host) -> Iterator[Finding]:
    """ext4's own count, and how much was ever written."""
    for folder in sorted(host.path("sys/fs/ext4").glob("*")):
        name = f"sys/fs/ext4/{folder.name}"
        count, written = host.word(f"{name}/errors_count"), host.word(f"{name}/lifetime_write_kbytes")
        if count is None or not count.isdecimal():
            continue  # `features` is no file system
        said = f"{folder.name}: {count} errors of the file system"
        if written and written.isdecimal():
            said += f", {int(written) / 1e6:,.0f} GB written since it was made"
        if int(count):
            hint = "back up what can be, then e2fsck from another system; " + NEW_CARD
            yield Finding("disk", "wrong", said, hint)
        else:
            yield Finding("disk", "ok", said)


def wear(host: Host) -> Iterator[Finding]:
    """What cards and eMMC say of themselves."""
    for device in sorted(host.path("sys/block").glob("mmcblk*")):
        folder, name = f"sys/block/{device.name}/device", device.name
        if "boot" in name or "rpmb" in name:
            continue
        kind, label = host.word(f"{folder}/type"), host.word(f"{folder}/name") or ""
        if kind == "SD":
            text = f"{name} ({label}) is an SD card, and those say nothing of their wear"
            yield Finding("disk", "note", text, "errors are its only sign; keep a second card ready")
            continue
        lives = [tenths(each) for each in (host.word(f"{folder}/life_time") or "").split()]
        spare = tenths(host.word(f"{folder}/pre_eol_info") or "")
        yield emmc(f"{name} ({label})", [each for each in lives if each], spare)


def emmc(name: str, lives: list[int], spare: int) -> Finding:
    """An eMMC's figures. lives: tenths used, from 1; spare: pre_eol_info, 0 where there is none."""
    if not lives and not spare:
        return Finding("disk", "note", f"{name} says nothing of its wear")
    used = max(lives, default=0)
    said = "beyond its rated life" if used >= BEYOND else f"at most {used * 10} % of its life is used"
    if spare >= 2:
        said += ", and its spare blocks run out" if spare >= 3 else ", and most of its spare blocks are"
    level: Level = "wrong" if used > SPENT or spare >= 2 else "ok"
    return Finding("disk", level, f"{name}: {said}", NEW_CARD if level == "wrong" else "")


def tenths(text: str) -> int:
    """`0x01` as a number; 0 where it is none."""
    try:
        return int(text, 16)
    except ValueError:
        return 0


def read_mounts(host: Host) -> list[Mount]:
    """What is mounted where, the last one on top."""
    try:
        lines = host.path("proc/self/mountinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
    mounts = []
    for line in lines:
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(), after.split()
        if len(fields) < 6 or len(kinds) < 3:
            continue
        # Either the mount or the file system below may be read-only (proc(5)).
        options = {*fields[5].split(","), *kinds[2].split(",")}
        mounts.append(Mount(fields[4], kinds[0], kinds[1], "ro" in options))
    return mounts


def mount_of(mounts: list[Mount], folder: Path, root: Path) -> Mount | None:
    """The mount that a folder lies on."""
    name = "/" + str(folder.relative_to(root)) if folder.is_relative_to(root) else str(folder)
    fitting = [each for each in mounts if f"{name}/".startswith(f"{each.point.rstrip('/')}/")]
    return max(reversed(fitting), key=lambda each: len(each.point), default=None)
