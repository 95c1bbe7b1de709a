# SPDX-License-Identifier: Apache-2.0
"""Wishes: what the broker asked of the vision service, in one small file on tmpfs (`device/shared_record.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from device.payloads import Wish
from device.shared_record import MemoryRecord, SharedRecord

if TYPE_CHECKING:
    from pathlib import Path


class FileWishes(SharedRecord[Wish]):
    """Written by the forwarder, read by the vision service."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, Wish)


class MemoryWishes(MemoryRecord[Wish]):
    """The same within one process."""
