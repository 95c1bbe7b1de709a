# SPDX-License-Identifier: Apache-2.0
"""The gallery on disk: SQLite, one consent record a subject, references only under it, sealed (device/sealing.py).

What may surprise:
- The schema itself refuses a reference without a consent, a consent without a reference, the 501st subject and more
  than three years, with triggers where foreign keys alone would not hold for a program that leaves them off.
- One process at a time (`locking_mode=EXCLUSIVE`). That also makes erasing certain: the write-ahead log is emptied
  after every change, so no older copy of a reference stays in it; `secure_delete` overwrites it in the database.
  What the medium itself keeps (flash wear levelling) is out of SQLite's reach.
- Erasing destroys the subject's key first, in a transaction of its own; killed after it, the next start does the rest.
- References are turned into a secret basis before they are sealed, and stay in it in memory as well: `basis` turns a
  probe the same way. Scores do not change by it.
- A damaged file is looked at read-only, then renamed with its -wal and -shm, never written to.
"""

from __future__ import annotations

import logging
import secrets
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from device.errors import StorageError
from device.gallery_file import (
    ENROL,
    ERASE_KEY,
    KEYLESS,
    MARK,
    REFER,
    SEALED_KEY,
    SEALED_REFERENCES,
    SUBJECTS,
    check_maker,
    check_marks,
    connect,
    consistent,
    create,
    keep_references,
    read_references,
    subject_of,
    terms,
)
from device.gallery_keys import new_keys, opens, rotate, unlock
from device.ports import EnrolledReferences
from device.private_database import DAMAGED, make_private, move_aside, storage_error
from device.recognition.consent import (
    check_consent,
    checked_label,
    checked_references,
    gallery_full,
    label_taken,
    new_ref,
    subject_called,
)
from device.recognition.gallery import MAX_SUBJECTS
from device.records import Consent, LedgerHead, Subject
from device.sealing import next_key, settled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from device.sealing import DeviceKey

log = logging.getLogger("porter.gallery")


