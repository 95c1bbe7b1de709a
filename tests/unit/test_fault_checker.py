# SPDX-License-Identifier: Apache-2.0
"""The checker of the fault tests must be able to fail: a doctored recording for each of its rules."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from device.payloads import Person, Presence, Present
from tests.events import BOOT, event_id, make_event
from tests.subscriber import Seen
from tests.system.checker import ROOT, Expected, inspect

if TYPE_CHECKING:
    from collections.abc import Callable

TIME = "2026-11-23T04:20:00.000Z"
Recording = list[Seen]


def event(number: int, *, late: bool = False, at: float = 3601.0, **changes: Any) -> Seen:
    """An event of `seq` number, captured one hour after boot and heard a second later."""
    body = make_event(number, seq=number, delivery="late" if late else "live", **changes)
    topic = f"{ROOT}/cam0/match/late" if late else f"{ROOT}/cam0/match"
    return Seen(topic, msgspec.json.encode(body), 1, False, at)


def sound() -> Recording:
    """A recording that breaks nothing: three events, one of them again, and the state at the end."""
    people = [Present(person=Person(ref="p_1a57"), since=TIME)]
    presence = Presence(v=1, device="lobby-01", camera="cam0", ts=TIME, present=people)
    return [
        Seen(f"{ROOT}/status", b"online", 1, True, 3600.0),
        event(1),
        event(2),
        event(2, late=True, at=4000.0),
        event(3),
        Seen(f"{ROOT}/cam0/presence", msgspec.json.encode(presence), 1, False, 3700.0),
    ]


def broken(recording: Recording, **changes: Any) -> list[str]:
    """The rules that it breaks."""
    fields: dict[str, Any] = {"committed": frozenset(event_id(n) for n in (1, 2, 3)), "present": ("p_1a57",)}
    account = inspect(recording, Expected(**(fields | changes)), [BOOT], lambda moment: moment)
    return sorted({violation.partition(":")[0] for violation in account.violations})


def test_a_sound_recording_breaks_nothing_and_is_counted() -> None:
    assert broken(sound()) == []
    account = inspect(sound(), Expected(frozenset(), present=("p_1a57",)), [BOOT], lambda moment: moment)
    assert (account.delivered, account.repeated, account.late, account.oldest_live_s) == (3, 1, 1, 1.0)


DOCTORED: list[tuple[str, Callable[[Recording], Recording]]] = [
    ("topic", lambda r: [*r, Seen(f"{ROOT}/cam0/snapshot", b"", 1, False, 3601.0)]),
    ("delivery", lambda r: [*r, Seen(f"{ROOT}/cam0/match/late", event(3).payload, 1, False, 3601.0)]),
    ("live", lambda r: [*r[:4], event(3, at=3606.5), *r[5:]]),
    ("live", lambda r: [*r[:1], event(1, boot="00000bad"), *r[1:]]),
    ("repeat", lambda r: [*r[:5], event(3, score=0.9), *r[5:]]),
    ("lost", lambda r: [*r[:4], *r[5:]]),
    ("order", lambda r: [r[0], r[2], r[1], *r[3:]]),
    ("unique", lambda r: [*r[:5], event(3, id=event_id(99)), *r[5:]]),
    ("gap", lambda r: [*r[:5], event(5), *r[5:]]),
    ("status", lambda r: [*r, Seen(f"{ROOT}/status", b"offline", 1, True, 3800.0)]),
    ("presence", lambda r: r[:-1]),
]


@pytest.mark.parametrize(
    ("rule", "doctor"), DOCTORED, ids=[f"{n}-{rule}" for n, (rule, _) in enumerate(DOCTORED)]
)
def test_a_doctored_recording_is_found_out(rule: str, doctor: Callable[[Recording], Recording]) -> None:
    assert rule in broken(doctor(sound()))


def test_what_a_dying_broker_took_with_it_is_excused_and_nothing_else() -> None:
    lost = [*sound()[:1], *sound()[2:]]  # the first event
    assert broken(lost, excused=frozenset({event_id(1)})) == []
    assert broken(lost, excused=frozenset({event_id(2)})) == ["gap", "lost"]


def test_what_a_broker_sends_again_after_its_restart_is_not_the_device_s_age() -> None:
    again = event(3, at=3700.0)
    assert broken([*sound()[:5], again, *sound()[5:]]) == ["live"]
    assert broken([*sound()[:5], replace(again, dup=True), *sound()[5:]]) == []
