# SPDX-License-Identifier: Apache-2.0
"""One MQTT connection from CONNECT to its end, with paho-mqtt doing the protocol and nothing else (`MqttBroker`)."""

from __future__ import annotations

import select
import socket
import ssl
import struct
import time
from typing import TYPE_CHECKING, Any

from paho.mqtt import MQTTException
from paho.mqtt.client import MQTT_LOG_ERR
from paho.mqtt.enums import MQTTErrorCode

from device.certificates import parsed_ns
from device.errors import BrokerUnavailable
from device.mqtt_messages import Acknowledged, Connected, Disconnected, SubscriptionRefused
from device.mqtt_properties import publish_properties, received

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from paho.mqtt.client import Client

    from device.mqtt_dialect import Protocol as Version
    from device.mqtt_messages import BrokerSignal, Message

    class Ear(Protocol):
        """Something beside the network that ends a wait."""

        def fileno(self) -> int:
            """Readable once there was something."""
            ...

        def heard(self) -> None:
            """Takes it away."""
            ...


UNSUPPORTED_PROTOCOL_VERSION = 0x84
# Whatever paho's parser trips over when the peer does not speak MQTT.
GARBAGE = (ValueError, LookupError, TypeError, ArithmeticError, AssertionError, AttributeError, struct.error)


def listen(poller: select.poll, ear: Ear | None, timeout_s: float) -> list[int]:
    """Waits until something happens at `poller` or the ear hears something; what happened at `poller`."""
    if ear is not None:
        poller.register(ear, select.POLLIN)
    happened = poller.poll(timeout_s * 1000)
    if ear is not None and any(number == ear.fileno() for number, _ in happened):
        ear.heard()
    return [events for number, events in happened if ear is None or number != ear.fileno()]


