# SPDX-License-Identifier: Apache-2.0
"""What the forwarder does for its correspondents: hears for them, sends for them, and never before an event."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from device.adapters.broker_memory import MemoryBroker
from device.mqtt_messages import Message
from device.payloads import CommandResult
from tests.forwarder_rig import Rig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from device.mqtt_messages import Received
    from device.records import Stamp


RESULT = msgspec.json.encode(
    CommandResult(1, "lobby-01", "pause", "", ok=True, error="", text="", ts="2026-11-23T04:20:00.000Z")
)


class Echo:
    """Answers whatever it hears."""

    filters = ("porter/v1/lobby-01/cmd/+",)

    def __init__(self) -> None:
        self.connections = 0
        self.heard: list[Received] = []
        self._waiting: list[Message] = []

    def connected(self, now: Stamp) -> None:
        self.connections += 1

    def received(self, message: Received, now: Stamp) -> None:
        self.heard.append(message)
        self._waiting.append(Message(message.topic + "/result", RESULT))

    def due(self, limit: int, now: Stamp) -> Sequence[Message]:
        due, self._waiting = self._waiting[:limit], self._waiting[limit:]
        return due


def ask(rig: Rig, payload: bytes = b"{}") -> None:
    other = MemoryBroker(rig.exchange)
    other.connect(Message("other/status", b"offline"), 0)
    other.publish(Message("porter/v1/lobby-01/cmd/pause", payload))


def test_a_correspondent_hears_on_every_connection_and_its_answer_goes_out() -> None:
    echo = Echo()
    rig = Rig(correspondents=[echo])
    rig.steps()
    ask(rig)
    rig.steps()
    rig.broker.drop()
    rig.steps(40)
    ask(rig)
    rig.steps()
    assert echo.connections == 2
    assert len(echo.heard) == 2
    assert len(rig.exchange.on("/cmd/pause/result")) == 2


def test_what_a_correspondent_sends_comes_after_the_events() -> None:
    echo = Echo()
    rig = Rig(correspondents=[echo], receive_maximum=1)
    rig.steps(40)
    ask(rig)
    rig.writer.append([rig.event(1), rig.event(2)])
    rig.steps(20)
    topics = [message.topic for message in rig.exchange.published]
    first_answer = topics.index("porter/v1/lobby-01/cmd/pause/result")
    assert [topic for topic in topics[:first_answer] if topic.endswith("/match")] != []
    assert len(rig.exchange.on("/match")) == 2


def test_a_refused_subscription_is_logged_and_the_rest_goes_on(caplog) -> None:  # type: ignore[no-untyped-def]
    echo = Echo()
    rig = Rig(correspondents=[echo], refuse_filters=echo.filters)
    rig.writer.append([rig.event(1)])
    rig.steps(20)
    assert "subscription_refused filter=porter/v1/lobby-01/cmd/+ code=0x87" in caplog.text
    assert len(rig.exchange.on("/match")) == 1


def test_a_reload_puts_new_correspondents_in_place_of_the_old() -> None:
    old, new = Echo(), Echo()
    rig = Rig(correspondents=[old])
    rig.steps()
    rig.forwarder.ask(rig.names(), 30, None, [new])
    rig.steps()
    ask(rig)
    rig.steps()
    assert (len(old.heard), new.connections, len(new.heard)) == (0, 1, 1)
