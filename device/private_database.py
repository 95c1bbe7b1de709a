# SPDX-License-Identifier: Apache-2.0
"""What a SQLite store needs around its file: private from the start, set aside when damaged, errors with a hint."""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING

from device.durable import sync
from device.errors import StorageError

if TYPE_CHECKING:
    from pathlib import Path

DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
PARTS = ("", "-wal", "-shm")


def make_private(path: Path) -> None:
    """Makes the file if it is not there, and takes it from everybody but its owner, before anything is in it."""
    if not path.parent.is_dir():
        raise StorageError(
            f"{path}: its folder does not exist",
            hint=f"make it (mkdir -p {path.parent}), or set device.state_dir",
        )
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    path.chmod(0o600)
    sync(path.parent)


def move_aside(path: Path) -> Path:
    """Renames a damaged database, its -wal and -shm to `<name>.corrupt-<n>`, with the first n that is free."""
    number = 1
    while any(
        path.with_name(f"{path.name}.corrupt-{number}{part}").exists() for part in ("", "-wal", "-shm")
    ):
        number += 1
    aside = path.with_name(f"{path.name}.corrupt-{number}")
    for part in ("-shm", "-wal", ""):  # the database last: killed in between, it is found damaged once more
        old = path.with_name(path.name + part)
        if old.exists():
            old.rename(path.with_name(aside.name + part))
    return aside


def storage_error(path: Path, verb: str, error: sqlite3.Error | OSError) -> StorageError:
    """What SQLite or the system says, with what to do."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    hints = {
        sqlite3.SQLITE_BUSY: "another Porter process uses it: systemctl status porter-vision",
        sqlite3.SQLITE_FULL: "the disk is full: free some space; nothing was changed",
        sqlite3.SQLITE_IOERR: "the disk is full or failing: see `df` and `dmesg`",
        sqlite3.SQLITE_CORRUPT: "restart porter-vision: it sets the damaged file aside",
    }
    return StorageError(
        f"{path}: cannot be {verb}: {error}", hint=hints.get(code, "it must be the service's own file")
    )
