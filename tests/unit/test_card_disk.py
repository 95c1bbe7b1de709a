# SPDX-License-Identifier: Apache-2.0
"""Which disks flash.sh write takes, as lsblk describes them; what it finds on them afterwards."""

from __future__ import annotations

import hashlib
import os
import pty
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from config.image.lib import card_disk
from config.image.lib.card_disk import Range, WrongDiskError
from tests.flashing import MIB, ROOT, desk, made

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.flashing import Desk

__all__ = ["desk", "made"]

GB = 10**9


def disk(**changes: Any) -> dict[str, Any]:
    """A card in a USB reader, in lsblk's words."""
    part = {"name": "sdb1", "path": "/dev/sdb1", "type": "part", "size": GB, "mountpoints": [None]}
    return {
        "name": "sdb",
        "path": "/dev/sdb",
        "type": "disk",
        "size": 32 * GB,
        "model": "STORAGE  DEVICE",
        "serial": "0815",
        "tran": "usb",
        "rm": True,
        "hotplug": True,
        "ro": False,
        "mountpoints": [None],
        "children": [{**part, "fstype": "vfat", "label": "PHOTOS"}],
        **changes,
    }


def holding(**child: Any) -> list[dict[str, Any]]:
    (part,) = disk()["children"]
    return [{**part, **child}]


def test_a_card_in_a_reader_may_be_written_and_is_described_so_that_its_owner_knows_it() -> None:
    card_disk.judge(disk(), 2 * GB, internal=False)
    assert card_disk.described(disk()) == (
        "/dev/sdb: STORAGE DEVICE, 32.0 GB, serial 0815, usb; on it: PHOTOS (vfat)"
    )
    slot = disk(name="mmcblk0", tran="mmc", rm=False, hotplug=False)
    card_disk.judge(slot, 2 * GB, internal=False)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"type": "part"}, "is a partition"),
        ({"type": "rom"}, "of type rom"),
        ({"mountpoints": ["/"]}, "this system runs from"),
        ({"children": holding(mountpoints=["/boot/efi"])}, "this system runs from"),
        ({"children": holding(mountpoints=[None, "/data"])}, "in use: /data"),
        ({"children": holding(mountpoints=["[SWAP]"])}, r"in use: \[SWAP\]"),
        ({"children": holding(children=[{"name": "vg-root", "type": "lvm"}])}, "in use by vg-root"),
        ({"children": [{"name": "md0", "type": "raid1", "mountpoints": []}]}, "in use by md0"),
        ({"ro": True}, "read-only"),
        ({"size": GB}, "too small: 1.0 GB, the image needs 2.0 GB"),
        ({"size": None}, "too small: 0 MB"),
        ({"rm": False, "hotplug": False, "tran": "sata"}, "neither removable"),
        ({"rm": False, "hotplug": False, "tran": None}, "neither removable"),
    ],
)
def test_a_disk_that_must_not_be_written_is_refused_with_the_reason(
    changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(WrongDiskError, match=reason):
        card_disk.judge(disk(**changes), 2 * GB, internal=False)


def test_an_internal_disk_needs_to_be_asked_for_and_a_used_one_is_refused_all_the_same() -> None:
    inner = disk(rm=False, hotplug=False, tran="nvme")
    card_disk.judge(inner, GB, internal=True)
    with pytest.raises(WrongDiskError):
        card_disk.judge({**inner, "mountpoints": ["/"]}, GB, internal=True)


def test_the_list_has_only_what_could_be_written() -> None:
    disks = [disk(), disk(name="sda", tran="sata", rm=False, hotplug=False), disk(size=0), disk(type="rom")]
    assert card_disk.suitable(disks) == [card_disk.described(disk())]


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [
        ([], [(10, 90)]),
        ([(0, 100)], []),
        ([(0, 20), (30, 40)], [(20, 30), (40, 90)]),
        ([(15, 85)], [(10, 15), (85, 90)]),
        ([(0, 5), (95, 99)], [(10, 90)]),
    ],
)
def test_gaps_are_what_no_range_covers(
    ranges: list[tuple[int, int]], expected: list[tuple[int, int]]
) -> None:
    found = card_disk.gaps([Range(*each) for each in ranges], 10, 90)
    assert [(each.start, each.end) for each in found] == expected


def bmap(folder: Path, sha256: str) -> Path:
    file = folder / "x.bmap"
    file.write_text(
        "<bmap version='2.0'><ImageSize>10000</ImageSize><BlockSize>4096</BlockSize>"
        f"<ChecksumType>sha256</ChecksumType><BlockMap><Range chksum='{sha256}'> 1-2 </Range></BlockMap></bmap>"
    )
    return file


