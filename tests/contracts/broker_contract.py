# SPDX-License-Identifier: Apache-2.0
"""What every broker adapter keeps. Run over the fake and the embedded broker here, over mosquitto in tests/system."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

from device.errors import BrokerUnavailable
from device.mqtt_messages import Acknowledged, Connected, Disconnected, Message, Received
from tests.subscriber import wait_for

if TYPE_CHECKING:
    from device.mqtt_messages import BrokerSignal
    from device.ports import Broker

WILL = Message("porter/v1/d/status", b"offline", retain=True)


class Rig(Protocol):
    """A broker that can be restarted, and an ear on it."""

    protocol: str

    def make(self) -> Broker:
        """A new client of the same broker with the same client identifier."""
        ...

    def stop(self) -> None:
        """The broker dies."""
        ...

    def start(self) -> None:
        """It comes back."""
        ...

    def heard(self, topic: str) -> list[tuple[bytes, int | None, str, dict[str, str]]]:
        """Payload, expiry, content type and user properties of what subscribers of `topic` got so far."""
        ...

    def retained(self, topic: str) -> bytes | None:
        """What a new subscriber would find there."""
        ...


def poll_until(
    broker: Broker, kind: type[BrokerSignal], count: int = 1, timeout_s: float = 10.0
) -> list[BrokerSignal]:
    """Polls until so many signals of this kind came; returns all signals."""
    signals: list[BrokerSignal] = []

    def enough() -> bool:
        signals.extend(broker.poll(0.02))
        return sum(isinstance(signal, kind) for signal in signals) >= count

    wait_for(enough, timeout_s, f"{count} {kind.__name__}")
    return signals


def connect(broker: Broker) -> Connected:
    """Connects; returns the broker's answer."""
    broker.connect(WILL, 0)
    (signal,) = poll_until(broker, Connected)
    assert isinstance(signal, Connected)
    return signal


