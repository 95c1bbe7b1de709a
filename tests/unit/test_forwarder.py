# SPDX-License-Identifier: Apache-2.0
"""Events through the forwarder, over fakes and a clock that moves when told: late, live, and when it tries again."""

from __future__ import annotations

from itertools import pairwise

import pytest

from device.adapters.outbox_memory import MemoryOutbox
from tests.events import event_id
from tests.forwarder_rig import ROOT, Rig

DAY_S = 24 * 3600

# Late and live.


@pytest.mark.parametrize(
    ("age_s", "suffix", "expiry_s"),
    [
        (0.0, "cam0/match", 30),
        (0.5, "cam0/match", 29),
        (29.0, "cam0/match", 1),
        (29.001, "cam0/match/late", 7 * DAY_S),
        (30.0, "cam0/match/late", 7 * DAY_S),
        (7 * DAY_S, "cam0/match/late", 7 * DAY_S),
    ],
)
def test_an_event_is_live_up_to_its_age_limit_and_late_beyond(
    age_s: float, suffix: str, expiry_s: int
) -> None:
    rig = Rig()
    rig.writer.append([rig.event(1)])
    rig.clock.advance(age_s)
    rig.forwarder.step()
    (message,) = rig.exchange.on(suffix)
    assert message.expiry_s == expiry_s
    assert rig.bodies(suffix)[0].delivery == ("late" if suffix.endswith("late") else "live")
    assert len(rig.exchange.on("/match")) + len(rig.exchange.on("/match/late")) == 1


def test_an_event_that_grew_old_while_the_outbox_was_locked_is_late() -> None:
    rig = Rig(outbox=MemoryOutbox(waits=lambda: rig.clock.advance(31)))
    rig.writer.append([rig.event(1)])
    rig.steps(1, seconds=0.1)
    rig.writer.append([rig.event(2)])
    rig.steps(2, seconds=0)  # event 1 leaves the outbox, which takes 31 s; only then event 2 goes out
    assert rig.numbers("/match") == [event_id(1)]
    assert rig.numbers("match/late") == [event_id(2)]


def test_an_event_of_another_boot_is_late_however_young_it_looks() -> None:
    rig = Rig()
    rig.writer.append([rig.event(1, boot="b0070000")])
    rig.steps()
    assert rig.numbers("match/late") == [event_id(1)]
    assert rig.exchange.on("/match") == []


def test_an_event_from_the_future_is_late() -> None:
    rig = Rig()
    rig.writer.append([rig.event(1, mono_ms=rig.clock.now().boot_ns // 1_000_000 + 1000)])
    rig.steps()
    assert rig.numbers("match/late") == [event_id(1)]


@pytest.mark.parametrize("jump_s", [-365 * DAY_S, -40.0, 365 * DAY_S])
def test_a_jump_of_utc_changes_neither_late_nor_live(jump_s: float) -> None:
    rig = Rig(refuse="Server busy")
    rig.writer.append([rig.event(1)])
    rig.steps(1)
    rig.clock.advance(40)
    rig.clock.jump_utc(jump_s)
    rig.writer.append([rig.event(2)])
    rig.broker.refuse = ""
    rig.steps()
    assert rig.numbers("match/late") == [event_id(1)]
    assert rig.numbers("/match") == [event_id(2)]


def test_a_clock_at_1970_delivers_and_raises_an_alert_until_it_is_synchronised() -> None:
    rig = Rig()
    rig.clock.jump_utc(-rig.clock.now().utc_ns / 1e9)
    rig.clock.synced = False
    rig.writer.append([rig.event(1, ts="1970-01-01T00:00:00.000Z", clock="unsynced")])
    rig.steps()
    assert rig.numbers("/match") == [event_id(1)]
    assert f"{ROOT}/alert/clock_unsynced" in rig.exchange.retained
    rig.clock.synced = True
    rig.steps()
    assert f"{ROOT}/alert/clock_unsynced" not in rig.exchange.retained


def test_seven_days_offline_end_in_every_event_late_and_in_order() -> None:
    rig = Rig(unreachable=True)
    for number in range(200):
        rig.writer.append([rig.event(number)])
        rig.steps(1, seconds=7 * DAY_S / 200)
    rig.broker.unreachable = False
    rig.writer.append([rig.event(1000)])
    rig.steps(60, seconds=1.0)
    assert rig.numbers("match/late")[:200] == [event_id(number) for number in range(200)]
    assert event_id(1000) in rig.numbers("/match") + rig.numbers("match/late")
    assert rig.writer.depth() == 0


def test_retries_come_at_first_often_and_never_more_than_a_minute_apart() -> None:
    rig = Rig(unreachable=True)
    tries = []
    for _ in range(600):
        before = rig.broker.connects
        rig.forwarder.step()
        if rig.broker.connects > before:
            tries.append(rig.clock.now().boot_ns // 1_000_000_000)
        rig.clock.advance(1.0)
    gaps = [later - earlier for earlier, later in pairwise(tries)]
    assert gaps[:7] == [2, 3, 3, 8, 16, 32, 60]
    assert max(gaps) == 60


def test_what_is_older_than_anybody_wants_to_hear_of_is_given_up_and_counted() -> None:
    rig = Rig()
    rig.forwarder.delivery.max_age_days = 2
    rig.writer.append([rig.event(1)])
    rig.clock.advance(3 * 86_400.0)
    rig.writer.append([rig.event(2)])
    rig.alive()
    rig.steps(20)
    assert [event.id for event in rig.bodies("/match")] == [event_id(2)]
    assert rig.bodies("/match/late") == []
    assert rig.writer.dropped() == 1


def test_a_match_is_a_cloud_event_in_its_properties() -> None:
    rig = Rig()
    rig.writer.append([rig.event(1, ts="2026-11-23T04:20:00.000Z")])
    rig.steps(20)
    (message,) = rig.exchange.on("/match")
    assert dict(message.properties) == {
        "specversion": "1.0",
        "id": event_id(1),
        "source": "/porter/v1/lobby-01/cam0",
        "type": "porter.match.start.v1",
        "time": "2026-11-23T04:20:00.000Z",
    }
    assert message.content_type == "application/json"


def test_what_was_acknowledged_last_is_out_of_the_outbox_when_the_forwarder_ends() -> None:
    rig = Rig()
    rig.steps(20)
    rig.writer.append([rig.event(1)])
    rig.steps(1, seconds=0)
    assert rig.writer.depth() == 1, "acknowledgements are gathered for a moment"
    rig.forwarder.close()
    assert rig.writer.depth() == 0
    assert len(rig.exchange.on("/match")) == 1


def test_old_events_that_cannot_be_dropped_hold_nobody_up() -> None:
    rig = Rig(outbox=MemoryOutbox(stuck=True))
    rig.forwarder.delivery.max_age_days = 2
    rig.writer.append([rig.event(1)])
    rig.clock.advance(3 * 86_400.0)
    rig.writer.append([rig.event(2)])
    rig.alive()
    rig.steps(20)
    assert [event.id for event in rig.bodies("/match")] == [event_id(2)]
    assert rig.bodies("/match/late") == []
    assert rig.writer.dropped() == 0
