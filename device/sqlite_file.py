# SPDX-License-Identifier: Apache-2.0
"""A SQLite file that several processes share, and what becomes of it when it is damaged. Either may come first.

What may surprise:

- Whoever has the file open holds a shared `flock` on `<name>.lock`. A damaged file is put aside (renamed, never
  overwritten) by whichever process gets that lock exclusively; `<name>.damaged` asks the others to let go, which
  they do at their next call. Why so careful: when a database is renamed under an open connection, that connection
  deletes the *new* file's write-ahead log as it closes (sqlite.org/howtocorrupt.html, section 4).
- A database of another schema version, or somebody else's, is refused and left as it is.
- A new database is made whole beside its place and then linked there: nobody ever opens half a schema.
- What can be read of a damaged file is first written to `<name>.salvaged`, which takes its place once it is out of the
  way: a kill between any two steps loses nothing more.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import tempfile
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from device.durable import sync
from device.errors import OtherFormatError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

log = logging.getLogger("porter.sqlite")
T = TypeVar("T")

HINTS = {
    sqlite3.SQLITE_FULL: "free some space in that folder's file system; nothing was half written",
    sqlite3.SQLITE_IOERR: "is the storage medium full or failing? see the kernel's log; nothing was half written",
    sqlite3.SQLITE_BUSY: "another process keeps it locked: is a database tool open on it?",
    sqlite3.SQLITE_CANTOPEN: "does the folder exist, and may this user write to it?",
    sqlite3.SQLITE_READONLY: "may this user write to the file and its folder?",
}
SQL_ERRORS = (sqlite3.Error, UnicodeDecodeError)


@dataclass(frozen=True, slots=True)
class Schema:
    """What a database of ours looks like.

    tables: the CREATE statements. additions: what came later, as a statement that may be repeated. probes: queries that
    fail where a table or column is not there. carry_over: fills a fresh database from a damaged one. checked_bytes: a
    file up to this size is checked whole as it is opened. That took 2 s for 65 MB from a cold disk (measured); damage
    in a larger one is found when it is read, and ends the same way.
    """

    application_id: int
    version: int
    tables: str
    probes: tuple[str, ...]
    additions: str = ""
    carry_over: Callable[[sqlite3.Connection, sqlite3.Connection], None] | None = None
    checked_bytes: int = 256_000_000


class SqliteFile:
    """One process's connection to the database at `path`. Belongs to one thread at a time."""

    def __init__(self, path: Path, schema: Schema, *, busy_timeout_s: float = 5.0) -> None:
        self._path = path
        self._schema = schema
        self._damaged = path.with_name(path.name + ".damaged")
        self._salvaged = path.with_name(path.name + ".salvaged")
        self._busy_timeout_s = busy_timeout_s
        self._db: sqlite3.Connection | None = None
        self.generation = 0
        with self._as_storage_error():
            self._lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
            if os.fstat(self._lock).st_uid == os.geteuid():
                os.fchmod(self._lock, 0o660)  # whatever the umask: the other process locks it, too
        self._open()

    @property
    def set_aside(self) -> Path | None:
        """The newest damaged file that was put aside and that nobody has taken away yet."""
        found = self._path.parent.glob(self._path.name + ".corrupt-*Z*")
        return max((file for file in found if not file.name.endswith(("-wal", "-shm"))), default=None)

    def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Returns `work(connection)`. Raises StorageError.

        Where the database turns out damaged it is put aside and the work done once more, on a fresh one.
        """
        try:
            return work(self._ready())
        except SQL_ERRORS as error:
            if not _is_damage(error):
                raise _storage_error(self._path, error) from error
            self._mark_damaged(error)
        with self._as_storage_error():
            return work(self._ready())

    def let_go(self) -> None:
        """Closes the connection; the next `run` opens it again."""
        if self._db is not None:
            self._db.close()
            self._db = None
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def close(self) -> None:
        """Closes for good."""
        self.let_go()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _ready(self) -> sqlite3.Connection:
        if self._db is None or self._damaged.exists():
            self.let_go()
            self._open()
        assert self._db is not None  # noqa: S101  `_open` opens or raises
        return self._db

    def _open(self) -> None:
        deadline = time.monotonic() + self._busy_timeout_s
        with self._as_storage_error():
            while True:
                fcntl.flock(self._lock, fcntl.LOCK_SH)
                try:
                    if self._connect():
                        return
                finally:
                    if self._db is None:
                        fcntl.flock(self._lock, fcntl.LOCK_UN)
                if not self._put_aside() and time.monotonic() > deadline:
                    raise StorageError(
                        f"{self._path}: damaged, and another process still has it open",
                        hint="it lets go at its next use of the file; or restart both services",
                    )
                time.sleep(0.02)

    def _connect(self) -> bool:
        """Opens the database, which is made where there is none. False where it is damaged."""
        if self._damaged.exists():
            return False
        if not self._path.exists():
            self._make()
        db = None
        try:
            # The journal mode is WAL since creation. Threads: made by the main thread, used by one worker.
            db = sqlite3.connect(
                self._path, timeout=self._busy_timeout_s, isolation_level=None, check_same_thread=False
            )
            _check(db, self._path, self._schema)
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA trusted_schema = OFF")  # the other process may have been broken into
            if self._schema.additions:
                db.execute(self._schema.additions)
        except (*SQL_ERRORS, StorageError) as error:
            if db is not None:
                db.close()
            if not _is_damage(error):
                raise
            self._mark_damaged(error)
            return False
        self._db = db
        self.generation += 1
        return True

    def _make(self) -> None:
        """The salvaged file appears only while nobody else is here: whoever comes first moves it into its place."""
        try:
            self._salvaged.rename(self._path)
        except FileNotFoundError:
            if not self._path.exists():
                _create(self._path, self._schema, self._path)
        else:
            sync(self._path.parent)

    def _mark_damaged(self, error: Exception) -> None:
        log.error("database_damaged path=%s error=%r", self._path, str(error))
        with self._as_storage_error():
            self._damaged.touch()

    def _put_aside(self) -> bool:
        """Renames the damaged file and its log, if nobody has it open. False where somebody has."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if self._damaged.exists():  # else another process was quicker
            if self._path.exists() and not self._salvaged.exists():
                _create(self._path, self._schema, self._salvaged)
            stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
            aside, number = Path(f"{self._path}.corrupt-{stamp}"), 1
            while aside.exists():
                aside, number = Path(f"{self._path}.corrupt-{stamp}-{number}"), number + 1
            for suffix in ("-wal", "-shm", ""):
                if (part := Path(f"{self._path}{suffix}")).exists():
                    part.rename(f"{aside}{suffix}")
            sync(self._path.parent)
            self._damaged.unlink()
            log.error("database_set_aside path=%s", aside)
        fcntl.flock(self._lock, fcntl.LOCK_UN)
        return True

    @contextmanager
    def _as_storage_error(self) -> Iterator[None]:
        try:
            yield
        except (*SQL_ERRORS, OSError) as error:
            raise _storage_error(self._path, error) from error


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All or nothing: takes the write lock at once, commits at the end, rolls back on any exception."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def _create(path: Path, schema: Schema, place: Path) -> None:
    """Makes a database at `place`, with what is readable of the one at `path`, if there is one."""
    handle, name = tempfile.mkstemp(prefix=path.name + ".new-", dir=path.parent)
    fresh = Path(name)
    try:
        os.fchmod(handle, 0o660)
        with closing(sqlite3.connect(fresh, isolation_level=None)) as db:
            # An event is some 600 bytes: with pages of 4 KB its way in and out wrote 37 KB, with these 16 (measured).
            db.execute("PRAGMA page_size = 1024")
            db.executescript(
                f"BEGIN; {schema.tables} PRAGMA application_id = {schema.application_id};"
                f" PRAGMA user_version = {schema.version}; COMMIT; PRAGMA journal_mode = WAL;"
            )
            if path.exists() and schema.carry_over is not None:
                _salvage(path, db, schema)
        os.fsync(handle)
        place.hardlink_to(fresh)
    except FileExistsError:
        log.debug("database_made_by_another path=%s", path)
    finally:
        os.close(handle)
        fresh.unlink()
    sync(path.parent)


