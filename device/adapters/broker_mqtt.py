# SPDX-License-Identifier: Apache-2.0
"""The broker over MQTT 5 or 3.1.1, with paho-mqtt driven by `poll` in the caller's thread; paho starts none of its own.

What may surprise:

- Every connection is a new paho client. A client that reconnects sends its unacknowledged publications again, however
  old they are; the outbox decides that here, so what is in flight dies with its connection.
- An aborted connection is closed with a reset (SO_LINGER 0). A plain close would let the kernel go on trying to
  deliver what is still in its send buffer, and a live event could reach the broker minutes later.
- `auto` speaks MQTT 5 and falls back to 3.1.1 when the broker says that it cannot, or hangs up twice on the greeting.
  What worked is remembered; after a day of 3.1.1 a new connection tries 5 again.
- `connect` blocks for the name lookup, the TCP connection and the TLS handshake, each with its own time limit.
"""

from __future__ import annotations

import logging
import select
import socket
import ssl
import struct
import time
from typing import TYPE_CHECKING, Any, Literal

from paho.mqtt import MQTTException
from paho.mqtt.client import MQTT_LOG_ERR, Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion

from device.errors import BrokerUnavailable, InputError
from device.mqtt_dialect import Dialect
from device.mqtt_messages import Acknowledged, Connected, Disconnected, SubscriptionRefused
from device.mqtt_properties import connect_properties, publish_properties, received, set_will
from device.tls_files import explain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from device.mqtt_dialect import Protocol
    from device.mqtt_messages import BrokerSignal, Message
    from device.tls_files import TlsFiles

log = logging.getLogger("porter.broker")

UNSUPPORTED_PROTOCOL_VERSION = 0x84
# Whatever paho's parser trips over when the peer does not speak MQTT.
GARBAGE = (ValueError, LookupError, TypeError, ArithmeticError, AssertionError, AttributeError, struct.error)


class MqttBroker:
    """One broker; one connection at a time. `tls=None` is plain TCP and must be asked for."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        client_id: str,
        tls: TlsFiles | None,
        protocol: Literal["auto", "5", "3.1.1"] = "auto",
        username: str = "",
        password: str = "",
        keep_alive_s: int = 30,
        session_expiry_s: int = 0,
        connect_timeout_s: float = 5.0,
    ) -> None:
        """session_expiry_s: so long an MQTT 5 broker keeps what comes for our subscriptions while we are away.

        Raises InputError where a TLS file is wrong: now, not at the first connection.
        """
        self._host, self._port = host, port
        self._client_id = client_id
        self._tls = tls
        self._credentials = (username, password)
        self._keep_alive_s = keep_alive_s
        self._session_expiry_s = session_expiry_s
        self._timeout_s = connect_timeout_s
        self._dialect = Dialect(protocol)
        self._session: _Session | None = None
        self._handles = 0
        if tls is not None:
            tls.context()

    def connect(self, will: Message | None, will_delay_s: int) -> None:
        """Connects and says hello; the answer arrives through `poll`. Raises BrokerUnavailable with the cause."""
        self.abort()
        self._dialect.before_connecting(time.monotonic())
        protocol = self._dialect.protocol
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            clean_session=None if protocol == "5" else True,  # a session of 3.1.1 would never expire
            protocol=MQTTProtocolVersion.MQTTv5 if protocol == "5" else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        client.connect_timeout = self._timeout_s
        client.max_inflight_messages_set(0)  # the window is the forwarder's business: paho must not queue
        if self._credentials[0]:
            client.username_pw_set(self._credentials[0], self._credentials[1] or None)
        if will is not None:
            set_will(client, will, will_delay_s if protocol == "5" else None)
        session = _Session(client, protocol, time.monotonic() + 2 * self._timeout_s, self._advice())
        try:
            if self._tls is not None:
                client.tls_set_context(self._tls.context())
            hello = self._hello() if protocol == "5" else {}
            client.connect(self._host, self._port, keepalive=self._keep_alive_s, **hello)
        except InputError as error:
            raise BrokerUnavailable(error.message, hint=error.hint) from error
        except (OSError, ValueError) as error:
            session.drop()
            raise BrokerUnavailable(
                f"{self._host}:{self._port}: {explain(error, self._timeout_s)}"
            ) from error
        session.ready()
        self._session = session

    def publish(self, message: Message) -> int:
        """Hands one message over; its PUBACK comes as `Acknowledged` (QoS 1 only). Raises BrokerUnavailable."""
        if self._session is None or not self._session.accepted:
            raise BrokerUnavailable("not connected")
        self._handles += 1
        self._session.publish(message, self._handles)
        return self._handles

    def subscribe(self, topic_filters: Sequence[str]) -> None:
        """Asks for these topics at QoS 1. Raises BrokerUnavailable."""
        if self._session is None or not self._session.accepted:
            raise BrokerUnavailable("not connected")
        self._session.subscribe(topic_filters)

    def poll(self, timeout_s: float) -> Sequence[BrokerSignal]:
        """Works for up to `timeout_s`; never raises for what the network or the broker does."""
        session = self._session
        if session is None:
            select.select([], [], [], timeout_s)  # nothing to wait for, but the caller counts on the pace
            return []
        session.work(timeout_s)
        if session.over is not None:
            self._dialect.ended(session.accepted, session.refused_version)
            self._session = None
            session.drop()
        elif session.accepted:
            self._dialect.accepted(time.monotonic())
        return session.take()

    def disconnect(self) -> None:
        """DISCONNECT, then close."""
        if self._session is not None:
            self._session.goodbye()
            self._session = None

    def abort(self) -> None:
        """Closes at once and throws away what was not sent yet; the broker will publish the will."""
        if self._session is not None:
            self._session.drop()
            self._session = None

    def _hello(self) -> dict[str, Any]:
        return {
            "clean_start": self._session_expiry_s == 0,
            "properties": connect_properties(self._session_expiry_s),
        }

    def _advice(self) -> str:
        """What to think of when the broker hangs up on our greeting: its own words never reach us then."""
        if self._tls is None:
            return " (does the port expect TLS?)"
        return "" if self._tls.cert_file else " (does the broker want a client certificate?)"


class _Session:
    """One connection from CONNECT to its end, never used again."""

    def __init__(self, client: Client, protocol: Protocol, connack_deadline: float, advice: str) -> None:
        self.accepted = False
        self.refused_version = False
        self.over: str | None = None
        self._client = client
        self._protocol = protocol
        self._deadline = connack_deadline
        self._advice = advice
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
        """The socket is there: small packets must not wait for each other."""
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
        return any(events & ~select.POLLOUT for _, events in poller.poll(timeout_s * 1000))

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
            self._signals.append(Connected(self._protocol, getattr(properties, "ReceiveMaximum", 65535)))

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
