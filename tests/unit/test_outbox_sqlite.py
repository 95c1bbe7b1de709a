# SPDX-License-Identifier: Apache-2.0
"""What only a file can suffer: damage, other versions, a full disk, two processes, a kill."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from device.adapters.outbox_memory import MemoryOutbox
from device.adapters.outbox_sqlite import SqliteOutbox
from device.errors import InputError, StorageError
from device.outbox_file import look_into
from tests.events import event_id, make_event

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


ROUNDS = 30
PAGE = 1024


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.sqlite"


@pytest.fixture
def outbox(path: Path) -> Iterator[SqliteOutbox]:
    outbox = SqliteOutbox(path)
    yield outbox
    outbox.close()


def fill(path: Path, count: int = 40) -> None:
    outbox = SqliteOutbox(path)
    outbox.append([make_event(number) for number in range(count)])
    outbox.close()


def raw(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)


def test_files_are_for_owner_and_group_only(outbox: SqliteOutbox, path: Path) -> None:
    outbox.append([make_event()])
    modes = {
        file.name: stat.S_IMODE(file.stat().st_mode)
        for file in path.parent.iterdir()
        if "lock" not in file.name
    }
    assert modes == {"outbox.sqlite": 0o660, "outbox.sqlite-wal": 0o660, "outbox.sqlite-shm": 0o660}


def test_nothing_is_left_lying_around_after_a_clean_close(path: Path) -> None:
    fill(path)
    assert {file.name for file in path.parent.iterdir()} == {"outbox.sqlite", "outbox.sqlite.lock"}


@pytest.mark.parametrize("content", [b"", b"not a database at all, but long enough to be one " * 100])
def test_a_file_that_is_no_database_is_set_aside(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    outbox = SqliteOutbox(path)
    assert outbox.set_aside is not None
    assert outbox.set_aside.read_bytes() == content
    assert [event.seq for event in outbox.append([make_event()])] == [1]
    outbox.close()


def test_nothing_that_was_set_aside_is_ever_overwritten(path: Path) -> None:
    for number in range(3):
        path.write_bytes(b"damage %d" % number)
        SqliteOutbox(path).close()
    aside = sorted(file.read_bytes() for file in path.parent.glob("outbox.sqlite.corrupt-*"))
    assert aside == [b"damage 0", b"damage 1", b"damage 2"]


def test_a_torn_file_gives_all_its_events_or_is_set_aside(path: Path, tmp_path: Path) -> None:
    fill(path)
    whole = path.read_bytes()
    for size in range(100, len(whole) + 1, 3989):
        folder = tmp_path / f"{size}"
        folder.mkdir()
        (folder / path.name).write_bytes(whole[:size])
        outbox = SqliteOutbox(folder / path.name)
        left = [event.seq for event in outbox.peek(100)]
        assert left == sorted(set(left))
        assert outbox.set_aside is not None or len(left) == 40
        outbox.append([make_event(100)])
        outbox.close()


def test_random_damage_never_escapes_as_anything_but_a_storage_error(path: Path, tmp_path: Path) -> None:
    fill(path)
    whole = path.read_bytes()
    dice = random.Random(20261123)
    for round_number in range(ROUNDS):
        folder = tmp_path / f"round-{round_number}"
        folder.mkdir()
        body = bytearray(whole)
        for _ in range(dice.choice([1, 20, 400])):
            body[dice.randrange(len(body))] = dice.randrange(256)
        (folder / path.name).write_bytes(body)
        try:
            with closing(SqliteOutbox(folder / path.name)) as outbox:
                outbox.peek(100)
                outbox.append([make_event(1000)])
        except StorageError:  # another version or somebody else's, by its header
            assert (folder / path.name).read_bytes() == body


def test_damage_that_shows_itself_while_both_have_it_open_loses_no_new_event(path: Path) -> None:
    fill(path, 4)
    writer, reader = SqliteOutbox(path), SqliteOutbox(path)
    writer.append([make_event(50)])
    with closing(sqlite3.connect(path)) as db:  # what is read below comes from the file, not from its log
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:  # a bad block: everything after the first page
        file.seek(PAGE)
        file.write(b"\xa5" * (path.stat().st_size - PAGE))
    with pytest.raises(StorageError, match="another process still has it open"):
        SqliteOutbox(path, busy_timeout_s=0.1)
    reader._file.let_go()  # in life these are two processes; the reader's next call would do this
    writer.append([make_event(60)])
    assert [event.id for event in reader.peek(10)] == [event_id(60)]
    assert reader.set_aside == writer.set_aside is not None
    writer.close()
    reader.close()
    again = SqliteOutbox(path)
    assert [event.id for event in again.peek(10)] == [event_id(60)]
    again.close()


def test_seq_goes_on_after_damage_in_the_middle_of_a_boot(path: Path) -> None:
    outbox = SqliteOutbox(path)
    outbox.append([make_event(1), make_event(2)])
    (path.parent / "outbox.sqlite.damaged").touch()
    assert [event.seq for event in outbox.append([make_event(3)])] == [3]
    assert outbox.set_aside is not None
    outbox.close()


def test_a_newer_schema_is_refused_and_left_untouched(path: Path) -> None:
    fill(path)
    raw(path, "PRAGMA user_version = 2")
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(StorageError, match="schema version 2, this Porter knows 1") as caught:
        SqliteOutbox(path)
    assert "left as it is" in caught.value.hint
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before


def test_somebody_elses_database_is_refused_and_left_untouched(path: Path) -> None:
    raw(path, "CREATE TABLE recipes (name TEXT)")
    before = path.read_bytes()
    with pytest.raises(StorageError, match="not the one Porter keeps there"):
        SqliteOutbox(path)
    assert path.read_bytes() == before


def test_a_missing_folder_is_named_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="nowhere") as caught:
        SqliteOutbox(tmp_path / "nowhere" / "outbox.sqlite")
    assert "folder" in caught.value.hint


def test_a_body_that_cannot_be_decoded_is_buried_and_never_blocks_the_rest(
    outbox: SqliteOutbox, path: Path
) -> None:
    outbox.append([make_event(number) for number in range(6)])
    raw(
        path,
        'UPDATE event SET body = CAST(\'{"v": 2, "from": "the future"}\' AS BLOB) WHERE seq = 1',
        "UPDATE event SET body = x'ff00' WHERE seq = 2",
        "UPDATE event SET body = zeroblob(0) WHERE seq = 3",
        "UPDATE event SET body = (SELECT body FROM event WHERE seq = 5) WHERE seq = 4",
    )
    assert [event.seq for event in outbox.peek(2)] == [5, 6]
    assert (outbox.depth(), outbox.dead()) == (2, 4)
    assert outbox.set_aside is None


def test_an_event_with_the_id_of_a_waiting_one_is_refused_whole(outbox: SqliteOutbox) -> None:
    outbox.append([make_event(1)])
    with pytest.raises(StorageError, match="UNIQUE"):
        outbox.append([make_event(2), make_event(1)])
    assert [event.seq for event in outbox.append([make_event(3)])] == [2]


def test_another_process_that_holds_the_lock_too_long_is_named_as_the_cause(path: Path) -> None:
    outbox = SqliteOutbox(path, busy_timeout_s=0.05)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="locked") as caught:
            outbox.append([make_event()])
    assert "another process" in caught.value.hint
    outbox.append([make_event()])
    outbox.close()


CHILD = """
import resource, sys
from pathlib import Path
from device.adapters.outbox_sqlite import SqliteOutbox
from device.errors import StorageError
from tests.events import make_event
mode, path, limit = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
outbox = SqliteOutbox(path)
if mode == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
print("ready", flush=True)
committed = 0
try:
    for number in range(limit):
        outbox.append([make_event(2 * number), make_event(2 * number + 1)])
        committed += 2
        print(committed, flush=True)
