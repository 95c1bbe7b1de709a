# SPDX-License-Identifier: Apache-2.0
"""The outbox: a SQLite file that the vision service appends to and the forwarder empties.

`seq` is given inside the transaction that commits the event, per boot and without gaps. It is kept in the table `boot`,
so that it goes on after a restart of either service and after the outbox was emptied. A body that cannot be decoded
goes to the table `dead` and never blocks the rest. Damage to the file itself: see `sqlite_file.py`.

The file is bounded: where it would grow beyond `max_bytes` the oldest events go, within the transaction that commits
the new ones, and are counted in the table `dropped`. A subscriber sees a gap in `seq`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET

from device.errors import StorageError
from device.outbox_file import DROPPED_TOTAL, SCHEMA, used_bytes
from device.payloads import Event, without_label
from device.sqlite_file import SqliteFile, transaction

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence
    from pathlib import Path
    from typing import Protocol

    class Bell(Protocol):
        """Somebody who wants to know at once."""

        def ring(self) -> None:
            """Never waits and never raises."""
            ...


log = logging.getLogger("porter.outbox")

OLDEST = (
    "SELECT event.boot, boot.id, event.seq, event.id, event.body FROM event JOIN boot ON boot.k = event.boot"
    " WHERE (event.boot, event.seq) > (?, ?) ORDER BY event.boot, event.seq LIMIT ?"
)
COUNT_ONE = (
    "INSERT INTO dropped SELECT boot.id, 1 FROM event JOIN boot ON boot.k = event.boot WHERE event.id = ?"
    " ON CONFLICT (boot) DO UPDATE SET events = events + 1"
)
DEFAULT_MAX_BYTES = 64_000_000
DROP_AT_ONCE = 50
BURY = (
    "INSERT OR REPLACE INTO dead SELECT event.id, boot.id, event.seq, event.body, ? FROM event"
    " JOIN boot ON boot.k = event.boot WHERE event.id = ?"
)


class SqliteOutbox:
    """One process's view of the outbox at `path`. Belongs to one thread at a time."""

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
        busy_timeout_s: float = 5.0,
        bell: Bell | None = None,
    ) -> None:
        """bell: rung after events were appended."""
        self._bell = bell
        self._max_bytes = max_bytes
        self._file = SqliteFile(path, SCHEMA, busy_timeout_s=busy_timeout_s)
        self._decoder = msgspec.json.Decoder(Event)
        self._last_seq: dict[str, int] = {}
        self._seen = (0, 0)

    @property
    def set_aside(self) -> Path | None:
        """The newest damaged outbox that was put aside and that nobody has taken away yet."""
        return self._file.set_aside

    def append(self, events: Sequence[Event]) -> Sequence[Event]:
        """Commits the events, all or none, and returns them with their `seq`. Raises StorageError."""

        def work(db: sqlite3.Connection) -> list[Event]:
            with transaction(db):
                appended = [self._insert(db, event) for event in events]
                self._make_room(db)
                return appended

        committed = self._file.run(work) if events else []
        self._last_seq.update((event.boot, event.seq) for event in committed)
        if self._bell is not None and committed:
            self._bell.ring()
        return committed

    def peek(self, limit: int, *, after: tuple[str, int] | None = None) -> Sequence[Event]:
        """The oldest events; boots in the order in which they first appeared. Raises StorageError."""
        good: list[Event] = []
        bad: list[tuple[str, str]] = []

        def work(db: sqlite3.Connection) -> None:
            good.clear()
            bad.clear()
            place = _place(db, after)
            while len(good) < limit:
                rows = db.execute(OLDEST, (*place, limit - len(good))).fetchall()
                if not rows:
                    return
                place = (rows[-1][0], rows[-1][2])
                for _, boot, seq, event_id, body in rows:
                    event = self._decode(boot, seq, event_id, body)
                    if isinstance(event, str):
                        bad.append((event, event_id))
                    else:
                        good.append(event)

        self._file.run(work)
        if bad:
            self._bury(bad)
        return good

    def acknowledge(self, ids: Iterable[str]) -> None:
        """Removes delivered events, durably. Raises StorageError."""
        delivered = [(event_id,) for event_id in ids]

        def work(db: sqlite3.Connection) -> None:
            with transaction(db):
                db.executemany("DELETE FROM event WHERE id = ?", delivered)

        if delivered:
            self._file.run(work)

    def forget_label(self, ref: str) -> int:
        """Takes the label out of all waiting events about `ref`; returns of how many. Raises StorageError."""

        def work(db: sqlite3.Connection) -> int:
            with transaction(db):
                found = db.execute("SELECT boot, seq, body FROM event WHERE instr(body, ?)", (ref.encode(),))
                changed = []
                for boot, seq, body in found.fetchall():
                    try:
                        event = self._decoder.decode(body)
                    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                        continue  # `peek` moves it out of the way
                    if event.person.ref == ref and event.person.label is not UNSET:
                        changed.append((msgspec.json.encode(without_label(event)), boot, seq))
                db.executemany("UPDATE event SET body = ? WHERE boot = ? AND seq = ?", changed)
            return len(changed)

        return self._file.run(work)

    def drop(self, ids: Iterable[str]) -> None:
        """Gives events up, durably, and counts them; unknown ids are ignored. Raises StorageError."""
        wanted = [(event_id,) for event_id in ids]

        def work(db: sqlite3.Connection) -> None:
            with transaction(db):
                db.executemany(COUNT_ONE, wanted)
                db.executemany("DELETE FROM event WHERE id = ?", wanted)

        if wanted:
            self._file.run(work)

    def dropped(self) -> int:
        """How many events were given up since this outbox was made. Raises StorageError."""
        return self._file.run(lambda db: int(db.execute(DROPPED_TOTAL).fetchone()[0]))

    def depth(self) -> int:
        """How many events wait. Raises StorageError."""
        return self._file.run(lambda db: int(db.execute("SELECT count(*) FROM event").fetchone()[0]))

    def dead(self) -> int:
        """How many events could not be read and lie in the table `dead`. Raises StorageError."""
        return self._file.run(lambda db: int(db.execute("SELECT count(*) FROM dead").fetchone()[0]))

    def changed(self) -> bool:
        """Whether somebody else committed since the last call; True the first time. Raises StorageError."""
        version = self._file.run(lambda db: int(db.execute("PRAGMA data_version").fetchone()[0]))
        now = (self._file.generation, version)  # data_version is this connection's own count
        changed, self._seen = now != self._seen, now
        return changed

    def close(self) -> None:
        """Closes the database and lets go of its lock."""
        self._file.close()

    def _make_room(self, db: sqlite3.Connection) -> None:
        """Drops the oldest, some at a time, while more is in use than may be; the newest stays."""
        gone = 0
        while used_bytes(db) > self._max_bytes:
            oldest = db.execute(OLDEST, (0, 0, DROP_AT_ONCE + 1)).fetchall()[:-1]
            if not oldest:
                break
            db.executemany(COUNT_ONE, [(row[3],) for row in oldest])
            db.executemany(
                "DELETE FROM event WHERE boot = ? AND seq = ?", [(row[0], row[2]) for row in oldest]
            )
            gone += len(oldest)
        if gone:
            log.warning("events_dropped count=%d text='the outbox is full: the oldest go'", gone)

    def _insert(self, db: sqlite3.Connection, event: Event) -> Event:
        row = db.execute("SELECT k, last_seq FROM boot WHERE id = ?", (event.boot,)).fetchone()
        if (
            row is None
        ):  # the first event of this boot; after a damaged file was put aside, `seq` still goes on
            db.execute("DELETE FROM boot WHERE k NOT IN (SELECT boot FROM event)")
            start = self._last_seq.get(event.boot, 0)
            row = (
                db.execute("INSERT INTO boot (id, last_seq) VALUES (?, ?)", (event.boot, start)).lastrowid,
                start,
            )
        # What was salvaged of a damaged file may know less of this boot than this process does.
        k, seq = row[0], max(row[1], self._last_seq.get(event.boot, 0)) + 1
        event = msgspec.structs.replace(event, seq=seq)
        db.execute("UPDATE boot SET last_seq = ? WHERE k = ?", (seq, k))
        db.execute("INSERT INTO event VALUES (?, ?, ?, ?)", (k, seq, event.id, msgspec.json.encode(event)))
        return event

    def _decode(self, boot: str, seq: int, event_id: str, body: bytes) -> Event | str:
        """The event, or what is wrong with its body."""
        try:
            event = self._decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            return str(error)
        if (event.boot, event.seq, event.id) != (boot, seq, event_id):
            return "the body is of another event than its row says"
        return event

    def _bury(self, bad: list[tuple[str, str]]) -> None:
        def work(db: sqlite3.Connection) -> None:
            with transaction(db):
                db.executemany(BURY, bad)
                db.executemany("DELETE FROM event WHERE id = ?", [(event_id,) for _, event_id in bad])

        try:
            self._file.run(work)
        except StorageError as error:  # they are stepped over anyway, and moved when there is room again
            log.warning("event_unreadable count=%d moved=no error=%r", len(bad), error.message)
        else:
            log.error("event_unreadable count=%d moved=yes table=dead reason=%r", len(bad), bad[0][0])


def _place(db: sqlite3.Connection, after: tuple[str, int] | None) -> tuple[int, int]:
    """Where to read on. A boot that is no longer known was delivered whole: begin at the oldest."""
    if after is None:
        return (0, 0)
    row = db.execute("SELECT k FROM boot WHERE id = ?", (after[0],)).fetchone()
    return (row[0], after[1]) if row else (0, 0)
