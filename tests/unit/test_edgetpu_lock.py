# SPDX-License-Identifier: Apache-2.0
"""The Edge TPU has one owner: tried with real processes, one of which is killed."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from device.adapters.edgetpu_lock import EdgeTpuLock
from device.errors import HardwareError

if TYPE_CHECKING:
    from pathlib import Path

HOLD = """
import sys
from pathlib import Path
from device.adapters.edgetpu_lock import EdgeTpuLock
lock = EdgeTpuLock(Path(sys.argv[1]), sys.argv[2])
lock.take(int(sys.argv[3]))
print("held", flush=True)
sys.stdin.readline()
lock.give_back()
"""
HOUR_NS = 3600 * 10**9


def holder(path: Path, what: str = "porter vision", now_ns: int = 5) -> subprocess.Popen[str]:
    """Another process that has the lock, until it is told or killed."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), what, str(now_ns)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    return child


def ended(child: subprocess.Popen[str]) -> None:
    child.communicate("\n", timeout=20)
    assert child.returncode == 0


def test_a_second_process_is_told_who_has_it_and_gets_it_when_it_was_given_back(tmp_path: Path) -> None:
    path = tmp_path / "edgetpu.lock"
    child = holder(path, "porter bench")
    mine = EdgeTpuLock(path, "porter vision")
    with pytest.raises(
        HardwareError, match=rf"Edge TPU: in use by porter bench \(process {child.pid}\)"
    ) as caught:
        mine.take(10)
    assert "one process at a time" in caught.value.hint
    ended(child)
    mine.take(10)
    assert mine.held
    assert mine.deaths(10, HOUR_NS) == 0
    mine.give_back()


def test_a_holder_that_was_killed_lets_go_and_is_counted_as_dead(tmp_path: Path) -> None:
    path = tmp_path / "edgetpu.lock"
    for number in (1, 2, 3):
        child = holder(path, now_ns=number * HOUR_NS)
        child.kill()
        child.communicate()
        lock = EdgeTpuLock(path, "porter vision")
        lock.take(number * HOUR_NS)
        assert lock.deaths(number * HOUR_NS, 10 * HOUR_NS) == number
        lock.give_back()
    lock.take(4 * HOUR_NS)
    assert lock.deaths(4 * HOUR_NS, 2 * HOUR_NS) == 1


def test_the_death_of_another_program_is_not_the_services(tmp_path: Path) -> None:
    path = tmp_path / "edgetpu.lock"
    child = holder(path, "porter")
    child.kill()
    child.communicate()
    lock = EdgeTpuLock(path, "porter vision")
    lock.take(10)
    assert lock.deaths(10, HOUR_NS) == 0


def test_a_death_is_not_forgotten_because_another_program_came_first(tmp_path: Path) -> None:
    path = tmp_path / "edgetpu.lock"
    child = holder(path)
    child.kill()
    child.communicate()
    between = EdgeTpuLock(path, "porter")
    between.take(10)
    between.give_back()
    lock = EdgeTpuLock(path, "porter vision")
    lock.take(20)
    assert lock.deaths(20, HOUR_NS) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file for somebody else")
def test_what_root_makes_is_the_folders_owners(tmp_path: Path) -> None:
    os.chown(tmp_path, 4242, 4343)
    EdgeTpuLock(tmp_path / "edgetpu.lock", "porter").take(10)
    made = (tmp_path / "edgetpu.lock").stat()
    assert (made.st_uid, made.st_gid) == (4242, 4343)


def test_what_was_noted_in_another_boot_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "edgetpu.lock"
    path.write_text(f'{{"pid":0,"what":"porter vision","deaths_ns":[{5 * HOUR_NS}]}}')
    lock = EdgeTpuLock(path, "porter vision")
    lock.take(HOUR_NS)
    assert lock.deaths(HOUR_NS, 10 * HOUR_NS) == 0


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff\x00", b'{"pid": "x"}'])
def test_a_file_that_says_nothing_is_no_obstacle(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "edgetpu.lock"
    path.write_bytes(content)
    lock = EdgeTpuLock(path, "porter vision")
    lock.take(10)
    assert lock.deaths(10, HOUR_NS) == 0


def test_two_models_of_one_process_share_it(tmp_path: Path) -> None:
    path = tmp_path / "edgetpu.lock"
    first, second = EdgeTpuLock(path, "porter"), EdgeTpuLock(path, "porter")
    first.take(10)
    second.take(10)
    second.give_back()
    assert first.held


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    lock = EdgeTpuLock(tmp_path / "none" / "edgetpu.lock", "porter")
    with pytest.raises(HardwareError, match="cannot be locked: No such file"):
        lock.take(10)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "edgetpu.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HardwareError, match="cannot be locked"):
        EdgeTpuLock(tmp_path / "edgetpu.lock", "porter").take(10)
    assert not (tmp_path / "elsewhere").exists()