class SqliteGallery:
    """`ports.GalleryStore` in one SQLite file of mode 0600. Belongs to one thread at a time.

    simulated: whether this service's camera shows files; a gallery belongs to one kind of source for good.
    embedder: the embedder's manifest name. Variants of one model are near-identical (cosine 0.99) and may share
    references; another model may not. embedder_sha256: the file that makes new references, kept beside them.
    dimension: length of an embedding.
    device_key: what opens the root key; another is refused. With a credential's predecessor it is rotated at once.
    set_aside: where a damaged file was moved to, or None.

    Raises GalleryLocked (wrong kind of source, embedder or key), StorageError (another version, no access, in use).
    """

    def __init__(
        self,
        path: Path,
        *,
        simulated: bool,
        embedder: str,
        embedder_sha256: str,
        dimension: int,
        device_key: DeviceKey,
        random_token: Callable[[], str] = secrets.token_hex,
        busy_s: float = 2.0,
    ) -> None:
        self.set_aside: Path | None = None
        self._path = path
        self._kind = "simulated" if simulated else "live"
        self._embedder = embedder
        self.embedder_sha256 = embedder_sha256
        self._dimension = dimension
        self._device_key = device_key
        self._random_token = random_token
        with self._guard("opened"):
            make_private(path)
            if not self._usable(busy_s):
                self.set_aside = move_aside(path)
                log.error("gallery_corrupt set_aside=%s", self.set_aside)
                make_private(path)
            self._db = self._open(busy_s)
            self._keys = unlock(path, self._db, device_key, dimension)
            self._finish_erasing()
            if device_key.beside or self._keys.under == device_key:
                self._device_key = settled(device_key, self._keys.under)
            else:
                self.rotate()

    @property
    def basis(self) -> NDArray[np.float32]:
        """The secret orthogonal matrix, (D, D) float32: what `load` gives is `basis @ reference`."""
        return self._keys.basis

    def load(self, now_utc_ns: int) -> Sequence[EnrolledReferences]:
        """Everyone whose consent holds at `now_utc_ns`, by label. Raises StorageError."""
        with self._guard("read"):
            rows = read_references(self._path, self._db, self._keys.root, self._dimension)
            subjects = self.subjects()
        return [
            EnrolledReferences(one, rows[one.subject_id])
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
            number = db.execute(ENROL, (subject_id, ref, label, *terms(consent))).lastrowid
            self._keep(db, number, subject_id, rows)
        return Subject(subject_id, ref, label, replace(consent, consent_id=f"c_{number}"), len(rows))

    def renew(
        self, label_or_ref: str, consent: Consent, references: NDArray[np.float32] | None = None
    ) -> Subject:
        """Puts a new consent, and new references where some are given, in the old ones' place, all or nothing.

        The old record goes, so that the new one has a number of its own. Raises InputError, StorageError.
        """
        check_consent(consent)
        rows = None if references is None else checked_references(references, self._dimension)
        with self._change("changed") as db:
            old = subject_called(label_or_ref, self.subjects())
            key = db.execute(SEALED_KEY, (old.subject_id,)).fetchone()
            boxes = db.execute(SEALED_REFERENCES, (old.subject_id,)).fetchall()
            db.execute("DELETE FROM consent WHERE subject_id = ?", (old.subject_id,))
            number = db.execute(ENROL, (old.subject_id, old.ref, old.label, *terms(consent))).lastrowid
            if rows is not None:
                self._keep(db, number, old.subject_id, rows)
            else:
                db.execute("INSERT INTO subject_key VALUES (?, ?)", (number, *key))
                db.executemany(REFER, [(number, *box) for box in boxes])
        kept = len(boxes) if rows is None else len(rows)
        return replace(old, consent=replace(consent, consent_id=f"c_{number}"), references=kept)

    def rename(self, label_or_ref: str, label: str) -> Subject:
        """Gives a subject another label. Raises InputError, StorageError."""
        label = checked_label(label)
        with self._change("changed") as db:
            present = self.subjects()
            old = subject_called(label_or_ref, present)
            if any(one.label == label and one.ref != old.ref for one in present):
                raise label_taken(label)
            db.execute("UPDATE consent SET label = ? WHERE subject_id = ?", (label, old.subject_id))
        return replace(old, label=label)

    def subjects(self) -> Sequence[Subject]:
        """Everyone stored, by label. Raises StorageError."""
        with self._guard("read"):
            return [subject_of(row) for row in self._db.execute(SUBJECTS)]

    def withdraw(self, label_or_ref: str) -> Subject:
        """Erases a subject, their consent record and references. Raises InputError, StorageError."""
        return self._erase([subject_called(label_or_ref, self.subjects())])[0]

    def erase_expired(self, now_utc_ns: int) -> Sequence[Subject]:
        """Erases everyone whose consent has ended; returns them. Raises StorageError."""
        return self._erase([one for one in self.subjects() if one.consent.expires_at_ns <= now_utc_ns])

    @property
    def marked(self) -> LedgerHead | None:
        """The ledger head noted last. Raises StorageError."""
        with self._guard("read"):
            seq, digest = self._db.execute("SELECT ledger_seq, ledger_sha256 FROM gallery").fetchone()
        return LedgerHead(seq, digest) if seq else None

    def mark(self, head: LedgerHead) -> None:
        """Notes how far the ledger has come. Raises StorageError."""
        with self._change("changed") as db:
            db.execute(MARK, (head.seq, head.sha256))

    @property
    def rotation_unwritten(self) -> bool:
        """Whether its keys were renewed since `mark`. Raises StorageError."""
        with self._guard("read"):
            return bool(self._db.execute("SELECT rotation_unwritten FROM gallery").fetchone()[0])

    def rotate(self) -> bool:
        """Renews every key, the device key too where it is a file, and the basis. Raises StorageError."""
        with self._guard("read"):
            self._device_key = settled(self._device_key, self._keys.under)
            fresh = new_keys(next_key(self._device_key), self._dimension)
            with self._change("changed") as db:
                rotate(self._path, db, self._keys, fresh)
            self._keys = fresh
            self._device_key = settled(self._device_key, fresh.under)
            self._certainly_erased()
        return self._device_key.beside

    def close(self) -> None:
        """Closes the database; harmless when already closed."""
        self._db.close()

    def _erase(self, gone: Sequence[Subject]) -> Sequence[Subject]:
        if not gone:
            return gone
        named = [(one.subject_id,) for one in gone]
        with self._change("changed") as db:
            db.executemany(ERASE_KEY, named)
        with self._change("changed") as db:
            db.executemany("DELETE FROM consent WHERE subject_id = ?", named)
        self._certainly_erased()
        return gone

    def _certainly_erased(self) -> None:
        if not self._empty_log():
            raise StorageError(
                f"{self._path}: erased, but older copies may remain in the file until it can be written again",
                hint="free space on its disk and restart porter-vision, which finishes the erasing",
            )

    def _finish_erasing(self) -> None:
        """Erases who has no key any more: the service was killed between destroying it and the rest."""
        keyless = self._db.execute(KEYLESS).fetchall()
        self._erase([one for one in self.subjects() if (one.subject_id,) in keyless])

    def _keep(
        self, db: sqlite3.Connection, number: int | None, subject_id: str, rows: NDArray[np.float32]
    ) -> None:
        """Stores references, turned into the basis, under a new key."""
        turned = np.ascontiguousarray(rows @ self._keys.basis.T, dtype="<f4")
        keep_references(db, self._keys.root, (number, subject_id), turned, self.embedder_sha256)

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
                check_maker(self._path, application, version)
                if not consistent(db):
                    return False
                found = db.execute("SELECT kind, embedder, dimension FROM gallery").fetchone()
                check_marks(self._path, found, (self._kind, self._embedder, self._dimension))
                return opens(self._path, db, self._device_key, self._dimension)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode == sqlite3.SQLITE_ERROR:  # a table or column is gone
                    return False
                raise
            except sqlite3.DatabaseError as error:
                if error.sqlite_errorcode & 0xFF in DAMAGED:
                    return False
                raise

    def _open(self, busy_s: float) -> sqlite3.Connection:
        db = connect(self._path, busy_s)
        try:
            db.execute("BEGIN IMMEDIATE")  # takes the lock for good
            if not db.execute("PRAGMA user_version").fetchone()[0]:
                sealed = new_keys(self._device_key, self._dimension).sealed
                create(db, (self._kind, self._embedder, self._dimension, *sealed))
            db.execute("COMMIT")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error:
            db.close()
            raise
        return db
