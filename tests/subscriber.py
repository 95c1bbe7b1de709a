# SPDX-License-Identifier: Apache-2.0
"""A subscriber for tests against a real broker: keeps every message with its flags and MQTT 5 properties."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from device.contract import judge

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Seen:
    """One message as it arrived; `at` is time.monotonic(). dup: the broker sends it again."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    at: float
    expiry_s: int | None = None
    content_type: str = ""
    properties: dict[str, str] = field(default_factory=dict)
    dup: bool = False


class Subscriber:
    """Listens to `topic` on its own thread until closed; reconnects when the broker comes back.

    durable (MQTT 5): the broker keeps for it what arrives while it is away. Holds what Porter publishes against the
    contract, and fails as it closes where something was not; judges: False where the test itself publishes nonsense.
    """

    def __init__(
        self,
        port: int,
        topic: str = "#",
        *,
        protocol: str = "5",
        durable: bool = False,
        judges: bool = True,
    ) -> None:
        self.messages: list[Seen] = []
        self.against_contract: list[str] = []
        self._judges = judges
        self.subscriptions = 0
        version = MQTTProtocolVersion.MQTTv5 if protocol == "5" else MQTTProtocolVersion.MQTTv311
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=f"sub-{id(self)}", protocol=version)
        self._topic = topic
        self._client.on_connect = self._connected
        self._client.on_subscribe = self._subscribed
        self._client.on_message = self._keep
        self._client.reconnect_delay_set(1, 1)
        session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        session.SessionExpiryInterval = 3600 if durable else 0
        if protocol == "5":
            self._client.connect("127.0.0.1", port, clean_start=not durable, properties=session)
        else:
            self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self.wait_subscribed(1)

    def wait_subscribed(self, times: int, timeout_s: float = 15.0) -> None:
        """Waits until it has subscribed so many times: once, and once more after every broker restart."""
        wait_for(lambda: self.subscriptions >= times, timeout_s, "the subscription")

    def on(self, suffix: str) -> list[Seen]:
        """Messages whose topic ends with `suffix`."""
        return [message for message in list(self.messages) if message.topic.endswith(suffix)]

    def wait(self, suffix: str, count: int = 1, timeout_s: float = 15.0) -> list[Seen]:
        """Waits for so many messages on topics that end with `suffix`; returns them."""
        wait_for(
            lambda: len(self.on(suffix)) >= count,
            timeout_s,
            f"{count} on {suffix}, have {len(self.on(suffix))}",
        )
        return self.on(suffix)

    def publish(self, topic: str, payload: bytes) -> None:
        """Publishes, on the same connection."""
        self._client.publish(topic, payload, 1)

    def close(self) -> None:
        """Disconnects."""
        self._client.disconnect()
        self._client.loop_stop()
        assert not self.against_contract, "\n".join(self.against_contract[:20])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _connected(self, *_: Any) -> None:
        self._client.subscribe(self._topic, 1)

    def _subscribed(self, *_: Any) -> None:
        self.subscriptions += 1

    def _keep(self, _client: Any, _data: Any, message: Any) -> None:
        extra = message.properties
        if message.topic.startswith("porter/v1/") and self._judges:
            judged = judge("porter", message.topic, bytes(message.payload), retained=bool(message.retain))
            self.against_contract += [f"{message.topic}: {problem}" for problem in judged.problems]
        self.messages.append(
            Seen(
                message.topic,
                bytes(message.payload),
                message.qos,
                bool(message.retain),
                time.monotonic(),
                getattr(extra, "MessageExpiryInterval", None),
                getattr(extra, "ContentType", ""),
                dict(getattr(extra, "UserProperty", [])),
                bool(message.dup),
            )
        )


def wait_for(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Waits until `condition()`; fails the test after `timeout_s`. Only for tests with real processes."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s for {what}"
        time.sleep(0.01)