def test_what_reads_back_otherwise_or_ends_early_is_found(tmp_path: Path) -> None:
    image = os.urandom(10_000)
    file = bmap(tmp_path, hashlib.sha256(image[4096:]).hexdigest())
    card = tmp_path / "card"
    card.write_bytes(b"other" + image[5:])
    assert card_disk.verify(card, file, progress=False) == 10_000 - 4096
    card.write_bytes(image[:9_999] + bytes([image[9_999] ^ 1]))
    with pytest.raises(ValueError, match="bytes 4096 to 10000 differ"):
        card_disk.verify(card, file, progress=False)
    card.write_bytes(image[:9_000])
    with pytest.raises(ValueError, match="ends at 9000 bytes, expected 10000"):
        card_disk.verify(card, file, progress=False)


@pytest.mark.parametrize("text", ["", "<bmap>", "<bmap/>", "\x00", "<bmap><ImageSize>x</ImageSize></bmap>"])
def test_what_is_no_bmap_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.bmap").write_text(text)
    with pytest.raises(ValueError, match="expected a bmap file"):
        card_disk.mapped(tmp_path / "x.bmap")


@pytest.fixture
def loop(desk: Desk) -> Iterator[str]:
    """A block device of 40 MB, full of what an older card left."""
    backing = desk.folder / "disk"
    backing.write_bytes(b"\xa5" * 40 * MIB)
    if os.geteuid() or not shutil.which("losetup"):
        pytest.skip("loop devices need root and losetup")
    done = subprocess.run(
        ["losetup", "--find", "--show", backing], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no loop device here: {done.stderr.strip()}")
    path = done.stdout.strip()
    yield path
    subprocess.run(["losetup", "--detach", path], check=True)


def test_a_block_device_gets_the_image_and_nothing_old_between(desk: Desk, loop: str) -> None:
    code, said = desk.write(loop, "--internal-disk", "--yes", Path(loop).name, "--hostname", "hall")
    assert code == 0, said
    assert f"{loop}: " in said
    with Path(loop).open("rb") as opened:
        written = opened.read()
    image = (desk.folder / "porter.img").read_bytes()
    # autoboot has a file more. An empty slot begins with nothing; what lies further in it is left.
    assert written[16 * MIB : 20 * MIB] == bytes(MIB) + b"\xa5" * 3 * MIB
    assert written[20 * MIB : 28 * MIB] == image[20 * MIB : 28 * MIB]
    assert written[12 * MIB : 16 * MIB] == image[12 * MIB : 16 * MIB]
    desk.card.write_bytes(written)
    assert desk.on_card("porter/hostname") == "hall\n"


def test_a_block_device_that_is_not_asked_for_small_or_in_use_stays_as_it_is(desk: Desk, loop: str) -> None:
    name = Path(loop).name
    asked = ("--internal-disk", "--yes", name)
    for words, reason in (
        (("--yes", name), "neither removable"),
        (("--internal-disk",), "nobody here to ask"),
        (("--internal-disk", "--yes", "sdb"), f"the disk is {name}"),
    ):
        code, said = desk.write(loop, *words)
        assert (code, reason in said) == (2, True), said
    held = os.open(loop, os.O_RDONLY | os.O_EXCL)
    try:
        code, said = desk.write(loop, *asked)
    finally:
        os.close(held)
    assert (code, "in use" in said) == (2, True), said
    with Path(loop).open("rb") as opened:
        assert opened.read() == b"\xa5" * 40 * MIB
    os.truncate(desk.folder / "disk", 8 * MIB)
    subprocess.run(["losetup", "--set-capacity", loop], check=True)
    code, said = desk.write(loop, *asked)
    assert (code, "too small: 8 MB, the image needs 34 MB" in said) == (2, True), said


@pytest.mark.parametrize(("typed", "code"), [("{name}\n", 0), ("yes\n", 2), ("\n", 2)])
def test_the_name_of_the_disk_has_to_be_typed(desk: Desk, loop: str, typed: str, code: int) -> None:
    ours, theirs = pty.openpty()
    command: list[str | Path] = [ROOT / "flash.sh", "write", "--image", desk.image, loop, "--internal-disk"]
    with subprocess.Popen(
        command, stdin=theirs, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        os.write(ours, typed.format(name=Path(loop).name).encode())
        assert process.wait(60) == code
    os.close(ours)
    os.close(theirs)
