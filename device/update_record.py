# SPDX-License-Identifier: Apache-2.0
"""What is remembered of an update over the reboot that tries it: one small file on the data partition."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from device.durable import write_whole
from device.errors import StorageError

RECORD = Path("/data/update/last.json")
Outcome = Literal["installed", "kept", "fell back"]


class UpdateRecord(msgspec.Struct, frozen=True):
    """The last update. broker: whether the broker was reached before it; why: what a trial failed on."""

    version: str
    from_version: str
    outcome: Outcome
    broker: bool
    why: str = ""


def read(path: Path) -> UpdateRecord | None:
    """The record; None where there was no update, or what is there is damaged."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=UpdateRecord)
    except (OSError, msgspec.MsgspecError):
        return None


def write(record: UpdateRecord, path: Path) -> None:
    """Whole or not at all. Raises StorageError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, msgspec.json.encode(record), 0o644)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror}") from error
