# SPDX-License-Identifier: Apache-2.0
"""The state board: the vision service's present state in one small file on tmpfs (`device/shared_record.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from device.errors import StorageError
from device.payloads import ServiceState
from device.shared_record import SharedRecord

if TYPE_CHECKING:
    from pathlib import Path


class FileStateBoard(SharedRecord[ServiceState]):
    """Written by the vision service, read by the forwarder."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, ServiceState)


class MemoryStateBoard:
    """The same within one process. `unreadable` and `full` are its failures."""

    def __init__(self, *, unreadable: bool = False, full: bool = False) -> None:
        self.unreadable = unreadable
        self.full = full
        self._state: ServiceState | None = None

    def show(self, state: ServiceState) -> None:
        """Keeps the state."""
        if self.full:
            raise StorageError(
                "state cannot be written: No space left on device", hint="a failure asked for by a test"
            )
        self._state = state

    def read(self) -> ServiceState | None:
        """The state, or None."""
        return None if self.unreadable else self._state
