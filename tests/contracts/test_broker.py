# SPDX-License-Identifier: Apache-2.0
"""The broker contract over the fake and over the embedded broker, in both protocol versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

import pytest

from device.adapters.broker_embedded import EmbeddedBroker
from device.adapters.broker_memory import Exchange, MemoryBroker
from device.adapters.broker_mqtt import MqttBroker
from tests.contracts.broker_contract import BrokerContract
from tests.subscriber import Subscriber

if TYPE_CHECKING:
    from collections.abc import Iterator

    from device.ports import Broker
    from tests.contracts.broker_contract import Rig


class Restartable(Protocol):
    """A real broker on loopback."""

    @property
    def port(self) -> int:
        """Where it listens, after a restart too."""
        ...

    def stop(self) -> object:
        """It goes."""
        ...

    def start(self) -> object:
        """It comes back."""
        ...


class MemoryRig:
    """The fake."""

    protocol = "5"

    def __init__(self) -> None:
        self.exchange = Exchange()
        self.brokers: list[MemoryBroker] = []

    def make(self) -> Broker:
        self.brokers.append(MemoryBroker(self.exchange))
        return self.brokers[-1]

    def stop(self) -> None:
        for broker in self.brokers:
            broker.unreachable = True
            broker.drop()

    def start(self) -> None:
        for broker in self.brokers:
            broker.unreachable = False

    def heard(self, topic: str) -> list[tuple[bytes, int | None, str, dict[str, str]]]:
        return [
            (message.payload, message.expiry_s, message.content_type, dict(message.properties))
            for message in self.exchange.published
            if message.topic == topic
        ]

    def retained(self, topic: str) -> bytes | None:
        return self.exchange.retained.get(topic)


class RealRig:
    """A broker that listens on `broker.port`, restarted by `broker.stop` and `broker.start`."""

    def __init__(self, broker: Restartable, protocol: str) -> None:
        self.broker = broker
        self.protocol = protocol
        self.ear = Subscriber(broker.port, protocol=protocol, judges=False)
        self._restarts = 1

    def make(self) -> Broker:
        fixed: Literal["5", "3.1.1"] = "5" if self.protocol == "5" else "3.1.1"
        return MqttBroker("127.0.0.1", self.broker.port, client_id="porter-d", tls=None, protocol=fixed)

    def stop(self) -> None:
        self.broker.stop()

    def start(self) -> None:
        self.broker.start()
        self._restarts += 1
        self.ear.wait_subscribed(self._restarts)

    def heard(self, topic: str) -> list[tuple[bytes, int | None, str, dict[str, str]]]:
        return [
            (seen.payload, seen.expiry_s, seen.content_type, seen.properties)
            for seen in list(self.ear.messages)
            if seen.topic == topic
        ]

    def retained(self, topic: str) -> bytes | None:
        with Subscriber(self.broker.port, protocol=self.protocol, judges=False) as newcomer:
            newcomer.publish("fence", b"x")  # what is retained was sent before it
            newcomer.wait("fence")
            found = [seen.payload for seen in newcomer.messages if seen.retain and seen.topic == topic]
        return found[0] if found else None


@pytest.fixture(params=["memory", "embedded-5", "embedded-3.1.1"])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    if request.param == "memory":
        yield MemoryRig()
        return
    protocol = request.param.removeprefix("embedded-")
    with EmbeddedBroker(protocol=protocol) as broker:
        real = RealRig(broker, protocol)
        yield real
        real.ear.close()


class TestBroker(BrokerContract):
    """All of the contract."""
