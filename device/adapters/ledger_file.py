# SPDX-License-Identifier: Apache-2.0
"""The consent ledger on disk: JSON Lines, mode 0600, each line durable before anything follows from it.

A last line without its end is what a power cut left of an entry that nobody was told of: it is cut off. Anything else
that does not belong is damage: the ledger is refused and left as it is.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from device.errors import GalleryLocked, StorageError
from device.ledger import START, LedgerEntry, chained, line_of, read_entries
from device.private_database import make_private

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

log = logging.getLogger("porter.ledger")

LARGEST_BYTES = 64 * 1024 * 1024  # a hundred thousand entries; a real ledger has a few hundred


class FileLedger:
    """`ports.Ledger` in one file. Belongs to one thread at a time.

    Raises GalleryLocked for a ledger whose chain is broken, StorageError where the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            make_private(path)
            self._handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                self._entries = self._read()
            except BaseException:
                os.close(self._handle)
                raise
        except OSError as error:
            raise self._failed("opened", error) from error

    @property
    def entries(self) -> Sequence[LedgerEntry]:
        """All entries, oldest first."""
        return tuple(self._entries)

    def append(self, entry: LedgerEntry) -> LedgerEntry:
        """Adds an entry; durable on return, or not there at all. Raises StorageError."""
        added = chained(entry, self._entries[-1].head if self._entries else START)
        line, end = line_of(added), os.fstat(self._handle).st_size
        try:
            while line:  # a disk that fills up takes a part, and refuses the rest
                line = line[os.write(self._handle, line) :]
            os.fsync(self._handle)
        except OSError as error:
            os.ftruncate(self._handle, end)
            raise self._failed("written", error) from error
        self._entries.append(added)
        return added

    def close(self) -> None:
        """Closes the file; harmless when already closed."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _read(self) -> list[LedgerEntry]:
        whole, torn = whole_lines(self._path)
        if torn:
            log.warning("ledger_torn_line_cut bytes=%d", torn)
            os.ftruncate(self._handle, os.fstat(self._handle).st_size - torn)
            os.fsync(self._handle)
        return verified(self._path, whole)

    def _failed(self, verb: str, error: OSError) -> StorageError:
        return StorageError(
            f"{self._path}: the consent ledger cannot be {verb}: {error.strerror}",
            hint="it must be the service's own file, on a disk with some space left",
        )


def whole_lines(path: Path) -> tuple[list[bytes], int]:
    """The lines of a ledger that have their end, and how many bytes follow them. Raises OSError, GalleryLocked."""
    size = path.stat().st_size
    if size > LARGEST_BYTES:
        raise GalleryLocked(
            f"{path}: {size} bytes: expected a consent ledger of at most {LARGEST_BYTES}",
            hint="this is not the file that Porter wrote; put that one back",
        )
    *lines, rest = path.read_bytes().split(b"\n")
    return lines, len(rest)


def verified(path: Path, lines: list[bytes]) -> list[LedgerEntry]:
    """The entries of these lines. Raises GalleryLocked where the chain is broken."""
    try:
        return read_entries(lines)
    except ValueError as error:
        raise GalleryLocked(
            f"{path}: {error}",
            hint="nobody is matched on a ledger that cannot be believed: put back the file as it was, or move "
            "gallery and ledger away and let people enrol again",
        ) from error
