# SPDX-License-Identifier: Apache-2.0
"""What can still be read of a damaged outbox, carried over into a fresh one.

Only whole events: the body decodes and says the same id and `seq` as its row. Each id and each (boot, seq) once. A byte
that changed within a body and left it valid cannot be told. The tables are read from both ends; what lies between is
asked for row by row, so that one bad page costs its own rows.
"""

from __future__ import annotations

import logging
import sqlite3
from typing import TYPE_CHECKING, Any

import msgspec

from device.payloads import Event

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger("porter.outbox")

MAX_ROWS_ASKED = 100_000  # more than fit into an outbox of the default size
MAX_SEQ = 10**9
UNREADABLE = (sqlite3.Error, UnicodeDecodeError)
ENDS = (
    "SELECT rowid, boot, seq, id, body FROM event NOT INDEXED ORDER BY rowid",
    "SELECT rowid, boot, seq, id, body FROM event NOT INDEXED ORDER BY rowid DESC",
)
ONE = "SELECT rowid, boot, seq, id, body FROM event NOT INDEXED WHERE rowid = ?"


def carry_over(old: sqlite3.Connection, new: sqlite3.Connection) -> None:
    """Fills `new`, which has the tables and no rows. What of `old` cannot be read is passed over; `new` may raise."""
    events = _whole(_rows(old))
    boots: dict[str, int] = {}
    for event in events:
        boots[event.boot] = max(boots.get(event.boot, 0), event.seq)
    known = [
        (boot, last)
        for boot, last in _until_unreadable(old, "SELECT id, last_seq FROM boot NOT INDEXED ORDER BY k")
        if isinstance(boot, str) and isinstance(last, int) and 0 <= last <= MAX_SEQ
    ]
    for boot, last in known:
        boots[boot] = max(boots.get(boot, 0), last)
    keys = {
        boot: new.execute("INSERT INTO boot (id, last_seq) VALUES (?, ?)", (boot, last)).lastrowid
        for boot, last in boots.items()
    }
    new.executemany(
        "INSERT INTO event VALUES (?, ?, ?, ?)",
        [(keys[event.boot], event.seq, event.id, msgspec.json.encode(event)) for event in events],
    )
    for boot, count in _until_unreadable(old, "SELECT boot, events FROM dropped NOT INDEXED"):
        if isinstance(boot, str) and isinstance(count, int) and 0 < count <= MAX_SEQ:
            new.execute("INSERT OR IGNORE INTO dropped VALUES (?, ?)", (boot, count))
    log.error("outbox_salvaged events=%d boots=%d", len(events), len(boots))


def _rows(old: sqlite3.Connection) -> dict[int, tuple[Any, ...]]:
    """By rowid, which is the order of appending."""
    found: dict[int, tuple[Any, ...]] = {}
    last, first = 0, MAX_ROWS_ASKED
    for row in _until_unreadable(old, ENDS[0]):
        found[row[0]] = row
        last = row[0]
    for row in _until_unreadable(old, ENDS[1]):
        if row[0] in found:
            return found
        found[row[0]] = row
        first = row[0]
    for rowid in range(last + 1, min(first, last + MAX_ROWS_ASKED)):
        for row in _until_unreadable(old, ONE, (rowid,)):
            found[rowid] = row
    return found


def _until_unreadable(
    old: sqlite3.Connection, query: str, values: tuple[Any, ...] = ()
) -> Iterator[tuple[Any, ...]]:
    try:
        yield from old.execute(query, values)
    except UNREADABLE:
        return


def _whole(rows: dict[int, tuple[Any, ...]]) -> list[Event]:
    """Boots in the order in which they first appear, each by `seq`."""
    decoder = msgspec.json.Decoder(Event)
    boots: dict[str, dict[int, Event]] = {}
    ids: set[str] = set()
    for _, (_, _, seq, event_id, body) in sorted(rows.items()):
        try:
            event = decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError):
            continue
        of_boot = boots.setdefault(event.boot, {})
        fits = (event.id, event.seq) == (event_id, seq) and 0 < event.seq <= MAX_SEQ
        if fits and event.id not in ids and event.seq not in of_boot:
            ids.add(event.id)
            of_boot[event.seq] = event
    return [event for boot in boots.values() for _, event in sorted(boot.items())]
