# SPDX-License-Identifier: Apache-2.0
"""What must hold after any fault: `violations` reads a subscriber's recording and names every rule that it breaks."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from device.payloads import Event, Presence

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.subscriber import Seen

ROOT = "porter/v1/lobby-01"
TOPICS = re.compile(
    rf"{ROOT}/(status|info|health|alert/[a-z0-9_]{{1,40}}|cmd/[a-z]+(/result)?|cam0/(match|match/late|presence))"
    r"|homeassistant/device/[^/]+/config"
)


@dataclass(frozen=True, slots=True)
class Expected:
    """What should have happened. Ages in seconds.

    committed: identifiers of events whose commit returned; others may be there too (the writer was killed before it
    could say so). excused: acknowledged by a broker that then died with them. present: refs in the last presence.
    slack_s: what the way to the subscriber and a busy machine may take.
    """

    committed: frozenset[str]
    excused: frozenset[str] = frozenset()
    present: tuple[str, ...] = ()
    status: bytes = b"online"
    live_max_age_s: float = 5.0
    slack_s: float = 1.0


@dataclass(slots=True)
class Account:
    """A recording, counted."""

    delivered: int = 0
    repeated: int = 0
    late: int = 0
    oldest_live_s: float = 0.0
    violations: list[str] = field(default_factory=list)


def boot_seconds(monotonic_s: float) -> float:
    """CLOCK_BOOTTIME at that moment of CLOCK_MONOTONIC; they differ by time spent suspended."""
    return monotonic_s + time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()


def check(
    messages: Sequence[Seen],
    expected: Expected,
    boots: Sequence[str],
    boot_s: Callable[[float], float] = boot_seconds,
) -> Account:
    """Asserts that no rule is broken. boots: in their order, the present one last."""
    account = inspect(messages, expected, boots, boot_s)
    assert not account.violations, "\n".join(account.violations[:20])
    return account


def inspect(
    messages: Sequence[Seen],
    expected: Expected,
    boots: Sequence[str],
    boot_s: Callable[[float], float] = boot_seconds,
) -> Account:
    """Every rule over the whole recording. boot_s: boot time at a moment of time.monotonic()."""
    account = Account()
    first: dict[str, Event] = {}
    for message in messages:
        if not TOPICS.fullmatch(message.topic):
            account.violations.append(f"topic: {message.topic} is not in the contract")
        elif "/match" in message.topic:
            _event(message, expected, boots, boot_s, first, account)
    account.delivered = len(first)
    account.violations += _missing(first, expected) + _order(list(first.values()), boots)
    account.violations += _gaps(list(first.values()), len(expected.excused - first.keys()))
    account.violations += _state(messages, expected)
    return account


def _event(
    message: Seen,
    expected: Expected,
    boots: Sequence[str],
    boot_s: Callable[[float], float],
    first: dict[str, Event],
    account: Account,
) -> None:
    event = msgspec.json.decode(message.payload, type=Event)
    said = "late" if message.topic.endswith("/late") else "live"
    account.late += said == "late"
    if event.delivery != said:
        account.violations.append(f"delivery: {event.id} says {event.delivery} on {message.topic}")
    if (
        said == "live" and not message.dup
    ):  # a broker that restarts sends again what this subscriber did not answer
        age_s = boot_s(message.at) - event.mono_ms / 1000
        account.oldest_live_s = max(account.oldest_live_s, age_s)
        if event.boot != boots[-1] or age_s > expected.live_max_age_s + expected.slack_s:
            # Expiry left at the subscriber tells who was slow: the device sent it when it was younger by that at least.
            left = "" if message.expiry_s is None else f", {message.expiry_s} s left to expire"
            account.violations.append(f"live: {event.id} on match {age_s:.2f} s old{left}, boot {event.boot}")
    known = first.setdefault(event.id, event)
    if known is not event:
        account.repeated += 1
        if msgspec.structs.replace(event, delivery=known.delivery) != known:
            account.violations.append(f"repeat: {event.id} came again with another body")


def _missing(first: dict[str, Event], expected: Expected) -> list[str]:
    lost = sorted(expected.committed - expected.excused - first.keys())
    return [f"lost: {len(lost)} committed events, among them {lost[:3]}"] if lost else []


def _order(events: list[Event], boots: Sequence[str]) -> list[str]:
    found = []
    places = [(boots.index(event.boot) if event.boot in boots else -1, event.seq) for event in events]
    for event, before, here in zip(events[1:], places, places[1:], strict=False):
        if here == before:
            found.append(f"unique: boot {event.boot} seq {event.seq} under a second id, {event.id}")
        elif here < before:
            found.append(f"order: boot {event.boot} seq {event.seq} first came after seq {before[1]}")
    return found


def _gaps(events: list[Event], excused: int) -> list[str]:
    missing = 0
    for boot in {event.boot for event in events}:
        seqs = {event.seq for event in events if event.boot == boot}
        missing += max(seqs) - len(seqs)
    return [f"gap: {missing} sequence numbers never came, {excused} excused"] if missing > excused else []


def _state(messages: Sequence[Seen], expected: Expected) -> list[str]:
    found = []
    statuses = [message.payload for message in messages if message.topic == f"{ROOT}/status"]
    if statuses[-1:] != [expected.status]:
        found.append(f"status: {statuses[-1:]}, expected {expected.status!r}")
    shown = [message.payload for message in messages if message.topic == f"{ROOT}/cam0/presence"]
    refs = (
        [one.person.ref for one in msgspec.json.decode(shown[-1], type=Presence).present] if shown else None
    )
    if refs != list(expected.present):
        found.append(f"presence: {refs}, expected {list(expected.present)}")
    return found
