# SPDX-License-Identifier: Apache-2.0
"""What every state board keeps: the newest state whole, or None; never an exception on reading."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import msgspec
import pytest

from device.adapters.state_file import FileStateBoard, MemoryStateBoard
from device.errors import StorageError
from device.payloads import CameraInfo, Person, Presence, Present, ServiceState, VisionInfo
from device.shared_record import MAX_BYTES

if TYPE_CHECKING:
    from pathlib import Path

    from device.ports import StateBoard

TIME = "2026-11-23T04:20:00.000Z"


def make_state(boot_ns: int = 1) -> ServiceState:
    present = [Present(person=Person(ref="p_7f3a"), since=TIME)]
    return ServiceState(
        boot_ns=boot_ns,
        stopping=False,
        info=VisionInfo(
            cameras=[CameraInfo(name="cam0", source="files", simulated=True)], models=[], subjects=2
        ),
        presence=[Presence(v=1, device="lobby-01", camera="cam0", ts=TIME, present=present)],
        troubles=[],
    )


@pytest.fixture(params=["memory", "file"])
def board(request: pytest.FixtureRequest, tmp_path: Path) -> StateBoard:
    return FileStateBoard(tmp_path / "state.json") if request.param == "file" else MemoryStateBoard()


def test_an_empty_board_reads_none(board: StateBoard) -> None:
    assert board.read() is None


def test_the_newest_state_is_read_again_and_again(board: StateBoard) -> None:
    board.show(make_state(1))
    board.show(make_state(2))
    assert board.read() == make_state(2)
    assert board.read() == make_state(2)


def test_the_file_is_for_owner_and_group_only(tmp_path: Path) -> None:
    FileStateBoard(tmp_path / "state.json").show(make_state())
    assert stat.S_IMODE((tmp_path / "state.json").stat().st_mode) == 0o640


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"null",
        msgspec.json.encode(make_state())[:-20],
        b'{"boot_ns": "yesterday"}',
        b"[" * 100_000,
        b" " * (MAX_BYTES + 1),
    ],
    ids=["empty", "torn", "not-text", "null", "truncated", "other-types", "deep", "huge"],
)
def test_nonsense_reads_none_and_a_good_state_afterwards_reads_well(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(content)
    board = FileStateBoard(path)
    assert board.read() is None
    assert board.read() is None
    FileStateBoard(path).show(make_state(7))
    assert board.read() == make_state(7)


def test_nonsense_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "state.json"
    board = FileStateBoard(path)
    for number in range(3):
        path.write_bytes(b"{")
        os.utime(path, ns=(number, number))
        board.read()
    assert [record.message.split()[0] for record in caplog.records] == ["state_unreadable"]


def test_a_board_that_vanishes_reads_none(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    board = FileStateBoard(path)
    board.show(make_state())
    assert board.read() is not None
    path.unlink()
    assert board.read() is None


def test_a_missing_folder_is_a_storage_error_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written") as caught:
        FileStateBoard(tmp_path / "nowhere" / "state.json").show(make_state())
    assert "systemd-tmpfiles" in caught.value.hint


def test_the_fake_fails_as_it_is_told_to() -> None:
    assert MemoryStateBoard(unreadable=True).read() is None
    with pytest.raises(StorageError):
        MemoryStateBoard(full=True).show(make_state())


def test_a_link_or_a_pipe_in_its_place_reads_none_and_holds_nobody(tmp_path: Path) -> None:
    """The folder may be the other user's: what they put there must not lead the reader elsewhere."""
    elsewhere, path = tmp_path / "elsewhere", tmp_path / "state.json"
    FileStateBoard(elsewhere).show(make_state())
    path.symlink_to(elsewhere)
    assert FileStateBoard(path).read() is None
    path.unlink()
    os.mkfifo(path)
    assert FileStateBoard(path).read() is None
