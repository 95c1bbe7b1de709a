# SPDX-License-Identifier: Apache-2.0
"""When an event leaves the outbox, and how it comes again: lost acknowledgements, refusals, order, a failing outbox."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from device.forwarder import WINDOW
from device.payloads import Event
from tests.events import event_id
from tests.forwarder_rig import ROOT, Rig


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
    said = [record.message.split()[0] for record in caplog.records if "Not authorized" in record.message]
    assert said == ["disconnected", "alert_raised"]


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


def test_no_more_publications_are_in_flight_than_the_window_holds() -> None:
    rig = Rig()
    rig.steps()
    rig.broker.deaf = True
    rig.writer.append([rig.event(number) for number in range(40)])
    rig.steps(3, seconds=0)
    assert len(rig.forwarder._in_flight) == WINDOW


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
