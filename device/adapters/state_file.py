# SPDX-License-Identifier: Apache-2.0
"""The state board: the vision service's present state in one small file on tmpfs (`device/shared_record.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from device.payloads import ServiceState
from device.shared_record import MemoryRecord, SharedRecord

if TYPE_CHECKING:
    from pathlib import Path


class FileStateBoard(SharedRecord[ServiceState]):
    """Written by the vision service, read by the forwarder."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, ServiceState)


class MemoryStateBoard(MemoryRecord[ServiceState]):
    """The same within one process."""
