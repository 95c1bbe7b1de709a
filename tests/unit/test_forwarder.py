# SPDX-License-Identifier: Apache-2.0
"""Events through the forwarder, over fakes: late and live, lost acknowledgements, refusals, order, a failing outbox."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from device.payloads import Event
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
        (29.999, "cam0/match", 1),
        (30.0, "cam0/match", 1),
        (30.001, "cam0/match/late", 7 * DAY_S),
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
    assert gaps[:6] == [2, 4, 8, 16, 32, 60]
    assert max(gaps) == 60


# Acknowledgements.


def test_an_event_leaves_the_outbox_only_when_acknowledged() -> None:
    rig = Rig(lose_pubacks=1000)
    rig.writer.append([rig.event(1)])
    rig.steps(4)
    assert rig.writer.depth() == 1
    rig.broker.lose_pubacks = 0
    rig.broker.drop()
    rig.steps(30)
    assert rig.writer.depth() == 0
    assert set(rig.numbers("/match")) == {event_id(1)}


def test_a_lost_acknowledgement_brings_the_event_again_with_the_same_id_live_while_it_is_young() -> None:
    rig = Rig()
    rig.steps()
    rig.broker.lose_pubacks = 1
    rig.writer.append([rig.event(1)])
    rig.steps(2)
    rig.broker.drop()
    rig.steps(12)
    assert rig.numbers("/match") == [event_id(1), event_id(1)]
    assert rig.writer.depth() == 0


def test_a_lost_acknowledgement_brings_the_event_again_as_late_when_it_is_old() -> None:
    rig = Rig()
    rig.steps()
    rig.broker.lose_pubacks = 1
    rig.writer.append([rig.event(1)])
    rig.steps(2)
    rig.broker.drop()
    rig.clock.advance(40)
    rig.steps(12)
    assert (rig.numbers("/match"), rig.numbers("match/late")) == ([event_id(1)], [event_id(1)])


def test_a_stalled_link_is_cut_before_a_live_event_on_it_grows_old() -> None:
    rig = Rig(live_max_age_s=5)
    rig.steps()
    rig.broker.deaf = True
    rig.writer.append([rig.event(1)])
    captured = rig.clock.now().boot_ns
    while not rig.broker.aborts:
        rig.steps(1)
        assert rig.clock.now().boot_ns - captured < 6_000_000_000
    rig.broker.deaf = False
    rig.steps(40)
    assert rig.exchange.on("/match") == []
    assert rig.numbers("match/late") == [event_id(1)]


def test_a_late_event_on_a_stalled_link_is_given_twenty_seconds() -> None:
    rig = Rig()
    rig.steps()
    rig.broker.deaf = True
    rig.writer.append([rig.event(1, boot="b0070000")])
    rig.steps(76)
    assert rig.broker.aborts == 0
    rig.steps(8)
    assert rig.broker.aborts == 1


def test_nobody_subscribed_is_delivered_and_counted() -> None:
    rig = Rig(reason_code=0x10)
    rig.writer.append([rig.event(1)])
    rig.steps()
    assert rig.writer.depth() == 0
    assert rig.forwarder.delivery.counters.no_subscriber == 1


@pytest.mark.parametrize("reason_code", [0x80, 0x87, 0x97, 0x99])
def test_a_refused_event_is_kept_and_tried_again_later_and_later(reason_code: int) -> None:
    rig = Rig()
    rig.steps()
    rig.broker.reason_code = reason_code
    rig.writer.append([rig.event(1)])
    rig.steps(400)
    assert rig.writer.depth() == 1
    assert rig.forwarder.delivery.counters.refused == 6  # after 2, 4, 8, 16, 32 s
    assert [trouble.code for trouble in rig.troubles.standing()] == ["delivery_refused", "vision_lost"]
    rig.broker.reason_code = 0
    rig.steps(240)
    assert rig.numbers("match/late") == [event_id(1)]
    assert "delivery_refused" not in [trouble.code for trouble in rig.troubles.standing()]


def test_a_refusal_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig()
    rig.steps()
    rig.broker.reason_code = 0x97
    rig.writer.append([rig.event(1)])
    rig.steps(100)
    assert sum("alert_raised code=delivery_refused" in record.message for record in caplog.records) == 1


def test_refused_state_is_logged_once_and_shown_when_the_broker_takes_it_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig(reason_code=0x97)
    rig.steps(100)
    assert rig.exchange.retained == {}
    assert (
        sum("state_refused topic=porter/v1/lobby-01/status" in record.message for record in caplog.records)
        == 1
    )
    rig.broker.reason_code = 0
    rig.steps(60)
    assert rig.exchange.retained[f"{ROOT}/status"] == b"online"
    assert f"{ROOT}/info" in rig.exchange.retained or f"{ROOT}/alert/vision_lost" in rig.exchange.retained


def test_a_repeated_failure_to_connect_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig(refuse="Not authorized")
    rig.steps(100)
    assert rig.broker.connects > 3
    assert sum("Not authorized" in record.message for record in caplog.records) == 1


def test_events_are_published_in_order_over_boots_and_reconnections() -> None:
    rig = Rig(drop_after=20)
    rig.writer.append([rig.event(number, boot="b0070000") for number in range(30)])
    rig.writer.append([rig.event(number) for number in range(30, 60)])
    rig.steps(30)
    seen: dict[str, None] = dict.fromkeys(
        msgspec.json.decode(message.payload, type=Event).id
        for message in rig.exchange.published
        if "/match" in message.topic
    )
    assert list(seen) == [event_id(number) for number in range(60)]
    assert rig.writer.depth() == 0


@pytest.mark.parametrize("window", [1, 2, 5])
def test_the_brokers_window_is_kept(window: int) -> None:
    rig = Rig(receive_maximum=window)
    rig.writer.append([rig.event(number) for number in range(20)])
    rig.steps(80, seconds=0.01)
    assert rig.forwarder.connects == 1
    assert rig.numbers("/match") == [event_id(number) for number in range(20)]


def test_no_more_than_sixteen_publications_are_in_flight() -> None:
    rig = Rig()
    rig.steps()
    rig.broker.deaf = True
    rig.writer.append([rig.event(number) for number in range(40)])
    rig.steps(3, seconds=0)
    assert len(rig.forwarder._in_flight) == 16


def test_any_mixture_of_faults_loses_nothing_and_puts_nothing_old_on_match() -> None:
    for seed in range(25):
        dice = random.Random(seed)
        rig = Rig(live_max_age_s=10)
        committed = 0
        for _ in range(150):
            match dice.randrange(9):
                case 0:
                    rig.broker.drop()
                case 1:
                    rig.broker.lose_pubacks = dice.randrange(4)
                case 2:
                    rig.broker.drop_after = dice.randrange(6)
                case 3:
                    rig.broker.unreachable = dice.random() < 0.5
                case 4:
                    rig.broker.reason_code = dice.choice([0, 0, 0x10, 0x97])
                case 5:
                    rig.reader.stuck = rig.reader.unreadable = dice.random() < 0.3
                case 6:
                    rig.clock.jump_utc(dice.uniform(-1e8, 1e8))
                case _:
                    rig.writer.append([rig.event(committed)])
                    committed += 1
            check_ages(
                rig, seed, lambda rig=rig, dice=dice: rig.steps(2, seconds=dice.choice([0.02, 0.3, 7.0]))
            )
        rig.broker.unreachable = rig.reader.stuck = rig.reader.unreadable = False
        rig.broker.reason_code = rig.broker.lose_pubacks = 0
        rig.broker.drop_after = None
        check_ages(rig, seed, lambda rig=rig: rig.steps(200, seconds=1.0))
        delivered = {event.id for event in rig.bodies("/match") + rig.bodies("match/late")}
        assert delivered == {event_id(number) for number in range(committed)}, f"seed {seed}"
        assert rig.writer.depth() == 0, f"seed {seed}"


def check_ages(rig: Rig, seed: int, work: Any) -> None:
    """Whatever reached `match` during `work` was not older than ten seconds when `work` began its last turn."""
    before = len(rig.exchange.published)
    began_ms = rig.clock.now().boot_ns // 1_000_000
    work()
    for message in rig.exchange.published[before:]:
        if message.topic.endswith("/match"):
            event = msgspec.json.decode(message.payload, type=Event)
            assert began_ms - event.mono_ms <= 10_000, f"seed {seed}"


# The outbox in trouble.


def test_an_outbox_that_cannot_be_read_raises_an_alert_and_is_tried_again() -> None:
    rig = Rig()
    rig.reader.unreadable = True
    rig.writer.append([rig.event(1)])
    rig.steps()
    assert f"{ROOT}/alert/outbox_failed" in rig.exchange.retained
    rig.reader.unreadable = False
    rig.steps(12)
    assert rig.numbers("/match") == [event_id(1)]
    assert f"{ROOT}/alert/outbox_failed" not in rig.exchange.retained


def test_an_outbox_that_cannot_be_written_makes_no_event_come_twice() -> None:
    rig = Rig()
    rig.reader.stuck = True
    rig.writer.append([rig.event(1), rig.event(2)])
    rig.steps(20)
    rig.broker.drop()
    rig.steps(40)
    assert rig.forwarder.connects == 2
    assert rig.numbers("/match") == [event_id(1), event_id(2)]
    assert f"{ROOT}/alert/outbox_failed" in rig.exchange.retained
    rig.reader.stuck = False
    rig.steps(12)
    assert rig.writer.depth() == 0
    assert f"{ROOT}/alert/outbox_failed" not in rig.exchange.retained
