# SPDX-License-Identifier: Apache-2.0
"""The gallery on disk: SQLite, one consent record a subject, references only under it.

What may surprise:
- The schema itself refuses a reference without a consent, a consent without a reference, the 501st subject and more
  than three years, with triggers where foreign keys alone would not hold for a program that leaves them off.
- One process at a time (`locking_mode=EXCLUSIVE`). That also makes erasing certain: the write-ahead log is emptied
  after every change, so no older copy of a reference stays in it; `secure_delete` overwrites it in the database.
  What the medium itself keeps (flash wear levelling) is out of SQLite's reach.
- A damaged file is looked at read-only, then renamed with its -wal and -shm, never written to.
- One thread at a time; which one may change.
"""

from __future__ import annotations

import logging
import secrets
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import replace
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np

from device.errors import GalleryLocked, StorageError
from device.ports import EnrolledReferences
from device.private_database import DAMAGED, make_private, move_aside, storage_error
from device.recognition.consent import (
    check_consent,
    checked_label,
    checked_references,
    gallery_full,
    label_taken,
    new_ref,
    no_such_subject,
    normal_label,
    sound,
)
from device.recognition.gallery import MAX_SUBJECTS
from device.records import Consent, Subject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

log = logging.getLogger("porter.gallery")

APPLICATION_ID = 0x506F7274  # "Port"; another program's database is not touched
VERSION = 1

SCHEMA = resources.files("device.adapters") / "gallery.sql"
SUBJECTS = """
SELECT subject_id, ref, label, number, purpose, policy_sha256, given_at_ns, expires_at_ns, recorded_by,
       (SELECT count(*) FROM reference WHERE consent = number) FROM consent ORDER BY label"""
