# SPDX-License-Identifier: Apache-2.0
"""The state board: the vision service's present state in one small file on tmpfs (`device/shared_record.py`)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec

from device.errors import StorageError
from device.payloads import ServiceState
from device.shared_record import MemoryRecord, SharedRecord

if TYPE_CHECKING:
    from pathlib import Path

    from device.ports import StateBoard

log = logging.getLogger("porter.state")


class FileStateBoard(SharedRecord[ServiceState]):
    """Written by the vision service, read by the forwarder."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, ServiceState)


class MemoryStateBoard(MemoryRecord[ServiceState]):
    """The same within one process."""


def take_goodbye_back(board: StateBoard) -> None:
    """For a vision service that cannot start, or ends by an error. Never raises.

    What was left on the board says that somebody stopped the service, and for that the forwarder raises no vision_lost.
    """
    state = board.read()
    if state is None or not state.stopping:
        return
    try:
        board.show(msgspec.structs.replace(state, stopping=False, presence=[], troubles=[]))
    except StorageError as error:
        log.warning("goodbye_not_taken_back text=%r", error.message)
