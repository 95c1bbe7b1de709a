# SPDX-License-Identifier: Apache-2.0
"""What the forwarder notices by itself: the broker, certificates that end, the clock, a vision service that is silent.

An alert about the broker cannot be published while it stands. It is in the log at once and every hour, in systemd's
status line and in `porter status`; when the connection is back it is shown for a moment, with its beginning, and ends.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

from device.announcements import vision_is_silent
from device.broker_advice import advice, lasting
from device.certificates import days_left, said

if TYPE_CHECKING:
    from collections.abc import Mapping

    from device.payloads import ServiceState
    from device.records import Stamp
    from device.troubles import Troubles
    from device.update_record import UpdateRecord

log = logging.getLogger("porter.forwarder")

NS = 1_000_000_000
VISION_START_NS = 20 * NS  # so long a vision service may take to say something for the first time
PATIENCE_NS = 30 * NS  # a broker that restarts is no trouble
AGAIN_NS = 3600 * NS
SHOWN_NS = 10 * NS
WARN_DAYS = 14
MOST_SAID = 400


class Vigil:
    """Belongs to the forwarder's thread; `broker` may be read from any."""

    def __init__(self, troubles: Troubles, began: Stamp) -> None:
        self._troubles = troubles
        self._began_ns = began.boot_ns
        self._vision_left = False
        self._lost_ns = began.boot_ns
        self._said_ns = began.boot_ns
        self._reason = ""
        self._back_ns: int | None = None  # since when there is a connection

    @property
    def broker(self) -> str:
        """The state of the connection, for people."""
        if self._back_ns is not None:
            return "connected"
        return f"no connection: {self._reason}" if self._reason else "connecting"

    def connected(self, now: Stamp) -> None:
        """The broker has accepted us."""
        self._back_ns = now.boot_ns
        if any(trouble.code == "broker_lost" for trouble in self._troubles.standing()):
            away = timedelta(seconds=(now.boot_ns - self._lost_ns) // NS)
            self._troubles.raise_("broker_lost", f"there was no connection for {away}: {self._reason}", "")

    def lost(self, reason: str, now: Stamp) -> None:
        """The connection is gone, or did not come about."""
        if self._back_ns is not None:
            self._back_ns, self._lost_ns, self._said_ns = None, now.boot_ns, now.boot_ns
        self._reason = reason

    def look_at_broker(self, now: Stamp) -> None:
        """Every turn, connected or not."""
        if self._back_ns is not None:
            if now.boot_ns - self._back_ns > SHOWN_NS:
                self._troubles.clear("broker_lost")
            return
        if not self._reason:
            return
        if lasting(self._reason) or now.boot_ns - self._lost_ns > PATIENCE_NS:
            self._troubles.raise_("broker_lost", f"no connection: {self._reason}", advice(self._reason))
        if now.boot_ns - self._said_ns > AGAIN_NS:
            self._said_ns = now.boot_ns
            seconds = (now.boot_ns - self._lost_ns) // NS
            hint = advice(self._reason)
            log.warning("broker_still_lost seconds=%d reason=%r hint=%r", seconds, self._reason, hint)

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


def watch_certificates(ends: Mapping[str, int | None], now: Stamp, troubles: Troubles) -> None:
    """Raises `certificate_expiring` for the first to end (UTC ns by name; None: unknown), 14 days ahead; clears it.

    Says nothing by a clock that nobody vouches for.
    """
    if not now.synced:
        return
    known = {name: at for name, at in ends.items() if at is not None}
    first = min(known, key=lambda name: known[name], default=None)
    if first is None or days_left(known[first], now.utc_ns) >= WARN_DAYS:
        troubles.clear("certificate_expiring")
        return
    troubles.raise_(
        "certificate_expiring",
        said(first, known[first], now.utc_ns),
        "issue a new one in time: without it there is no connection (docs/broker.md)",
    )


def watch_update(last: UpdateRecord | None, troubles: Troubles) -> None:
    """Raises `update_failed` for an update that fell back, until one is kept or somebody acknowledges it."""
    if last is None or not last.failed:
        troubles.clear("update_failed")
        return
    # The reason may hold words of a unit or of a broker: one line, and no longer than anybody reads.
    said = "".join(sign if sign.isprintable() else "?" for sign in last.failed[:MOST_SAID])
    troubles.raise_(
        "update_failed",
        f"an update was not kept: {said}",
        "the version before it runs on; porter update --status. It ends with an update that is kept, or with "
        "sudo porter update --acknowledge",
    )