class BrokerContract:
    """Inherit, and give a fixture `rig`."""

    def test_connecting_is_answered_with_protocol_and_window(self, rig: Rig) -> None:
        broker = rig.make()
        answer = connect(broker)
        assert answer.protocol == rig.protocol
        assert answer.receive_maximum >= 1
        broker.disconnect()

    def test_a_publication_is_acknowledged_by_its_handle_and_arrives(self, rig: Rig) -> None:
        broker = rig.make()
        connect(broker)
        handles = [broker.publish(Message("porter/v1/d/cam0/match", b"%d" % number)) for number in range(3)]
        signals = poll_until(broker, Acknowledged, 3)
        assert [signal.handle for signal in signals if isinstance(signal, Acknowledged)] == handles
        assert all(signal.reason_code < 0x80 for signal in signals if isinstance(signal, Acknowledged))
        wait_for(lambda: len(rig.heard("porter/v1/d/cam0/match")) == 3, 10, "three messages")
        assert [payload for payload, *_ in rig.heard("porter/v1/d/cam0/match")] == [b"0", b"1", b"2"]
        broker.disconnect()

    def test_properties_travel_on_mqtt_5_and_are_left_out_on_3_1_1(self, rig: Rig) -> None:
        broker = rig.make()
        connect(broker)
        message = Message(
            "porter/v1/d/cam0/match",
            b"{}",
            expiry_s=30,
            content_type="application/json",
            properties=(("id", "7"),),
        )
        broker.publish(message)
        poll_until(broker, Acknowledged)
        wait_for(lambda: bool(rig.heard(message.topic)), 10, "the message")
        payload, expiry_s, content_type, properties = rig.heard(message.topic)[0]
        assert payload == b"{}"
        if rig.protocol == "5":
            assert expiry_s in (29, 30)
            assert (content_type, properties) == ("application/json", {"id": "7"})
        else:
            assert (expiry_s, content_type, properties) == (None, "", {})
        broker.disconnect()

    def test_a_retained_message_stays_and_an_empty_one_clears_it(self, rig: Rig) -> None:
        broker = rig.make()
        connect(broker)
        broker.publish(Message("porter/v1/d/alert/disk_low", b"{}", retain=True))
        poll_until(broker, Acknowledged)
        assert rig.retained("porter/v1/d/alert/disk_low") == b"{}"
        broker.publish(Message("porter/v1/d/alert/disk_low", b"", retain=True))
        poll_until(broker, Acknowledged)
        assert rig.retained("porter/v1/d/alert/disk_low") is None
        broker.disconnect()

    def test_qos_0_needs_no_acknowledgement(self, rig: Rig) -> None:
        broker = rig.make()
        connect(broker)
        broker.publish(Message("porter/v1/d/health", b"{}", qos=0))
        wait_for(lambda: not broker.poll(0.01) and bool(rig.heard("porter/v1/d/health")), 10, "the message")
        broker.disconnect()

    def test_goodbye_sends_no_will_and_an_abort_does(self, rig: Rig) -> None:
        broker = rig.make()
        connect(broker)
        broker.disconnect()
        connect(broker)
        assert rig.heard(WILL.topic) == []
        broker.abort()
        wait_for(lambda: bool(rig.heard(WILL.topic)), 10, "the will")
        assert rig.heard(WILL.topic)[0][0] == b"offline"

    def test_publishing_without_a_connection_is_refused(self, rig: Rig) -> None:
        with pytest.raises(BrokerUnavailable, match="not connected"):
            rig.make().publish(Message("a", b""))

    def test_goodbye_and_abort_are_harmless_when_not_connected(self, rig: Rig) -> None:
        broker = rig.make()
        broker.disconnect()
        broker.abort()
        assert list(broker.poll(0.0)) == []

    def test_a_dead_broker_is_reported_once_and_connecting_again_works(self, rig: Rig) -> None:
        broker = rig.make()
        connect(broker)
        rig.stop()
        signals = poll_until(broker, Disconnected)
        assert [type(signal) for signal in signals] == [Disconnected]
        assert list(broker.poll(0.0)) == []
        with pytest.raises(BrokerUnavailable):
            broker.connect(WILL, 0)
        rig.start()
        assert connect(broker).protocol == rig.protocol
        broker.disconnect()

    def test_what_was_in_flight_never_comes_again_by_itself(self, rig: Rig) -> None:
        """The adapter forgets: only the outbox decides whether, and on which topic, a message is sent again."""
        broker = rig.make()
        connect(broker)
        for number in range(5):
            broker.publish(Message("porter/v1/d/cam0/match", b"old %d" % number))
        rig.stop()  # before any PUBACK was read
        rig.start()
        signals = list(broker.poll(0.0))
        if not any(isinstance(signal, Disconnected) for signal in signals):
            poll_until(broker, Disconnected)
        before = len(rig.heard("porter/v1/d/cam0/match"))
        connect(broker)
        handle = broker.publish(Message("porter/v1/d/cam0/match/late", b"new"))
        signals = poll_until(broker, Acknowledged)
        assert signals == [Acknowledged(handle, signals[0].reason_code)]  # type: ignore[union-attr]
        wait_for(lambda: bool(rig.heard("porter/v1/d/cam0/match/late")), 10, "the new message")
        assert len(rig.heard("porter/v1/d/cam0/match")) == before
        broker.disconnect()

    def test_what_is_subscribed_to_arrives_and_nothing_else(self, rig: Rig) -> None:
        broker = rig.make()
        connect(broker)
        broker.publish(Message("porter/v1/d/cmd/pause", b"before", retain=True))
        poll_until(broker, Acknowledged)
        broker.subscribe(["porter/v1/d/cmd/+", "homeassistant/status"])
        (retained,) = [s for s in poll_until(broker, Received) if isinstance(s, Received)]
        assert (retained.topic, retained.payload, retained.retained) == (
            "porter/v1/d/cmd/pause",
            b"before",
            True,
        )
        broker.publish(Message("porter/v1/d/cmd/pause/result", b"{}"))
        broker.publish(
            Message(
                "porter/v1/d/cmd/resume", b"now", expiry_s=30, properties=(("k", "v"),), correlation=b"c1"
            )
        )
        (live,) = [s for s in poll_until(broker, Received) if isinstance(s, Received)]
        assert (live.topic, live.payload, live.retained) == ("porter/v1/d/cmd/resume", b"now", False)
        if rig.protocol == "5":
            assert live.properties == {"k": "v"}
            assert live.correlation == b"c1"
            assert live.expiry_s is not None
            assert 0 < live.expiry_s <= 30
        broker.disconnect()

    def test_subscribing_without_a_connection_is_refused(self, rig: Rig) -> None:
        with pytest.raises(BrokerUnavailable, match="not connected"):
            rig.make().subscribe(["a"])
