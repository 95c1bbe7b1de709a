# SPDX-License-Identifier: Apache-2.0
"""Keeps a source of frames to a rate: one frame in a period on the clock; a late frame is not made up for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from device.ports import Clock
    from device.records import Stamp


class Pace:
    """For a source without a pace of its own, or with a faster one. wait: called with seconds."""

    def __init__(self, clock: Clock, wait: Callable[[float], object], period_s: float) -> None:
        self._clock = clock
        self._wait = wait
        self._period_ns = round(period_s * 1e9)
        self._due_ns = 0

    def restart(self) -> None:
        """The next frame is due now."""
        self._due_ns = self._clock.now().boot_ns

    def when_due(self) -> Stamp:
        """Waits until the next frame is due; that moment."""
        now = self._clock.now()
        if self._due_ns > now.boot_ns:
            self._wait((self._due_ns - now.boot_ns) / 1e9)
            now = self._clock.now()
        self._due_ns = max(self._due_ns + self._period_ns, now.boot_ns)
        return now
