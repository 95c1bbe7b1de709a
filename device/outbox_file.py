# SPDX-License-Identifier: Apache-2.0
"""What an outbox file is, and a look into one that changes nothing."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import msgspec

from device.errors import InputError
from device.outbox_salvage import carry_over
from device.payloads import Event
from device.sqlite_file import Schema

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = Schema(
    application_id=0x506F7274,  # "Port"
    version=1,
    tables="""
        CREATE TABLE boot (k INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, last_seq INTEGER NOT NULL)
            STRICT;
        CREATE TABLE event (boot INTEGER NOT NULL REFERENCES boot, seq INTEGER NOT NULL, id TEXT NOT NULL UNIQUE,
            body BLOB NOT NULL, PRIMARY KEY (boot, seq)) STRICT;
        CREATE TABLE dead (id TEXT PRIMARY KEY, boot TEXT NOT NULL, seq INTEGER NOT NULL, body BLOB NOT NULL,
            reason TEXT NOT NULL) STRICT;
    """,
    additions="CREATE TABLE IF NOT EXISTS dropped (boot TEXT PRIMARY KEY, events INTEGER NOT NULL) STRICT",
    carry_over=carry_over,
    probes=(
        "SELECT k, id, last_seq FROM boot LIMIT 0",
        "SELECT boot, seq, id, body FROM event LIMIT 0",
        "SELECT id, boot, seq, body, reason FROM dead LIMIT 0",
    ),
)
DROPPED_TOTAL = "SELECT coalesce(sum(events), 0) FROM dropped"
PER_BOOT = (
    "SELECT boot.id, boot.last_seq, count(event.seq), min(event.seq), max(event.seq) FROM boot"
    " LEFT JOIN event ON event.boot = boot.k GROUP BY boot.k ORDER BY boot.k"
)


def used_bytes(db: sqlite3.Connection) -> int:
    """Bytes of the database that are in use, the write-ahead log apart; pages that were freed do not count."""
    pages, free, size = (
        int(db.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size


class BootReport(msgspec.Struct, frozen=True):
    """The events of one boot. last_seq: the newest that was ever committed; first, last: of those that wait."""

    boot: str
    last_seq: int
    waiting: int
    first: int | None
    last: int | None
    dropped: int


class OutboxReport(msgspec.Struct, frozen=True):
    """What lies in an outbox. oldest: when the first waiting event was captured; bytes: in use."""

    depth: int
    oldest: str | None
    bytes: int
    dropped: int
    dead: int
    set_aside: list[str]
    boots: list[BootReport]


def look_into(path: Path) -> OutboxReport:
    """Reads an outbox. Raises InputError where there is none, or what is there is not one of this Porter's."""
    if not path.exists():
        raise InputError(
            f"{path}: there is no outbox",
            hint="the services make it at their first start; or name it with --file",
        )
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)) as db:
            return _report(db, path)
    except sqlite3.Error as error:
        hint = "it belongs to the services' users: try sudo. A damaged one is set aside at the next start"
        raise InputError(f"{path}: cannot be read: {error}", hint=hint) from error


def _report(db: sqlite3.Connection, path: Path) -> OutboxReport:
    known = SCHEMA.application_id, SCHEMA.version
    found = tuple(db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    if found != known:
        raise InputError(
            f"{path}: expected an outbox of version {known[1]}, found application {found[0]:#x}, version {found[1]}",
            hint="use the porter that wrote it",
        )
    db.execute("BEGIN")  # all that follows is of one moment
    dropped: dict[str, int] = {}
    if db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'dropped'").fetchone():
        dropped = dict(db.execute("SELECT boot, events FROM dropped").fetchall())
    boots = [
        BootReport(*row, dropped=dropped.get(row[0], 0))  # type: ignore[misc]
        for row in db.execute(PER_BOOT).fetchall()
    ]
    aside = sorted(path.parent.glob(f"{path.name}.corrupt-*Z*"))
    return OutboxReport(
        depth=sum(boot.waiting for boot in boots),
        oldest=_captured(db.execute("SELECT body FROM event ORDER BY boot, seq LIMIT 1").fetchone()),
        bytes=used_bytes(db),
        dropped=sum(dropped.values()),
        dead=int(db.execute("SELECT count(*) FROM dead").fetchone()[0]),
        set_aside=[file.name for file in aside if not file.name.endswith(("-wal", "-shm"))],
        boots=boots,
    )


def _captured(row: tuple[Any] | None) -> str | None:
    if row is None:
        return None
    try:
        return msgspec.json.decode(row[0], type=Event).ts
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
