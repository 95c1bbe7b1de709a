# SPDX-License-Identifier: Apache-2.0
"""What the forwarder notices by itself and raises alerts about: the clock, and a vision service that is silent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from device.announcements import vision_is_silent

if TYPE_CHECKING:
    from device.payloads import ServiceState
    from device.records import Stamp
    from device.troubles import Troubles

VISION_START_NS = 20_000_000_000  # so long a vision service may take to say something for the first time


class Vigil:
    """Belongs to the forwarder's thread."""

    def __init__(self, troubles: Troubles, began: Stamp) -> None:
        self._troubles = troubles
        self._began_ns = began.boot_ns
        self._vision_left = False

    def look(self, state: ServiceState | None, now: Stamp) -> None:
        """state: what the vision service shows; None: nothing, or nothing that can be read."""
        if now.synced:
            self._troubles.clear("clock_unsynced")
        else:
            hint = "check that NTP reaches a server: timedatectl"
            self._troubles.raise_("clock_unsynced", "the clock is not synchronised", hint)
        if state is not None:
            self._vision_left = state.stopping
        if self._vision_left or not vision_is_silent(state, now):
            self._troubles.clear("vision_lost")
        elif now.boot_ns - self._began_ns > VISION_START_NS:
            hint = "systemctl status porter-vision; journalctl -u porter-vision"
            self._troubles.raise_("vision_lost", "the vision service says nothing", hint)
