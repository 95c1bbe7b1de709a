# SPDX-License-Identifier: Apache-2.0
"""The time by which consents end. A wrong clock may shorten a consent for a while, and never lengthens it.

Two readings of one moment. `certain_ns` is a floor: it is later than that for certain, whatever the clock says, since
this program was built then, or the clock was synchronised then and the time since was counted by the boot clock, which
nobody sets. `latest_ns` is the later of the floor and the clock. Nobody is matched whose consent has ended by
`latest_ns`; nothing is erased before it has ended by `certain_ns`.

A synchronised clock that leaps far ahead of the floor raises it only after a day in one go (a time server may lie):
docs/decisions/0018-a-clock-that-leaps.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from device.records import Stamp

DAY_NS = 86_400_000_000_000
OFF_NS = 31 * DAY_NS  # a device may have been switched off for so long, and is believed at once
LEAP_NS = 3 * DAY_NS  # while it runs the boot clock counts: more than this is no drift
HOLD_NS = DAY_NS
STEADY_NS = DAY_NS // 24


@dataclass(slots=True)
class ConsentTime:
    """A moment known for certain: `floor_utc_ns` at `floor_boot_ns` of this boot. Belongs to the recognise thread.

    known: whether some clock ever said so; where none did, the first synchronised one is believed.
    """

    floor_utc_ns: int = 0
    floor_boot_ns: int = 0
    known: bool = False
    _running: bool = False  # whether a clock was believed since the start
    _leapt: Stamp | None = None  # since when the clock has been too far ahead, synchronised and steady

    def seen(self, now: Stamp) -> None:
        """Raises the floor to a synchronised clock that is past it; one that is behind it changes nothing."""
        if not now.synced:
            self._leapt = None
        elif not self.leaps(now) or self._held(now):
            self._leapt = None
            if now.utc_ns > self.certain_ns(now):
                self.floor_utc_ns, self.floor_boot_ns = now.utc_ns, now.boot_ns
                self.known = self._running = True

    def leaps(self, now: Stamp) -> bool:
        """Whether the clock, synchronised or not, is further ahead of what is certain than can be explained."""
        return self.known and self.ahead_ns(now) > (LEAP_NS if self._running else OFF_NS)

    def believes(self, now: Stamp) -> bool:
        """Whether what the clock says now may be written down as the time."""
        return now.synced and not self.leaps(now)

    def ahead_ns(self, now: Stamp) -> int:
        """How far the clock is ahead of what is certain, nanoseconds; negative where it is behind."""
        return now.utc_ns - self.certain_ns(now)

    def _held(self, now: Stamp) -> bool:
        """Whether the clock has kept what it leapt to for long enough, by the boot clock."""
        since = self._leapt
        if since is None or abs(now.utc_ns - since.utc_ns - (now.boot_ns - since.boot_ns)) > STEADY_NS:
            self._leapt = now
            return False
        return now.boot_ns - since.boot_ns >= HOLD_NS

    def certain_ns(self, now: Stamp) -> int:
        """UTC, nanoseconds since 1970, that has certainly passed at `now`."""
        return self.floor_utc_ns + max(0, now.boot_ns - self.floor_boot_ns)

    def latest_ns(self, now: Stamp) -> int:
        """UTC, nanoseconds since 1970, at which it may be `now`, at the latest."""
        return max(now.utc_ns, self.certain_ns(now))
