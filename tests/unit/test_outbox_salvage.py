# SPDX-License-Identifier: Apache-2.0
"""A damaged outbox gives what can still be read of it: whole events, each once, in order; `seq` goes on."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from device.adapters.outbox_sqlite import SqliteOutbox
from tests.events import event_id, make_event

if TYPE_CHECKING:
    from pathlib import Path

    from device.payloads import Event

PAGE = 1024
COUNT = 200
BOOTS = ("b" * 32, "a" * 32)  # in the order in which they come, which is not that of their names


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.sqlite"


def fill(path: Path) -> list[Event]:
    with closing(SqliteOutbox(path)) as outbox:
        for boot, start in zip(BOOTS, (0, COUNT // 2), strict=True):
            outbox.append([make_event(number, boot=boot) for number in range(start, start + COUNT // 2)])
        return list(outbox.peek(COUNT))


def table_pages(path: Path, table: str) -> list[int]:
    """The 0-based pages that hold the table's rows, its root apart."""
    with closing(sqlite3.connect(path)) as db:
        root = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()[0]
    content = path.read_bytes()  # a leaf of a table begins with 0x0d; only events say what they are
    pages = range(root, len(content) // PAGE)
    return [n for n in pages if content[n * PAGE] == 0x0D and b"match" in content[n * PAGE :][:PAGE]]


def overwrite(path: Path, page: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(page * PAGE)
        file.write(content)


def check_rest(path: Path, before: list[Event]) -> list[Event]:
    """What is there after damage is a part of what was, in order; and a new event is the newest of all."""
    with closing(SqliteOutbox(path)) as outbox:
        left = list(outbox.peek(COUNT + 1))
        order = [before.index(event) for event in left]
        assert order == sorted(set(order))
        (new,) = outbox.append([make_event(5000, boot=BOOTS[1])])
        assert new.seq > max((event.seq for event in left if event.boot == BOOTS[1]), default=0)
        assert outbox.peek(COUNT + 1)[-1] == new
    return left


def test_a_damaged_page_costs_its_own_rows_only(path: Path) -> None:
    before = fill(path)
    pages = table_pages(path, "event")
    overwrite(path, pages[len(pages) // 2], b"\xa5" * PAGE)
    assert COUNT - 3 <= len(check_rest(path, before)) < COUNT
    assert len(list(path.parent.glob("outbox.sqlite.corrupt-*Z"))) == 1


def test_pages_damaged_at_random_give_what_the_others_hold(path: Path) -> None:
    before = fill(path)
    whole = path.read_bytes()
    dice = random.Random(20261123)
    saved = []
    for number in range(25):
        file = path.parent / f"round-{number}" / path.name
        file.parent.mkdir()
        file.write_bytes(whole)
        for page in dice.sample(range(1, len(whole) // PAGE), dice.choice([1, 5, 20])):
            overwrite(file, page, dice.randbytes(PAGE))
        saved.append(len(check_rest(file, before)))
    assert max(saved) > COUNT // 2


def test_a_file_that_was_cut_short_gives_what_is_left(path: Path) -> None:
    before = fill(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 95 // 100])
    assert COUNT // 10 < len(check_rest(path, before)) < COUNT


def test_the_damaged_file_itself_is_kept_as_it_was(path: Path) -> None:
    fill(path)
    overwrite(path, table_pages(path, "event")[3], b"\xa5" * PAGE)
    damaged = path.read_bytes()
    with closing(SqliteOutbox(path)) as outbox:
        assert outbox.set_aside is not None
        assert outbox.set_aside.read_bytes() == damaged


def test_events_in_the_log_are_carried_over_too(path: Path) -> None:
    with closing(SqliteOutbox(path)) as outbox:
        outbox.append([make_event(1), make_event(2)])
        (path.parent / "outbox.sqlite.damaged").touch()
        assert [event.id for event in outbox.peek(9)] == [event_id(1), event_id(2)]
        assert [event.seq for event in outbox.append([make_event(3)])] == [3]


def test_seq_does_not_go_back_where_the_newest_rows_are_lost(path: Path) -> None:
    with closing(SqliteOutbox(path)) as outbox:
        outbox.append([make_event(number) for number in range(100)])
        with closing(sqlite3.connect(path)) as db:
            db.execute("UPDATE boot SET last_seq = 7")
            db.execute("DELETE FROM event WHERE seq > 7")
            db.commit()
        assert outbox.append([make_event(100)])[0].seq == 101


def test_dropped_events_stay_counted(path: Path) -> None:
    with closing(SqliteOutbox(path)) as outbox:
        outbox.append([make_event(1), make_event(2)])
        outbox.drop([event_id(1)])
        (path.parent / "outbox.sqlite.damaged").touch()
        assert (outbox.dropped(), outbox.depth()) == (1, 1)


def test_a_table_that_is_no_table_gives_nothing(path: Path) -> None:
    fill(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("DROP TABLE event")
        db.execute("CREATE VIEW event AS SELECT 1 AS boot")
    with closing(SqliteOutbox(path)) as outbox:
        assert outbox.depth() == 0
