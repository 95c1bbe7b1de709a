# SPDX-License-Identifier: Apache-2.0
"""What a gallery file is: its tables, its marks, and who may open it. adapters/gallery_sqlite.py keeps it."""

from __future__ import annotations

import sqlite3
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np

from device.errors import GalleryLocked, OtherFormatError, StorageError
from device.recognition.consent import sound
from device.records import Consent, Subject
from device.sealing import new_key, opened, seal

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

Marks = tuple[str, str, int]  # kind of source, embedder, dimension

APPLICATION_ID = 0x506F7274  # "Port"; another program's database is not touched
VERSION = 3  # 1 and 2 were never released

SCHEMA = resources.files("device.adapters") / "gallery.sql"
SUBJECTS = """
SELECT subject_id, ref, label, number, purpose, policy_sha256, given_at_ns, expires_at_ns, recorded_by,
       (SELECT count(*) FROM reference WHERE consent = number) FROM consent ORDER BY label"""
REFERENCES = """
SELECT subject_id, position, subject_key.sealed, reference.sealed
FROM reference JOIN consent ON number = reference.consent JOIN subject_key ON subject_key.consent = number
ORDER BY number, position"""
ENROL = """
INSERT INTO consent (subject_id, ref, label, purpose, policy_sha256, given_at_ns, expires_at_ns, recorded_by)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""

REFER = "INSERT INTO reference (consent, position, embedder_sha256, sealed) VALUES (?, ?, ?, ?)"
MARK = "UPDATE gallery SET ledger_seq = ?, ledger_sha256 = ?, rotation_unwritten = 0"
SEALED_KEY = """
SELECT sealed FROM subject_key JOIN consent ON number = subject_key.consent WHERE subject_id = ?"""
SEALED_REFERENCES = """
SELECT position, embedder_sha256, sealed FROM reference JOIN consent ON number = reference.consent
WHERE subject_id = ?"""
ERASE_KEY = "DELETE FROM subject_key WHERE consent = (SELECT number FROM consent WHERE subject_id = ?)"
KEYLESS = "SELECT subject_id FROM consent WHERE number NOT IN (SELECT consent FROM subject_key)"


def check_maker(path: Path, application: int, version: int) -> None:
    """Raises OtherFormatError where the database is not a gallery of this format."""
    if application != APPLICATION_ID:
        raise OtherFormatError(
            f"{path}: is another program's database", hint="move it away, or set device.state_dir"
        )
    if version < VERSION:
        raise OtherFormatError(
            f"{path}: made before the first release (format {version}, this one knows {VERSION})",
            hint=f"people must enrol again; erase it: rm {path}*",
        )
    if version > VERSION:
        raise OtherFormatError(
            f"{path}: made by a newer Porter (format {version}, this one knows {VERSION}); left as it is",
            hint="install the newer Porter again",
        )


def check_marks(path: Path, found: Marks, wanted: Marks) -> None:
    """Raises GalleryLocked where the gallery is for another kind of source or another embedder."""
    (kind, embedder, dimension), (wanted_kind, wanted_embedder, wanted_dimension) = found, wanted
    away = f"or move the file away and enrol again: mv {path} {path}.{kind}"
    if kind == "simulated" and wanted_kind == "live":
        raise GalleryLocked(
            f"{path}: was enrolled from files (a simulation); a service with a real camera does not open it",
            hint=f"keep simulations in a folder of their own (device.state_dir), {away}",
        )
    if kind == "live" and wanted_kind == "simulated":
        raise GalleryLocked(
            f"{path}: holds real people, whom frames from files must not be compared with",
            hint="give the simulation a folder of its own (device.state_dir)",
        )
    if (embedder, dimension) != (wanted_embedder, wanted_dimension):
        raise GalleryLocked(
            f"{path}: references by {embedder} ({dimension} values) cannot be compared with probes by "
            f"{wanted_embedder} ({wanted_dimension} values)",
            hint=f"set models.embedder back to {embedder}, {away}",
        )


def create(db: sqlite3.Connection, marks: tuple[str, str, int, bytes, bytes]) -> None:
    """Makes the tables and the gallery's row inside the running transaction: killed half-way, there is nothing."""
    statement = ""
    for line in SCHEMA.read_text("utf-8").splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            db.execute(statement)
            statement = ""
    db.execute(
        "INSERT INTO gallery (one, kind, embedder, dimension, root_key, basis) VALUES (1, ?, ?, ?, ?, ?)",
        marks,
    )
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {VERSION}")


def connect(path: Path, busy_s: float) -> sqlite3.Connection:
    """The gallery's only connection, with the settings that make erasing certain."""
    db = sqlite3.connect(path, timeout=busy_s, isolation_level=None, check_same_thread=False)
    # EXCLUSIVE before WAL: then there is no shared-memory file, and no reader who could hold the log back.
    for pragma in (
        "locking_mode=EXCLUSIVE",
        "journal_mode=WAL",
        "synchronous=FULL",
        "secure_delete=ON",
        "foreign_keys=ON",
        "temp_store=MEMORY",
        "trusted_schema=OFF",
    ):
        try:
            db.execute(f"PRAGMA {pragma}").fetchall()
        except sqlite3.Error:
            db.close()
            raise
    return db


def consistent(db: sqlite3.Connection) -> bool:
    """Whether SQLite finds pages, indexes, checks and foreign keys in order."""
    found = db.execute("PRAGMA integrity_check(1)").fetchall()
    return found == [("ok",)] and not db.execute("PRAGMA foreign_key_check").fetchall()


def keep_references(
    db: sqlite3.Connection,
    root_key: bytes,
    whose: tuple[int | None, str],
    rows: NDArray[np.float32],
    embedder_sha256: str,
) -> None:
    """Stores references ((R, D) float32, in the basis) under a new key. whose: number of the consent, subject_id."""
    number, subject_id = whose
    key = new_key()
    db.execute("INSERT INTO subject_key VALUES (?, ?)", (number, seal(root_key, subject_id, key)))
    boxes = [seal(key, f"{subject_id} {place}", row.tobytes()) for place, row in enumerate(rows)]
    db.executemany(REFER, [(number, place, embedder_sha256, box) for place, box in enumerate(boxes)])


def read_references(
    path: Path, db: sqlite3.Connection, root_key: bytes, dimension: int
) -> dict[str, NDArray[np.float32]]:
    """Every subject's references, (R, D) float32 in the basis, by subject_id. Raises StorageError."""
    found: dict[str, list[bytes]] = {}
    for subject_id, position, sealed_key, box in db.execute(REFERENCES):
        key = opened(root_key, subject_id, sealed_key)
        row = None if key is None else opened(key, f"{subject_id} {position}", box)
        if row is None or len(row) != 4 * dimension or not sound(np.frombuffer(row, "<f4")[np.newaxis]):
            raise StorageError(f"{path}: a reference is damaged", hint="restart porter-vision")
        found.setdefault(subject_id, []).append(row)
    return {
        subject_id: np.frombuffer(b"".join(rows), "<f4").reshape(len(rows), dimension)
        for subject_id, rows in found.items()
    }


def terms(consent: Consent) -> tuple[str, str, int, int, str]:
    """A consent as `ENROL` takes it, after subject_id, ref and label."""
    given = (consent.purpose, consent.policy_sha256, consent.given_at_ns, consent.expires_at_ns)
    return (*given, consent.recorded_by)


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