def _salvage(path: Path, fresh: sqlite3.Connection, schema: Schema) -> None:
    """Reads without changing a byte. A file that does not even open has nothing to give."""
    assert schema.carry_over is not None  # noqa: S101  the caller asked
    with closing(
        sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    ) as old:
        old.execute("PRAGMA trusted_schema = OFF")
        old.execute("PRAGMA writable_schema = ON")  # without it a file that was cut short is not read at all
        fresh.execute(schema.additions)
        with transaction(fresh):
            schema.carry_over(old, fresh)
    fresh.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _check(db: sqlite3.Connection, path: Path, schema: Schema) -> None:
    """Raises StorageError, or what `_is_damage` knows; writes nothing."""
    size = path.stat().st_size
    if size == 0:
        raise _damage("empty file")
    if size <= schema.checked_bytes:
        findings = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if findings != "ok":
            raise _damage(findings)
    else:
        log.info("database_unchecked path=%s bytes=%d text='damage will be found as it is read'", path, size)
    if db.execute("PRAGMA application_id").fetchone()[0] != schema.application_id:
        raise OtherFormatError(
            f"{path}: a database, but not the one Porter keeps there",
            hint="move it away; it was left as it is",
        )
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version != schema.version:
        raise OtherFormatError(
            f"{path}: schema version {version}, this Porter knows {schema.version}",
            hint="install the Porter that wrote it, or move the file away; it was left as it is",
        )
    try:
        for probe in schema.probes:
            db.execute(probe)
    except sqlite3.OperationalError as error:
        raise _damage(str(error)) from error


def _damage(finding: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(finding)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def _is_damage(error: Exception) -> bool:
    """Text that is not UTF-8, be it in a table or in SQLite's own message about it, was not written by us."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without the extended bits
    return isinstance(error, UnicodeDecodeError) or code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _storage_error(path: Path, error: Exception) -> StorageError:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CANTOPEN) & 0xFF
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return StorageError(f"{path}: {reason}", hint=HINTS.get(code, "see the log for what happened before"))
