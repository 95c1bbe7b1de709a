# SPDX-License-Identifier: Apache-2.0
"""What became of a fleet's events: delivered, repeated, late, lost, how soon; and how a fleet comes back. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import quantiles
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Outage:
    """A broker's restart, in seconds of one clock: stopped, accepting again."""

    stopped: float
    started: float


@dataclass(slots=True)
class Heard:
    """What the checking subscriber got: each event's first arrival, and whether it came as late."""

    at: dict[str, float] = field(default_factory=dict)
    late: set[str] = field(default_factory=set)


def events_account(
    committed: Mapping[str, float], heard: Heard, waiting: Collection[str], disturbed: Sequence[float] | None
) -> dict[str, Any]:
    """lost: committed, never seen, and not in an outbox either. disturbed: from when to when a restart was felt;

    latency has the events committed outside of it, latency_restart those within.
    """
    missing = committed.keys() - heard.at.keys()
    waits = missing & set(waiting)
    calm: list[float] = []
    rough: list[float] = []
    for name, at in committed.items():
        if name in heard.at:
            felt = disturbed is not None and disturbed[0] <= at <= disturbed[1]
            (rough if felt else calm).append(1000 * (heard.at[name] - at))
    return {
        "committed": len(committed),
        "delivered": len(committed) - len(missing),
        "late": len(heard.late & committed.keys()),
        "lost": len(missing) - len(waits),
        "waiting": len(waits),
        "latency_ms": percentiles(calm),
        "latency_restart_ms": percentiles(rough),
    }


def return_account(connects: Sequence[float], outage: Outage, devices: int) -> dict[str, float | int]:
    """How a fleet comes back, in seconds after the broker accepts again; the most connections within one second."""
    after = sorted(max(0.0, at - outage.started) for at in connects if at > outage.stopped)
    if not after:
        return {"devices_back": 0, "devices": devices}
    busiest = first = 0
    for last, at in enumerate(after):
        while at - after[first] > 1.0:
            first += 1
        busiest = max(busiest, last - first + 1)
    return {
        "devices_back": len(after),
        "devices": devices,
        "first_s": after[0],
        "p50_s": after[len(after) // 2],
        "last_s": after[-1],
        "most_in_one_second": busiest,
    }


def percentiles(ms: Sequence[float]) -> dict[str, float] | None:
    """p50, p95, p99, the largest, and of how many; None of fewer than two."""
    if len(ms) < 2:
        return None
    cuts = quantiles(ms, n=100, method="inclusive")
    return {"p50": cuts[49], "p95": cuts[94], "p99": cuts[98], "max": max(ms), "events": len(ms)}
