# SPDX-License-Identifier: Apache-2.0
"""What the forwarder shows: status, info, presence, alerts; and how it leaves."""

from __future__ import annotations

import msgspec
import pytest

from device.adapters.broker_memory import Exchange, MemoryBroker
from device.adapters.state_file import MemoryStateBoard, take_goodbye_back
from device.announcements import KNOWN_ALERTS
from device.payloads import Alert, Info, Person, Presence, Present, Trouble
from tests.events import BOOT, event_id
from tests.forwarder_rig import ROOT, TIME, Rig, presence_on

# What is said on connecting, and in which order.


def test_after_connecting_the_state_comes_first_and_then_the_events() -> None:
    rig = Rig()
    rig.alerts = [Trouble(code="camera_lost", text="no frame", hint="look at the cable", since=TIME)]
    rig.alive()
    rig.writer.append([rig.event(1)])
    rig.steps()
    topics = [message.topic.removeprefix(ROOT + "/") for message in rig.exchange.published]
    assert topics[:3] == ["status", "info", "cam0/presence"]
    assert {topic.partition("/")[0] for topic in topics[3:-1]} == {"alert"}
    assert topics[-1] == "cam0/match"


def test_state_is_retained_with_qos_1_and_an_event_is_not_retained() -> None:
    rig = Rig()
    rig.writer.append([rig.event(1)])
    rig.steps()
    assert all(message.qos == 1 for message in rig.exchange.published)
    assert {message.topic: message.retain for message in rig.exchange.published}[
        f"{ROOT}/cam0/match"
    ] is False
    assert all(message.retain for message in rig.exchange.published if not message.topic.endswith("match"))


def test_the_will_is_offline_retained_after_five_seconds() -> None:
    rig = Rig()
    rig.steps()
    assert rig.exchange.retained[f"{ROOT}/status"] == b"online"
    rig.broker.drop()
    assert rig.exchange.retained[f"{ROOT}/status"] == b"offline"
    assert rig.broker.will_delay_s == 5


def test_info_says_who_this_is() -> None:
    rig = Rig()
    rig.steps()
    info = msgspec.json.decode(rig.exchange.retained[f"{ROOT}/info"], type=Info)
    assert (info.device, info.firmware, info.contract, info.boot, info.subjects) == (
        "lobby-01",
        "0.1.0",
        1,
        BOOT,
        2,
    )
    assert info.cameras[0].simulated


# Presence.


def test_presence_is_published_on_change_and_again_every_minute() -> None:
    rig = Rig()
    rig.steps(4)
    assert [state.present for state in presence_on(rig)] == [[]]
    rig.present = [Present(person=Person(ref="p_7f3a"), since=TIME)]
    rig.alive()
    rig.steps(4)
    assert [len(state.present) for state in presence_on(rig)] == [0, 1]
    for _ in range(70):
        rig.alive()
        rig.steps(1, seconds=1.0)
    assert [len(state.present) for state in presence_on(rig)] == [0, 1, 1]
    last = rig.exchange.on("cam0/presence")[-1]
    assert (last.expiry_s, last.retain) == (180, True)
    assert presence_on(rig)[-1].ts > presence_on(rig)[-2].ts


@pytest.mark.parametrize("how", ["silent", "stopping", "unreadable", "other-boot"])
def test_a_vision_service_that_is_gone_leaves_nobody_present(how: str) -> None:
    rig = Rig()
    rig.present = [Present(person=Person(ref="p_7f3a"), since=TIME)]
    rig.alive()
    rig.steps(4)
    assert len(presence_on(rig)[-1].present) == 1
    if how == "stopping":
        rig.alive(stopping=True)
    elif how == "unreadable":
        rig.board.unreadable = True
    elif how == "other-boot":
        rig.alive(boot_ns=rig.clock.now().boot_ns + 10**12)
    else:
        rig.clock.advance(15)
    rig.steps(4)
    assert presence_on(rig)[-1].present == []


def test_a_vision_service_that_died_is_an_alert_and_one_that_was_stopped_is_not() -> None:
    rig = Rig()
    rig.steps(4)
    rig.clock.advance(30)
    rig.steps(4)
    assert f"{ROOT}/alert/vision_lost" in rig.exchange.retained
    rig.alive(stopping=True)
    rig.steps(4)
    rig.board.unreadable = True
    rig.clock.advance(30)
    rig.steps(4)
    assert f"{ROOT}/alert/vision_lost" not in rig.exchange.retained


def test_a_vision_service_that_cannot_start_again_after_a_stop_is_an_alert() -> None:
    """A restart into a locked gallery: the goodbye of the one before is nobody's wish any more."""
    rig = Rig()
    rig.clock.advance(30)
    rig.present = [Present(person=Person(ref="p_7f3a"), since=TIME)]
    rig.alive(stopping=True)
    rig.steps(4)
    take_goodbye_back(rig.board)
    rig.steps(4)
    assert f"{ROOT}/alert/vision_lost" not in rig.exchange.retained, "not at once: a restart takes its time"
    rig.clock.advance(20)
    rig.steps(4)
    assert f"{ROOT}/alert/vision_lost" in rig.exchange.retained
    assert presence_on(rig)[-1].present == []


