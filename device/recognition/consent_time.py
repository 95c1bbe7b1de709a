# SPDX-License-Identifier: Apache-2.0
"""The time by which consents end. A wrong clock may shorten a consent for a while, and never lengthens it.

Two readings of one moment. `certain_ns` is a floor: it is later than that for certain, whatever the clock says, since
this program was built then, or the clock was synchronised then and the time since was counted by the boot clock, which
nobody sets. `latest_ns` is the later of the floor and the clock. Nobody is matched whose consent has ended by
`latest_ns`; nothing is erased before it has ended by `certain_ns`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from device.records import Stamp


@dataclass(slots=True)
class ConsentTime:
    """A moment known for certain: `floor_utc_ns` at `floor_boot_ns` of this boot. Belongs to the recognise thread."""

    floor_utc_ns: int = 0
    floor_boot_ns: int = 0

    def seen(self, now: Stamp) -> None:
        """Raises the floor to a synchronised clock that is past it; one that is behind it changes nothing."""
        if now.synced and now.utc_ns > self.certain_ns(now):
            self.floor_utc_ns, self.floor_boot_ns = now.utc_ns, now.boot_ns

    def certain_ns(self, now: Stamp) -> int:
        """UTC, nanoseconds since 1970, that has certainly passed at `now`."""
        return self.floor_utc_ns + max(0, now.boot_ns - self.floor_boot_ns)

    def latest_ns(self, now: Stamp) -> int:
        """UTC, nanoseconds since 1970, at which it may be `now`, at the latest."""
        return max(now.utc_ns, self.certain_ns(now))
