# SPDX-License-Identifier: Apache-2.0
"""Whether the clock can be believed: synchronised, not before what was already seen, and somebody who sets it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from device.adapters.last_seen import LastSeen
from device.checkup.finding import Finding
from device.folders import LAST_SEEN
from device.payloads import rfc3339
from device.recognition.consent import EARLIEST_NS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from device.checkup.host import Host
    from device.records import Stamp

SLACK_NS = 60 * 1_000_000_000
TIME_SERVICES = ("systemd-timesyncd", "chrony", "chronyd", "ntpsec", "ntp", "openntpd")
TIMESYNC_CLOCK = "var/lib/systemd/timesync/clock"


def clock_findings(host: Host, state_dir: Path, now: Stamp) -> Iterator[Finding]:
    """now: this moment, by the system's clock."""
    behind = max(LastSeen(state_dir / LAST_SEEN).read(), LastSeen(host.path(TIMESYNC_CLOCK)).read())
    said = f"the clock says {rfc3339(now.utc_ns)[:16]}"
    if now.utc_ns < EARLIEST_NS:
        yield Finding("clock", "wrong", f"{said}: before there was a Porter", "sudo timedatectl set-ntp true")
    elif now.utc_ns < behind - SLACK_NS:
        hint = "who served the wrong time? timedatectl; a network with a time server sets it right"
        yield Finding("clock", "wrong", f"{said}: it was {rfc3339(behind)[:16]} here before", hint)
    elif not now.synced:
        hint = "is there a way to a time server (UDP 123)? timedatectl timesync-status"
        yield Finding("clock", "wrong", f"{said}, but is not synchronised", hint)
    else:
        yield Finding("clock", "ok", f"{said} UTC, synchronised")
    yield from time_service(host)


def time_service(host: Host) -> Iterator[Finding]:
    """Who keeps the clock right."""
    asked = host.run("systemctl", "is-active", *TIME_SERVICES)
    states = asked.text.split()
    if asked.code is None or len(states) != len(TIME_SERVICES):
        yield Finding("clock", "note", f"whether a time service runs is not known: {asked.text[:80]}")
        return
    active = [name for name, state in zip(TIME_SERVICES, states, strict=True) if state == "active"]
    if active:
        yield Finding("clock", "ok", f"{active[0]} sets it")
    else:
        hint = "sudo systemctl enable --now systemd-timesyncd; in a container the host's clock is used"
        yield Finding("clock", "note", "no time service that is known runs here", hint)
