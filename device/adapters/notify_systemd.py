# SPDX-License-Identifier: Apache-2.0
"""The service manager's ear: systemd's notification socket (sd_notify(3)), and one that records for tests.

A datagram that cannot be sent is logged once and otherwise ignored, as libsystemd advises: the service works without
its manager. A lost WATCHDOG=1 gets it restarted, which is what a watchdog is for.
"""

from __future__ import annotations

import logging
import socket
import time

log = logging.getLogger("porter.notify")


class SystemdNotifier:
    """Sends to the socket that systemd names in NOTIFY_SOCKET; a leading `@` is its abstract namespace.

    Without one (None: started by hand) it is silent.
    """

    def __init__(self, socket_path: str | None) -> None:
        self._address = socket_path
        if socket_path is not None and socket_path.startswith("@"):
            self._address = "\0" + socket_path[1:]
        self._complained = False

    def notify(self, state: str) -> None:
        """Sends one state, e.g. `READY=1`. RELOADING=1 gets the timestamp that Type=notify-reload asks for."""
        if self._address is None:
            return
        if state == "RELOADING=1":
            state += f"\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as messenger:
                messenger.setblocking(False)
                messenger.sendto(state.encode(), self._address)
        except OSError as error:
            if not self._complained:
                log.warning("notify_failed socket=%r error=%s", self._address, error)
                self._complained = True


class RecordingNotifier:
    """Keeps what it was told, for tests."""

    def __init__(self) -> None:
        self.states: list[str] = []

    def notify(self, state: str) -> None:
        """Keeps the state."""
        self.states.append(state)
