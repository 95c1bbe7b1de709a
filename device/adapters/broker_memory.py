# SPDX-License-Identifier: Apache-2.0
"""A broker within the process, for tests: accepts, refuses, loses and drops as its constructor says.

Any number of `MemoryBroker` connections may share one `Exchange`, which remembers everything published and what is
retained, as a real broker would across the connections of its clients. Nothing waits and nothing sleeps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from device.errors import BrokerUnavailable
from device.mqtt_messages import Acknowledged, Connected, Disconnected, Received, SubscriptionRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from device.mqtt_messages import BrokerSignal, Message


@dataclass(slots=True)
class Exchange:
    """What the world saw: every publication that arrived, in order, and the retained state by topic."""

    published: list[Message] = field(default_factory=list)
    retained: dict[str, bytes] = field(default_factory=dict)
    listeners: list[MemoryBroker] = field(default_factory=list)

    def accept(self, message: Message) -> None:
        """Takes a publication; an empty retained one clears its topic."""
        self.published.append(message)
        for listener in self.listeners:
            listener.hear(
                Received(
                    message.topic,
                    message.payload,
                    properties=dict(message.properties),
                    expiry_s=message.expiry_s,
                    correlation=message.correlation,
                )
            )
        if message.retain and message.payload:
            self.retained[message.topic] = message.payload
        elif message.retain:
            self.retained.pop(message.topic, None)

    def on(self, suffix: str) -> list[Message]:
        """The publications whose topic ends with `suffix`."""
        return [message for message in self.published if message.topic.endswith(suffix)]


class MemoryBroker:
    """One client's view. Failures can also be switched while it runs: they are plain attributes.

    unreachable: connect raises BrokerUnavailable. refuse: CONNACK says no, for this reason.
    drop_after: the connection dies before the publication after so many accepted ones (then never again).
    reason_code: what PUBACK says for QoS 1; `lose_pubacks`: that many publications arrive but are never acknowledged.
    deaf: nothing arrives and nothing is acknowledged, as on a stalled link. receive_maximum: exceeding it is an end.
    refuse_filters: subscribing to one of these is refused (0x87).
    """

    def __init__(
        self,
        exchange: Exchange | None = None,
        *,
        unreachable: bool = False,
        refuse: str = "",
        drop_after: int | None = None,
        reason_code: int = 0,
        lose_pubacks: int = 0,
        deaf: bool = False,
        protocol: str = "5",
        receive_maximum: int = 65535,
        refuse_filters: Sequence[str] = (),
    ) -> None:
        self.exchange = Exchange() if exchange is None else exchange
        self.unreachable = unreachable
        self.refuse = refuse
        self.drop_after = drop_after
        self.reason_code = reason_code
        self.lose_pubacks = lose_pubacks
        self.deaf = deaf
        self.protocol = protocol
        self.receive_maximum = receive_maximum
        self.refuse_filters = refuse_filters
        self.filters: list[str] = []
        self.connects = 0
        self.aborts = 0
        self.will_delay_s = 0
        self._will: Message | None = None
        self._connected = False
        self._signals: list[BrokerSignal] = []
        self._in_flight = 0
        self._handles = 0

    def connect(self, will: Message | None, will_delay_s: int) -> None:
        """The answer arrives through `poll`."""
        self.abort()
        self.connects += 1
        if self.unreachable:
            raise BrokerUnavailable("memory: Connection refused")
        if self.refuse:
            self._signals.append(Disconnected(f"the broker refused the connection: {self.refuse}"))
            return
        self._will = will
        self.will_delay_s = will_delay_s
        self._connected = True
        self._signals.append(Connected(self.protocol, self.receive_maximum))

    def publish(self, message: Message) -> int:
        """The message arrives at once; its PUBACK comes with the next `poll`."""
        if not self._connected:
            raise BrokerUnavailable("not connected")
        self._handles += 1
        if self.drop_after == 0:
            self.drop_after = None
            self.drop("connection lost: Connection reset by peer")
            return self._handles
        if self.drop_after is not None:
            self.drop_after -= 1
        self._in_flight += message.qos > 0
        if self._in_flight > self.receive_maximum:
            self.drop("the broker ended the connection: Receive maximum exceeded")
        elif not self.deaf:
            self._arrive(message)
        return self._handles

    def subscribe(self, topic_filters: Sequence[str]) -> None:
        """What is retained comes with the next `poll`."""
        if not self._connected:
            raise BrokerUnavailable("not connected")
        for name in topic_filters:
            if name in self.refuse_filters:
                self._signals.append(SubscriptionRefused(name, 0x87))
                continue
            self.filters.append(name)
            for topic, payload in self.exchange.retained.items():
                if matches(name, topic):
                    self._signals.append(Received(topic, payload, retained=True))
        if self not in self.exchange.listeners:
            self.exchange.listeners.append(self)

    def hear(self, message: Received) -> None:
        """Somebody published; it comes with the next `poll` where we asked for it."""
        if not self.deaf and any(matches(name, message.topic) for name in self.filters):
            self._signals.append(message)

    def poll(self, timeout_s: float) -> Sequence[BrokerSignal]:  # noqa: ARG002  it never waits
        """What happened; returns at once."""
        signals, self._signals = self._signals, []
        self._in_flight -= sum(isinstance(signal, Acknowledged) for signal in signals)
        return signals

    def disconnect(self) -> None:
        """Leaves in order: no will."""
        self._will = None
        self._close()

    def abort(self) -> None:
        """Leaves at once: the will is published."""
        if self._connected:
            self.aborts += 1
        self._close()
        self._signals.clear()

    def drop(self, reason: str = "connection lost: closed by the broker") -> None:
        """The connection dies, from the broker's side."""
        if self._connected:
            self._close()
            self._signals.append(Disconnected(reason))

    @property
    def connected(self) -> bool:
        """Whether the connection stands."""
        return self._connected

    def _arrive(self, message: Message) -> None:
        if self.reason_code < 0x80:
            self.exchange.accept(message)
        if message.qos and self.lose_pubacks:
            self.lose_pubacks -= 1
        elif message.qos:
            self._signals.append(Acknowledged(self._handles, self.reason_code))

    def _close(self) -> None:
        self._connected = False
        self._in_flight = 0
        self.filters.clear()
        if self in self.exchange.listeners:
            self.exchange.listeners.remove(self)
        if self._will is not None:
            self.exchange.accept(self._will)
            self._will = None


def matches(topic_filter: str, topic: str) -> bool:
    """Whether MQTT's filter covers the topic."""
    wanted, levels = topic_filter.split("/"), topic.split("/")
    if wanted[-1] == "#":
        wanted, levels = wanted[:-1], levels[: len(wanted) - 1]
    return len(wanted) == len(levels) and all(
        one in ("+", level) for one, level in zip(wanted, levels, strict=True)
    )
