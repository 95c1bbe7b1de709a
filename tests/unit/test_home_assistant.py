# SPDX-License-Identifier: Apache-2.0
"""What Home Assistant is told of this device, and when; tests/homeassistant tells it to the real one."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from device.adapters.clock import ManualClock
from device.announcements import Names
from device.home_assistant import FIGURES, HomeAssistant, discovery
from device.mqtt_messages import Received

NAMES = Names("porter", "lobby-01", ("cam0",), "0.1.0", "0000b7c1")


def make(**changes: Any) -> HomeAssistant:
    options: dict[str, Any] = {
        "prefix": "homeassistant",
        "commands": True,
        "uniform": lambda _low, high: high,
    }
    return HomeAssistant(NAMES, **(options | changes))


def test_it_is_retained_and_sent_once_a_connection() -> None:
    clock, desk = ManualClock(), make()
    assert list(desk.due(5, clock.now())) == []
    desk.connected(clock.now())
    assert list(desk.due(0, clock.now())) == []
    (message,) = desk.due(5, clock.now())
    assert (message.topic, message.retain, message.qos) == ("homeassistant/device/lobby-01/config", True, 1)
    assert list(desk.due(5, clock.now())) == []


@pytest.mark.parametrize("retained", [True, False])
def test_it_comes_again_some_seconds_after_home_assistant_started(retained: bool) -> None:
    clock, desk = ManualClock(), make(prefix="ha/test")
    assert list(desk.filters) == ["ha/test/status"]
    desk.received(Received("ha/test/status", b"online", retained), clock.now())
    clock.advance(4.9)
    assert list(desk.due(5, clock.now())) == []
    clock.advance(0.2)
    assert [message.topic for message in desk.due(5, clock.now())] == ["ha/test/device/lobby-01/config"]


def test_other_words_and_topics_are_not_a_birth() -> None:
    clock, desk = ManualClock(), make()
    for topic, payload in (
        ("homeassistant/status", b"offline"),
        ("homeassistant/status", b""),
        ("porter/status", b"online"),
    ):
        desk.received(Received(topic, payload), clock.now())
    clock.advance(10)
    assert list(desk.due(5, clock.now())) == []


def test_every_entity_stands_on_the_contracts_topics_and_has_an_id_of_its_own() -> None:
    body = discovery(NAMES, commands=True)
    components = body["cmps"]
    assert {each["p"] for each in components.values()} == {
        "event",
        "binary_sensor",
        "sensor",
        "switch",
        "button",
    }
    assert len({each["uniq_id"] for each in components.values()}) == len(components)
    topics = set(re.findall(r'"(?:stat_t|cmd_t|avty_t)":"([^"]+)"', msgspec.json.encode(body).decode()))
    assert topics == {
        f"porter/v1/lobby-01/{name}"
        for name in ("status", "info", "health", "cam0/match", "cmd/pause", "cmd/identify")
    }
    assert all(components[key]["exp_aft"] == 180 for key in FIGURES)
    assert "exp_aft" not in components["cam0_match"]


def test_late_events_never_fire_the_event_entity() -> None:
    events = [each for each in discovery(NAMES, commands=True)["cmps"].values() if each["p"] == "event"]
    assert [each["stat_t"] for each in events] == ["porter/v1/lobby-01/cam0/match"]


def test_without_commands_switch_and_button_are_taken_away() -> None:
    components = discovery(NAMES, commands=False)["cmps"]
    assert components["pause"] == {"p": "switch"}
    assert components["identify"] == {"p": "button"}
    assert "cmd" not in msgspec.json.encode(components).decode()