except StorageError as error:
    print(type(error).__name__, error.hint, flush=True)
"""


def child(mode: str, path: Path, limit: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, mode, str(path), str(limit)], stdout=subprocess.PIPE, text=True
    )


def test_a_full_disk_is_an_error_and_leaves_nothing_half_written(path: Path) -> None:
    with child("full", path, 120_000) as process:
        out, _ = process.communicate(timeout=60)
    *counts, last = out.splitlines()
    assert last.startswith("StorageError")
    assert "nothing was half written" in last
    outbox = SqliteOutbox(path)
    assert outbox.depth() == int(counts[-1]) > 10
    assert outbox.set_aside is None
    assert len(outbox.append([make_event(1_000_000)])) == 1
    outbox.close()


def test_a_kill_at_any_moment_loses_nothing_that_was_committed(path: Path) -> None:
    dice = random.Random(7)
    for _ in range(6):
        path.unlink(missing_ok=True)
        with child("kill", path, 100_000) as process:
            assert process.stdout is not None
            told = [process.stdout.readline() for _ in range(1 + dice.randrange(60))]
            os.kill(process.pid, signal.SIGKILL)
            told += process.stdout.readlines()
        complete = [int(line) for line in told[1:] if line.endswith("\n")]
        outbox = SqliteOutbox(path)
        events = outbox.peek(100_000)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert len(events) % 2 == 0
        assert len(events) >= max(complete, default=0)
        outbox.close()


def test_many_processes_may_be_first_at_once(path: Path) -> None:
    children = [child("race", path, 0) for _ in range(4)]
    for process in children:
        out, _ = process.communicate(timeout=60)
        assert out == "ready\n"
        assert process.returncode == 0
    assert {file.name for file in path.parent.iterdir()} == {"outbox.sqlite", "outbox.sqlite.lock"}


def test_the_fake_fails_as_it_is_told_to() -> None:
    with pytest.raises(StorageError, match="full"):
        MemoryOutbox(full_after=1).append([make_event(1), make_event(2)])
    with pytest.raises(StorageError, match="I/O"):
        MemoryOutbox(unreadable=True).peek(1)
    with pytest.raises(StorageError, match="full"):
        MemoryOutbox(stuck=True).acknowledge(["x"])


def test_a_full_outbox_drops_the_oldest_and_counts_them(path: Path) -> None:
    """1,000 events of some 600 bytes do not fit into 300 KB: the newest stay, in order, the rest is a gap in `seq`."""
    with closing(SqliteOutbox(path, max_bytes=300_000)) as outbox:
        for start in range(0, 1000, 20):
            outbox.append([make_event(number) for number in range(start, start + 20)])
        assert look_into(path).bytes <= 300_000
        waiting = list(outbox.peek(10_000))
        seqs = [event.seq for event in waiting]
        assert seqs == list(range(1001 - len(seqs), 1001))
        assert 100 < len(seqs) < 600
        assert outbox.dropped() == 1000 - len(seqs)
        assert path.stat().st_size < 600_000


def test_one_commit_larger_than_the_outbox_is_kept_as_far_as_it_fits(path: Path) -> None:
    with closing(SqliteOutbox(path, max_bytes=100_000)) as outbox:
        outbox.append([make_event(number) for number in range(2000)])
        assert look_into(path).bytes <= 100_000
        assert outbox.peek(10_000)[-1].seq == 2000


def test_a_look_into_the_outbox_tells_all_and_changes_nothing(path: Path) -> None:
    fill(path, 4)
    with closing(SqliteOutbox(path)) as outbox:
        outbox.drop([event_id(0)])
        report = look_into(path)
    assert (report.depth, report.dropped, report.dead, report.set_aside) == (3, 1, 0, [])
    (boot,) = report.boots
    assert (boot.waiting, boot.first, boot.last, boot.last_seq, boot.dropped) == (3, 2, 4, 4, 1)
    assert report.oldest == make_event(1).ts
    before = {file.name: file.read_bytes() for file in path.parent.iterdir() if file.suffix == ".sqlite"}
    look_into(path)
    assert before == {
        file.name: file.read_bytes() for file in path.parent.iterdir() if file.suffix == ".sqlite"
    }


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no outbox"),
        (b"", "expected an outbox of version 1"),
        (b"not a database" * 100, "cannot be read"),
    ],
)
def test_what_is_no_outbox_is_named_and_left_alone(path: Path, content: bytes | None, said: str) -> None:
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=said):
        look_into(path)
    assert (path.read_bytes() if content is not None else None) == content
    assert [file for file in path.parent.iterdir() if file != path] == []


def test_an_outbox_of_a_newer_porter_is_not_touched_by_a_look(path: Path) -> None:
    fill(path, 1)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 7")
    with pytest.raises(InputError, match="version 7"):
        look_into(path)


def test_an_outbox_from_before_there_were_drops_is_opened_as_it_is(path: Path) -> None:
    fill(path, 2)
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP TABLE dropped")
    assert look_into(path).dropped == 0
    with closing(SqliteOutbox(path)) as outbox:
        assert (outbox.depth(), outbox.dropped()) == (2, 0)