REFERENCES = """
SELECT subject_id, embedding FROM reference JOIN consent ON number = consent ORDER BY number, position"""
ENROL = """
INSERT INTO consent (subject_id, ref, label, purpose, policy_sha256, given_at_ns, expires_at_ns, recorded_by)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""

REFER = "INSERT INTO reference (consent, position, embedder_sha256, embedding) VALUES (?, ?, ?, ?)"


class SqliteGallery:
    """`ports.GalleryStore` in one SQLite file of mode 0600.

    simulated: whether this service's camera shows files; a gallery belongs to one kind of source for good.
    embedder: the embedder's manifest name. Variants of one model are near-identical (cosine 0.99) and may share
    references; another model may not. embedder_sha256: the file that makes new references, kept beside them.
    dimension: length of an embedding.
    set_aside: where a damaged file was moved to, or None.

    Raises GalleryLocked (wrong kind of source, another embedder), StorageError (newer version, no access, in use).
    """

    def __init__(
        self,
        path: Path,
        *,
        simulated: bool,
        embedder: str,
        embedder_sha256: str,
        dimension: int,
        random_token: Callable[[], str] = secrets.token_hex,
        busy_s: float = 2.0,
    ) -> None:
        self.set_aside: Path | None = None
        self._path = path
        self._kind = "simulated" if simulated else "live"
        self._embedder = embedder
        self._embedder_sha256 = embedder_sha256
        self._dimension = dimension
        self._random_token = random_token
        with self._guard("opened"):
            make_private(path)
            if not self._usable(busy_s):
                self.set_aside = move_aside(path)
                log.error("gallery_corrupt set_aside=%s", self.set_aside)
                make_private(path)
            self._db = self._open(busy_s)

    def load(self, now_utc_ns: int) -> Sequence[EnrolledReferences]:
        """Everyone whose consent holds at `now_utc_ns`, by label. Raises StorageError."""
        with self._guard("read"):
            rows: dict[str, list[bytes]] = {}
            for subject_id, embedding in self._db.execute(REFERENCES):
                rows.setdefault(subject_id, []).append(embedding)
            subjects = self.subjects()
        return [
            EnrolledReferences(one, self._decoded(rows[one.subject_id]))
            for one in subjects
            if one.consent.expires_at_ns > now_utc_ns
        ]

    def enrol(self, label: str, consent: Consent, references: NDArray[np.float32]) -> Subject:
        """Stores a new subject, all or nothing, durable on return. Raises InputError, StorageError."""
        label = checked_label(label)
        check_consent(consent)
        rows = checked_references(references, self._dimension)
        with self._change("changed") as db:
            present = self.subjects()
            if any(one.label == label for one in present):
                raise label_taken(label)
            if len(present) >= MAX_SUBJECTS:
                raise gallery_full()
            subject_id = self._random_token()[:32]
            ref = new_ref(self._random_token, {one.ref for one in present})
            given = (consent.purpose, consent.policy_sha256, consent.given_at_ns, consent.expires_at_ns)
            record = (subject_id, ref, label, *given, consent.recorded_by)
            number = db.execute(ENROL, record).lastrowid
            made_by = self._embedder_sha256
            db.executemany(REFER, [(number, place, made_by, row.tobytes()) for place, row in enumerate(rows)])
        return Subject(subject_id, ref, label, replace(consent, consent_id=f"c_{number}"), len(rows))

    def subjects(self) -> Sequence[Subject]:
        """Everyone stored, by label. Raises StorageError."""
        with self._guard("read"):
            return [subject_of(row) for row in self._db.execute(SUBJECTS)]

    def withdraw(self, label_or_ref: str) -> Subject:
        """Erases a subject, their consent record and references. Raises InputError, StorageError."""
        names = (label_or_ref.strip(), normal_label(label_or_ref))
        found = [one for one in self.subjects() if one.ref == names[0] or one.label == names[1]]
        if not found:
            raise no_such_subject(label_or_ref)
        return self._erase(found)[0]

    def erase_expired(self, now_utc_ns: int) -> Sequence[Subject]:
        """Erases everyone whose consent has ended; returns them. Raises StorageError."""
        return self._erase([one for one in self.subjects() if one.consent.expires_at_ns <= now_utc_ns])

    def close(self) -> None:
        """Closes the database; harmless when already closed."""
        self._db.close()

    def _erase(self, gone: Sequence[Subject]) -> Sequence[Subject]:
        if not gone:
            return gone
        with self._change("changed") as db:
            db.executemany("DELETE FROM consent WHERE subject_id = ?", [(one.subject_id,) for one in gone])
        if not self._empty_log():
            raise StorageError(
                f"{self._path}: erased, but older copies may remain in the file until it can be written again",
                hint="free space on its disk and restart porter-vision, which finishes the erasing",
            )
        return gone

    def _decoded(self, blobs: list[bytes]) -> NDArray[np.float32]:
        if any(len(blob) != 4 * self._dimension for blob in blobs):
            raise StorageError(
                f"{self._path}: a reference has the wrong length", hint="restart porter-vision"
            )
        rows = np.frombuffer(b"".join(blobs), dtype="<f4").reshape(len(blobs), self._dimension)
        if not sound(rows):
            raise StorageError(f"{self._path}: a reference is damaged", hint="restart porter-vision")
        return rows

    @contextmanager
    def _guard(self, verb: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise storage_error(self._path, verb, error) from error

    @contextmanager
    def _change(self, verb: str) -> Iterator[sqlite3.Connection]:
        """One transaction; whatever its end, nothing of it stays in the write-ahead log."""
        try:
            with self._guard(verb):
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            self._empty_log()

    def _empty_log(self) -> bool:
        try:
            busy, _, _ = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error as error:
            log.warning("gallery_checkpoint_failed error=%s", error)
            return False
        return not busy

    def _usable(self, busy_s: float) -> bool:
        """Looks without writing: False where the file is damaged. Raises GalleryLocked, StorageError."""
        uri = f"{self._path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=busy_s)) as db:
            try:
                tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
                application = db.execute("PRAGMA application_id").fetchone()[0]
                version = db.execute("PRAGMA user_version").fetchone()[0]
                if not tables and not version:
                    return True  # new, or killed before its first transaction
                self._check_maker(application, version)
                if not consistent(db):
                    return False
                marks = db.execute("SELECT kind, embedder, dimension FROM gallery").fetchone()
                blobs = [blob for (blob,) in db.execute("SELECT embedding FROM reference")]
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode == sqlite3.SQLITE_ERROR:  # a table or column is gone
                    return False
                raise
            except sqlite3.DatabaseError as error:
                if error.sqlite_errorcode & 0xFF in DAMAGED:
                    return False
                raise
        self._check_marks(*marks)
        try:
            return not blobs or self._decoded(blobs).size > 0
        except StorageError:
            return False

    def _check_maker(self, application: int, version: int) -> None:
        if application != APPLICATION_ID:
            raise StorageError(
                f"{self._path}: is another program's database", hint="move it away, or set device.state_dir"
            )
        if version > VERSION:
            raise StorageError(
                f"{self._path}: made by a newer Porter (format {version}, this one knows {VERSION}); left as it is",
                hint="install the newer Porter again",
            )

    def _check_marks(self, kind: str, embedder: str, dimension: int) -> None:
        away = f"or move the file away and enrol again: mv {self._path} {self._path}.{kind}"
        if kind == "simulated" and self._kind == "live":
            raise GalleryLocked(
                f"{self._path}: was enrolled from files (a simulation); a service with a real camera does not open it",
                hint=f"keep simulations in a folder of their own (device.state_dir), {away}",
            )
        if kind == "live" and self._kind == "simulated":
            raise GalleryLocked(
                f"{self._path}: holds real people, whom frames from files must not be compared with",
                hint="give the simulation a folder of its own (device.state_dir)",
            )
        if (embedder, dimension) != (self._embedder, self._dimension):
            raise GalleryLocked(
                f"{self._path}: references by {embedder} ({dimension} values) cannot be compared with probes by "
                f"{self._embedder} ({self._dimension} values)",
                hint=f"set models.embedder back to {embedder}, {away}",
            )

    def _open(self, busy_s: float) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=busy_s, isolation_level=None, check_same_thread=False)
        try:
            # EXCLUSIVE before WAL: then there is no shared-memory file, and no reader who could hold the log back.
            for pragma in (
                "locking_mode=EXCLUSIVE",
                "journal_mode=WAL",
                "synchronous=FULL",
                "secure_delete=ON",
            ):
                db.execute(f"PRAGMA {pragma}").fetchall()
            for pragma in ("foreign_keys=ON", "temp_store=MEMORY", "trusted_schema=OFF"):
                db.execute(f"PRAGMA {pragma}").fetchall()
            db.execute("BEGIN IMMEDIATE")  # takes the lock for good
            if not db.execute("PRAGMA user_version").fetchone()[0]:
                create(db, self._kind, self._embedder, self._dimension)
            db.execute("COMMIT")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error:
            db.close()
            raise
        return db


def create(db: sqlite3.Connection, kind: str, embedder: str, dimension: int) -> None:
    """Makes the tables and the gallery's marks inside the running transaction: killed half-way, there is nothing."""
    statement = ""
    for line in SCHEMA.read_text("utf-8").splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            db.execute(statement)
            statement = ""
    db.execute("INSERT INTO gallery VALUES (1, ?, ?, ?)", (kind, embedder, dimension))
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {VERSION}")


def consistent(db: sqlite3.Connection) -> bool:
    """Whether SQLite finds pages, indexes, checks and foreign keys in order."""
    found = db.execute("PRAGMA integrity_check(1)").fetchall()
    return found == [("ok",)] and not db.execute("PRAGMA foreign_key_check").fetchall()


def subject_of(row: tuple[str, str, str, int, str, str, int, int, str, int]) -> Subject:
    """A row of `SUBJECTS` as a record."""
    (
        subject_id,
        ref,
        label,
        number,
        purpose,
        policy_sha256,
        given_at_ns,
        expires_at_ns,
        recorded_by,
        references,
    ) = row
    consent = Consent(f"c_{number}", purpose, policy_sha256, given_at_ns, expires_at_ns, recorded_by)
    return Subject(subject_id, ref, label, consent, references)
