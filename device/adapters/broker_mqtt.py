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

import select
import time
from typing import TYPE_CHECKING, Any, Literal

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from device.errors import BrokerUnavailable, InputError
from device.mqtt_dialect import Dialect
from device.mqtt_properties import connect_properties, set_will
from device.mqtt_session import Session, listen
from device.tls_files import explain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from device.mqtt_messages import BrokerSignal, Message
    from device.mqtt_session import Ear
    from device.tls_files import TlsFiles


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
        ear: Ear | None = None,
    ) -> None:
        """session_expiry_s: so long an MQTT 5 broker keeps what comes for our subscriptions while we are away.
        ear: whatever else ends a wait in `poll` early.

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
        self._ear = ear
        self._session: Session | None = None
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
        session = Session(client, protocol, 2 * self._timeout_s, self._advice(), self._ear)
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
                f"{self._host}:{self._port}: {explain(error, self._timeout_s, tls=self._tls is not None)}"
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
            listen(select.poll(), self._ear, timeout_s)
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