def test_a_goodbye_is_taken_back_only_where_there_was_one() -> None:
    rig = Rig()
    rig.alive()
    before = rig.board.read()
    take_goodbye_back(rig.board)
    assert rig.board.read() is before
    for board in (MemoryStateBoard(), MemoryStateBoard(unreadable=True), rig.board):
        board.full = True
        take_goodbye_back(board)
    rig.board.full = False
    rig.alive(stopping=True)
    rig.board.full = True
    take_goodbye_back(rig.board)
    left = rig.board.read()
    assert left is not None
    assert left.stopping


def test_a_board_from_the_start_in_ruins_does_not_stop_the_forwarder() -> None:
    rig = Rig()
    rig.board.unreadable = True
    rig.writer.append([rig.event(1)])
    rig.steps()
    assert rig.numbers("/match") == [event_id(1)]
    assert presence_on(rig)[-1].present == []


def test_a_camera_that_is_not_configured_is_not_shown_and_no_name_breaks_out_of_its_level() -> None:
    rig = Rig(exchange=Exchange())  # body and topic differ, on purpose
    rig.alive(presence=[Presence(v=1, device="x", camera="../#", ts=TIME, present=[])])
    rig.writer.append([rig.event(1, camera="a/+/#")])
    rig.steps()
    topics = {message.topic for message in rig.exchange.published}
    assert {topic for topic in topics if "presence" in topic} == {f"{ROOT}/cam0/presence"}
    assert f"{ROOT}/a____/match" in topics


# Alerts.


def test_alerts_are_raised_and_cleared_with_the_troubles_of_the_vision_service() -> None:
    rig = Rig()
    rig.alerts = [Trouble(code="camera_lost", text="no frame for 3 s", hint="look at the cable", since=TIME)]
    rig.alive()
    rig.steps(4)
    alert = msgspec.json.decode(rig.exchange.retained[f"{ROOT}/alert/camera_lost"], type=Alert)
    assert (alert.code, alert.text, alert.hint, alert.ts) == (
        "camera_lost",
        "no frame for 3 s",
        "look at the cable",
        TIME,
    )
    rig.alerts = []
    rig.alive()
    rig.steps(4)
    assert f"{ROOT}/alert/camera_lost" not in rig.exchange.retained
    assert rig.exchange.on("alert/camera_lost")[-1].payload == b""


def test_alerts_left_by_an_earlier_run_are_cleared_once_and_not_at_every_connection() -> None:
    rig = Rig()
    rig.exchange.retained[f"{ROOT}/alert/config_rejected"] = b"{}"
    rig.steps()
    assert f"{ROOT}/alert/config_rejected" not in rig.exchange.retained
    cleared = [message for message in rig.exchange.published if "/alert/" in message.topic]
    assert len(cleared) == len(KNOWN_ALERTS)
    rig.broker.drop()
    rig.steps(20)
    assert rig.forwarder.connects == 2
    assert len([message for message in rig.exchange.published if "/alert/" in message.topic]) == len(
        KNOWN_ALERTS
    )


def test_a_standing_alert_comes_again_with_every_connection() -> None:
    rig = Rig()
    rig.troubles.raise_("config_rejected", "porter.yaml: no such option", "see docs/config.md")
    rig.steps(4)
    rig.exchange.retained.clear()
    rig.broker.drop()
    rig.steps(20)
    assert f"{ROOT}/alert/config_rejected" in rig.exchange.retained


def test_an_alert_code_that_is_no_topic_level_is_not_published() -> None:
    rig = Rig()
    rig.alerts = [Trouble(code="a/b#", text="", hint="", since=TIME)]
    rig.alive()
    rig.steps(4)
    assert not [topic for topic in rig.exchange.retained if "a/b" in topic or "a_b" in topic]


# Stopping and changing.


def test_stopping_says_nobody_and_offline_and_leaves_without_a_will() -> None:
    rig = Rig()
    rig.present = [Present(person=Person(ref="p_7f3a"), since=TIME)]
    rig.alive()
    rig.writer.append([rig.event(1)])
    rig.steps(1)
    rig.forwarder.close()
    assert presence_on(rig)[-1].present == []
    assert [message.payload for message in rig.exchange.on("/status")] == [b"online", b"offline"]
    assert rig.writer.depth() == 0
    assert not rig.broker.connected


def test_stopping_on_a_stalled_link_ends_soon_and_leaves_the_will_to_the_broker() -> None:
    rig = Rig()
    rig.steps()
    rig.broker.deaf = True
    rig.forwarder.close()
    assert rig.exchange.retained[f"{ROOT}/status"] == b"offline"
    assert rig.broker.aborts == 1


def test_stopping_without_a_connection_is_quiet() -> None:
    rig = Rig(unreachable=True)
    rig.steps(2)
    rig.forwarder.close()
    assert rig.exchange.published == []


def test_a_new_broker_is_connected_to_after_a_goodbye_to_the_old_one() -> None:
    rig = Rig()
    rig.steps()
    elsewhere = Exchange()
    rig.forwarder.ask(rig.names(base="house"), 60, MemoryBroker(elsewhere))
    rig.steps()
    assert rig.exchange.retained[f"{ROOT}/status"] == b"offline"
    assert elsewhere.retained["house/v1/lobby-01/status"] == b"online"


def test_a_new_age_limit_is_taken_without_a_new_connection() -> None:
    rig = Rig()
    rig.steps()
    rig.forwarder.ask(rig.names(), 5, None)
    rig.writer.append([rig.event(1)])
    rig.clock.advance(6)
    rig.steps(2)
    assert rig.numbers("match/late") == [event_id(1)]
    assert rig.forwarder.connects == 1
