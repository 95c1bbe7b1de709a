# SPDX-License-Identifier: Apache-2.0
"""Porter over NATS: its MQTT gateway speaks 3.1.1 only, so this is also the fallback against a broker that needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from device.adapters.broker_mqtt import MqttBroker
from device.mqtt_messages import Connected, Disconnected, Message
from device.payloads import Event
from tests.contracts.broker_contract import BrokerContract, connect, poll_until
from tests.contracts.test_broker import RealRig
from tests.nats.server import NatsServer
from tests.subscriber import Subscriber, wait_for
from tests.system.services import Site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.contracts.broker_contract import Rig

pytestmark = pytest.mark.system
ROOT = "porter/v1/lobby-01"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path / "broker") as server:
        yield server


@pytest.fixture
def rig(server: NatsServer) -> Iterator[Rig]:
    real = RealRig(server, "3.1.1")
    yield real
    real.ear.close()


class TestNats(BrokerContract):
    """All of what an adapter's broker keeps, will, retained messages and a restart included."""


def test_a_connection_falls_back_to_3_1_1_by_itself(server: NatsServer) -> None:
    broker = MqttBroker("127.0.0.1", server.port, client_id="porter-d", tls=None)
    broker.connect(None, 0)
    (refusal,) = [signal for signal in poll_until(broker, Disconnected) if isinstance(signal, Disconnected)]
    assert "protocol version" in refusal.reason.lower()
    broker.connect(None, 0)
    (answer,) = poll_until(broker, Connected)
    assert isinstance(answer, Connected)
    assert answer.protocol == "3.1.1"
    broker.disconnect()


@pytest.mark.parametrize("device", ["lobby-01", "lobby_01"])
def test_topics_with_all_characters_of_a_device_arrive_as_they_were(server: NatsServer, device: str) -> None:
    """NATS has subjects where MQTT has topics: what it makes of one must not reach a subscriber."""
    broker = MqttBroker("127.0.0.1", server.port, client_id="porter-d", tls=None, protocol="3.1.1")
    with Subscriber(server.port, "porter/v1/+/+/match/#", protocol="3.1.1", judges=False) as ear:
        connect(broker)
        broker.publish(Message(f"porter/v1/{device}/cam0/match/late", b"x"))
        assert [seen.topic for seen in ear.wait("late")] == [f"porter/v1/{device}/cam0/match/late"]
        broker.disconnect()


def test_a_device_delivers_over_nats_and_over_its_restart(server: NatsServer, tmp_path: Path) -> None:
    """The real forwarder; the subscriber holds all that it publishes against the contract."""
    with (
        Site(tmp_path, server.port) as site,
        Subscriber(server.port, "porter/v1/#", protocol="3.1.1") as ear,
    ):
        site.forwarder.wait_log("connected protocol=3.1.1", 30)
        ear.wait("status")
        site.commit(1, 2)
        ear.wait("/match", 2)
        server.stop()
        site.commit(3)
        server.start()
        ear.wait_subscribed(2)
        wait_for(lambda: {1, 2, 3} <= seqs(ear), 45, "the third event")
        wait_for(lambda: site.depth() == 0, 15, "the last PUBACK")
        site.forwarder.end()
        assert ear.on("/status")[-1].payload == b"offline"


def seqs(ear: Subscriber) -> set[int]:
    """Which events came, live or late."""
    bodies = [seen.payload for seen in list(ear.messages) if "/match" in seen.topic]
    return {msgspec.json.decode(body, type=Event).seq for body in bodies}
