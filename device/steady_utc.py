# SPDX-License-Identifier: Apache-2.0
"""Whether UTC may be believed where believing it loses something: synchronised, and without a leap for a day.

A time server may lie, and a leap of a year would make every waiting event of an earlier boot too old to be sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from device.records import Stamp

HOLD_NS = 86_400_000_000_000
LEAP_NS = HOLD_NS // 24  # no clock that is kept right drifts so far from the boot clock


class SteadyUtc:
    """Belongs to one thread, which says `seen` at every turn: what it does not see it cannot count."""

    def __init__(self) -> None:
        self._since: Stamp | None = None

    def seen(self, now: Stamp) -> None:
        """What the clocks say now."""
        since = self._since
        if not now.synced:
            self._since = None
        elif since is None or abs(now.utc_ns - since.utc_ns - (now.boot_ns - since.boot_ns)) > LEAP_NS:
            self._since = now

    def believed(self, now: Stamp) -> bool:
        """Whether what UTC says now has held for a day of boot time."""
        self.seen(now)
        return self._since is not None and now.boot_ns - self._since.boot_ns >= HOLD_NS
