# SPDX-License-Identifier: Apache-2.0
"""How old an event is: by clocks that can be trusted, and never by guess."""

from __future__ import annotations

from typing import Any

import pytest

from device.delivery import age_days
from device.payloads import rfc3339
from device.records import Stamp
from tests.events import event_id, make_event
from tests.forwarder_rig import Rig

DAY_NS = 86_400_000_000_000
NOW_NS = 1_795_000_000_000_000_000


@pytest.mark.parametrize(
    ("event", "synced", "days"),
    [
        ({"boot": "0000b7c1", "mono_ms": 0, "ts": "1970-01-01T00:00:00.000Z"}, True, 5.0),
        ({"boot": "0000b7c1", "mono_ms": 86_400_000, "clock": "unsynced"}, False, 4.0),
        ({"boot": "another1", "ts": rfc3339(NOW_NS - 3 * DAY_NS), "clock": "synced"}, True, 3.0),
        ({"boot": "another1", "ts": rfc3339(NOW_NS - 3 * DAY_NS), "clock": "synced"}, False, 0.0),
        ({"boot": "another1", "ts": "1970-01-01T00:00:00.000Z", "clock": "unsynced"}, True, 0.0),
        ({"boot": "another1", "ts": "yesterday", "clock": "synced"}, True, 0.0),
        ({"boot": "another1", "ts": rfc3339(NOW_NS + 365 * DAY_NS), "clock": "synced"}, True, -365.0),
    ],
    ids=["this boot", "this boot, no clock", "an earlier boot", "clock lost", "at 1970", "nonsense", "ahead"],
)
def test_an_events_age(event: dict[str, Any], synced: bool, days: float) -> None:
    now = Stamp(5 * DAY_NS, NOW_NS, synced=synced)
    assert age_days(make_event(1, **event), "0000b7c1", now) == pytest.approx(days, abs=1e-6)


YEAR_S = 365 * 86_400.0


def outbox_of_an_earlier_boot() -> Rig:
    """Three events wait since an hour before the power was cut; nothing was sent."""
    rig = Rig()
    rig.writer.append([rig.event(number, ts=rfc3339(rig.clock.now().utc_ns)) for number in (1, 2, 3)])
    rig.clock.advance(3600.0)
    rig.clock.reboot("b0070002")
    rig.forwarder = rig.make()
    return rig


@pytest.mark.parametrize("leap_s", [YEAR_S, -YEAR_S], ids=["ahead", "back"])
def test_a_synchronised_clock_that_leaps_a_year_gives_no_event_up(leap_s: float) -> None:
    rig = outbox_of_an_earlier_boot()
    rig.clock.jump_utc(leap_s)
    rig.alive()
    rig.steps(20)
    assert rig.numbers("/match/late") == [event_id(number) for number in (1, 2, 3)]
    assert rig.writer.dropped() == 0


def test_what_an_earlier_boot_left_is_given_up_once_utc_has_been_steady_for_a_day() -> None:
    rig = outbox_of_an_earlier_boot()
    rig.broker.unreachable = True
    for _hour in range(31 * 24):
        rig.clock.advance(3600.0)
        rig.steps(1)
    rig.broker.unreachable = False
    rig.alive()
    rig.clock.advance(61.0)
    rig.steps(20)
    assert rig.bodies("/match/late") == []
    assert rig.writer.dropped() == 3


def test_a_leap_while_the_broker_is_away_starts_the_day_again() -> None:
    rig = outbox_of_an_earlier_boot()
    rig.broker.unreachable = True
    for _hour in range(48):
        rig.clock.advance(3600.0)
        rig.steps(1)
    rig.clock.jump_utc(YEAR_S)
    rig.broker.unreachable = False
    rig.alive()
    rig.clock.advance(61.0)
    rig.steps(20)
    assert len(rig.bodies("/match/late")) == 3
    assert rig.writer.dropped() == 0
