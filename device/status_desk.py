# SPDX-License-Identifier: Apache-2.0
"""What the forwarder says of itself on this device: systemd's status line, and a record for `porter status`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from device import __version__
from device.errors import StorageError
from device.logs import one_line
from device.payloads import ForwarderState

if TYPE_CHECKING:
    from device.ports import Notifier
    from device.records import Stamp
    from device.shared_record import SharedRecord
    from device.troubles import Troubles

log = logging.getLogger("porter.forward")

REFRESH_NS = 5_000_000_000
SILENT_NS = 20_000_000_000


class StatusDesk:
    """Belongs to the main thread."""

    def __init__(self, record: SharedRecord[ForwarderState], notifier: Notifier) -> None:
        self._record = record
        self._notifier = notifier
        self._shown: tuple[object, ...] = ()
        self._shown_ns = 0
        self._line = ""
        self._failed = False

    def show(self, broker: str, connection: str, troubles: Troubles, now: Stamp) -> None:
        """Says it where it is new, and the record once more every few seconds. Never raises."""
        standing = troubles.standing()
        # One line: a reason may hold words of the network, and a line break would be a message of its own to systemd.
        line = one_line(f"{broker}: {connection}")
        if line != self._line:
            self._line = line
            self._notifier.notify(f"STATUS={line}")
        shown = (line, standing)
        if shown == self._shown and now.boot_ns - self._shown_ns < REFRESH_NS:
            return
        try:
            self._record.show(ForwarderState(now.boot_ns, broker, connection, standing, __version__))
        except StorageError as error:
            if not self._failed:
                log.warning("status_not_shown text=%r", error.message)
            self._failed = True
            return
        self._failed = False
        self._shown, self._shown_ns = shown, now.boot_ns


def is_silent(state: ForwarderState, now: Stamp) -> bool:
    """Whether the forwarder that wrote this is gone, or hangs."""
    return not 0 <= now.boot_ns - state.boot_ns <= SILENT_NS
