# SPDX-License-Identifier: Apache-2.0
"""What a gallery file is: its tables, its marks, and who may open it. adapters/gallery_sqlite.py keeps it."""

from __future__ import annotations

import sqlite3
from importlib import resources
from typing import TYPE_CHECKING

from device.errors import GalleryLocked, StorageError
from device.records import Consent, Subject

if TYPE_CHECKING:
    from pathlib import Path

Marks = tuple[str, str, int]  # kind of source, embedder, dimension

APPLICATION_ID = 0x506F7274  # "Port"; another program's database is not touched
VERSION = 2  # 1 was never released

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
KEYLESS = "SELECT subject_id FROM consent WHERE number NOT IN (SELECT consent FROM subject_key)"


def check_maker(path: Path, application: int, version: int) -> None:
    """Raises StorageError where the database is not a gallery of this format."""
    if application != APPLICATION_ID:
        raise StorageError(
            f"{path}: is another program's database", hint="move it away, or set device.state_dir"
        )
    if version < VERSION:
        raise StorageError(
            f"{path}: made before the first release (format {version}), when references were not sealed",
            hint=f"people must enrol again; erase it: rm {path}*",
        )
    if version > VERSION:
        raise StorageError(
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
