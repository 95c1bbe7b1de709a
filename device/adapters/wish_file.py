# SPDX-License-Identifier: Apache-2.0
"""Wishes: what the broker asked of the vision service, in one small file on tmpfs (`device/shared_record.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from device.errors import StorageError
from device.payloads import Wish
from device.shared_record import SharedRecord

if TYPE_CHECKING:
    from pathlib import Path


class FileWishes(SharedRecord[Wish]):
    """Written by the forwarder, read by the vision service."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, Wish)


class MemoryWishes:
    """The same within one process. `full` is its failure."""

    def __init__(self, *, full: bool = False) -> None:
        self.full = full
        self._wish: Wish | None = None

    def show(self, record: Wish) -> None:
        """Keeps the wish."""
        if self.full:
            raise StorageError(
                "state cannot be written: No space left on device", hint="a failure asked for by a test"
            )
        self._wish = record

    def read(self) -> Wish | None:
        """The wish, or None."""
        return self._wish