class Session:
    """One connection from CONNECT to its end, never used again."""

    def __init__(
        self, client: Client, protocol: Version, patience_s: float, advice: str, ear: Ear | None
    ) -> None:
        """patience_s: for the answer to CONNECT, from `ready` on."""
        self.accepted = False
        self.refused_version = False
        self.over: str | None = None
        self._client = client
        self._protocol = protocol
        self._patience_s = patience_s
        self._deadline = 0.0
        self._advice = advice
        self._ear = ear
        self._signals: list[BrokerSignal] = []
        self._handles: dict[int, int] = {}
        self._asked: dict[int, Sequence[str]] = {}
        self._last_error = ""
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        client.on_subscribe = self._on_subscribe
        client.on_log = self._on_log

    def ready(self) -> None:
        """The socket is there, however long the name's lookup took: small packets must not wait for each other."""
        self._deadline = time.monotonic() + self._patience_s
        if (sock := self._client.socket()) is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # type: ignore[attr-defined]

    def publish(self, message: Message, handle: int) -> None:
        """Hands the message to paho, which writes it at once if the socket takes it."""
        info = self._client.publish(
            message.topic,
            message.payload,
            qos=message.qos,
            retain=message.retain,
            properties=publish_properties(message) if self._protocol == "5" else None,
        )
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._lost(info.rc.name)
            raise BrokerUnavailable("the connection was lost")
        if message.qos:
            self._handles[info.mid] = handle

    def subscribe(self, topic_filters: Sequence[str]) -> None:
        """One SUBSCRIBE for all of them."""
        code, mid = self._client.subscribe([(name, 1) for name in topic_filters])
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS or mid is None:
            self._lost(code.name)
            raise BrokerUnavailable("the connection was lost")
        self._asked[mid] = topic_filters

    def work(self, timeout_s: float) -> None:
        """Reads, writes, pings."""
        try:
            readable = self._wait(0.0 if self._signals else timeout_s)
            while readable and self._client.socket() is not None:
                self._client.loop_read()
                readable = self._buffered()
            if self._client.want_write():
                self._client.loop_write()
            self._client.loop_misc()
        except (*GARBAGE, MQTTException) as error:
            self._end(f"the peer sent what is not MQTT: {error or type(error).__name__}")
        if self._client.socket() is None:
            self._lost("closed by the broker")
        elif not self.accepted and time.monotonic() > self._deadline:
            self._end("no answer to CONNECT in time")

    def take(self) -> list[BrokerSignal]:
        """What happened since the last call."""
        signals, self._signals = self._signals, []
        return signals

    def goodbye(self) -> None:
        """Sends DISCONNECT and closes in order."""
        if self._client.socket() is not None:
            self._client.disconnect()  # paho closes once it is written
        if (sock := self._client.socket()) is not None:
            sock.close()

    def drop(self) -> None:
        """Closes with a reset."""
        sock = self._client.socket()
        if sock is not None and sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # type: ignore[attr-defined]
            sock.close()

    def _wait(self, timeout_s: float) -> bool:
        sock = self._client.socket()
        if sock is None:
            return False
        if self._buffered():
            return True
        poller = select.poll()  # not select(): a fleet's simulation has more than 1024 descriptors
        poller.register(sock, select.POLLIN | (select.POLLOUT if self._client.want_write() else 0))
        return any(events & ~select.POLLOUT for events in listen(poller, self._ear, timeout_s))

    def _buffered(self) -> bool:
        """Whether TLS has decrypted bytes that the kernel's poll cannot see."""
        sock = self._client.socket()
        return isinstance(sock, ssl.SSLSocket) and sock.pending() > 0

    def _lost(self, otherwise: str) -> None:
        cause = self._last_error.removeprefix("failed to receive on socket: ") or otherwise
        self._end(f"connection lost: {cause}{'' if self.accepted else self._advice}")

    def _end(self, reason: str) -> None:
        if self.over is None:
            self.over = reason
            self._signals.append(Disconnected(reason))

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, reason: Any, properties: Any) -> None:
        if self.accepted:
            self._end("the peer sent what is not MQTT: a second CONNACK")
        elif reason.is_failure:
            self.refused_version = reason.value == UNSUPPORTED_PROTOCOL_VERSION
            self._end(f"the broker refused the connection: {reason}")
        elif getattr(properties, "MaximumQoS", 1) < 1 or not getattr(properties, "RetainAvailable", 1):
            self._end("the broker offers no QoS 1 or no retained messages; Porter needs both")
        else:
            self.accepted = True
            maximum = getattr(properties, "ReceiveMaximum", 65535)
            self._signals.append(Connected(self._protocol, maximum, self._certificate_ends_ns()))

    def _certificate_ends_ns(self) -> int | None:
        sock = self._client.socket()
        found = sock.getpeercert() if isinstance(sock, ssl.SSLSocket) else None
        return parsed_ns(str(found["notAfter"])) if found else None

    def _on_disconnect(self, _client: Any, _data: Any, flags: Any, reason: Any, _properties: Any) -> None:
        if flags.is_disconnect_packet_from_server:
            self._end(f"the broker ended the connection: {reason}")
        else:
            self._lost(str(reason))

    def _on_publish(self, _client: Any, _data: Any, mid: int, reason: Any, _properties: Any) -> None:
        handle = self._handles.pop(mid, None)
        if handle is not None:
            self._signals.append(Acknowledged(handle, reason.value))

    def _on_subscribe(self, _client: Any, _data: Any, mid: int, reasons: Any, _properties: Any) -> None:
        for name, reason in zip(self._asked.pop(mid, ()), reasons, strict=False):
            if reason.is_failure:
                self._signals.append(SubscriptionRefused(name, reason.value))

    def _on_message(self, _client: Any, _data: Any, message: Any) -> None:
        self._signals.append(received(message))

    def _on_log(self, _client: Any, _data: Any, level: int, text: str) -> None:
        if level == MQTT_LOG_ERR:
            self._last_error = text
