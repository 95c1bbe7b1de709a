# SPDX-License-Identifier: Apache-2.0
"""What a peer can do to the MQTT adapter: garbage, silence, hang-ups, refusals, old versions; and wrong TLS files."""

from __future__ import annotations

import random
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from device.adapters.broker_memory import MemoryBroker
from device.adapters.broker_mqtt import MqttBroker
from device.errors import BrokerUnavailable
from device.mqtt_messages import Acknowledged, Connected, Disconnected, Message
from device.tls_files import TlsFiles
from tests.peer import Peer

if TYPE_CHECKING:
    from device.mqtt_messages import BrokerSignal

WILL = Message("porter/v1/d/status", b"offline", retain=True)
CONNACK_5 = b"\x20\x03\x00\x00\x00"
CONNACK_311 = b"\x20\x02\x00\x00"
# paho leaves the closing of a socket whose TLS handshake failed to the garbage collector.
LEAKS = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def make(port: int, **options: Any) -> MqttBroker:
    return MqttBroker("127.0.0.1", port, client_id="porter-d", tls=None, **options)


def outcome(broker: MqttBroker, timeout_s: float = 5.0) -> BrokerSignal:
    """The first signal after a connect."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        for signal in broker.poll(0.02):
            return signal
    raise AssertionError("nothing happened")


def version_of(greeting: bytes) -> int:
    """The protocol level in a CONNECT packet: 5, or 4 for 3.1.1."""
    return greeting[greeting.index(b"MQTT") + 4]


def test_the_hello_asks_for_a_clean_start_and_no_session() -> None:
    with Peer(lambda *_: CONNACK_5) as peer:
        broker = make(peer.port, keep_alive_s=17)
        broker.connect(WILL, 5)
        assert outcome(broker) == Connected("5", 65535)
        broker.abort()
    hello = peer.greetings[0]
    start = hello.index(b"MQTT") + 5
    assert hello[start] & 0x02, "clean start"
    assert int.from_bytes(hello[start + 1 : start + 3], "big") == 17
    assert b"\x11\x00\x00\x00\x00" in hello, "session expiry 0"
    assert b"\x18\x00\x00\x00\x05" in hello, "will delay 5 s"


def test_a_session_is_kept_for_as_long_as_asked_on_mqtt_5_and_never_on_3_1_1() -> None:
    with Peer(lambda *_: CONNACK_5) as peer:
        broker = make(peer.port, session_expiry_s=3600)
        broker.connect(WILL, 5)
        outcome(broker)
        broker.abort()
    hello = peer.greetings[0]
    assert not hello[hello.index(b"MQTT") + 5] & 0x02, "no clean start"
    assert b"\x11\x00\x00\x0e\x10" in hello, "session expiry 1 h"
    with Peer(lambda *_: CONNACK_311) as peer:
        broker = make(peer.port, session_expiry_s=3600, protocol="3.1.1")
        broker.connect(None, 0)
        outcome(broker)
        broker.abort()
    hello = peer.greetings[0]
    flags = hello[hello.index(b"MQTT") + 5]
    assert flags & 0x02, "a clean session: there it would have no end"
    assert not flags & 0x04, "no will for one who only listens"


def test_the_brokers_window_is_reported() -> None:
    with Peer(lambda *_: b"\x20\x06\x00\x00\x03\x21\x00\x04") as peer:
        broker = make(peer.port)
        broker.connect(WILL, 5)
        assert outcome(broker) == Connected("5", 4)
        broker.abort()


@pytest.mark.parametrize(
    ("connack", "cause"),
    [
        (b"\x20\x03\x00\x87\x00", "Not authorized"),
        (b"\x20\x03\x00\x86\x00", "Bad user name or password"),
        (b"\x20\x03\x00\x89\x00", "Server busy"),
        (b"\x20\x05\x00\x00\x02\x24\x00", "QoS 1"),
        (b"\x20\x05\x00\x00\x02\x25\x00", "retained"),
    ],
)
def test_a_refusal_names_its_cause(connack: bytes, cause: str) -> None:
    with Peer(lambda *_: connack) as peer:
        broker = make(peer.port)
        broker.connect(WILL, 5)
        signal = outcome(broker)
        assert isinstance(signal, Disconnected)
        assert cause in signal.reason
        assert list(broker.poll(0)) == []


@pytest.mark.parametrize(
    "refusal", [b"\x20\x03\x00\x84\x00", b"\x20\x02\x00\x01"], ids=["as-mqtt-5", "as-mqtt-3.1.1"]
)
def test_a_broker_that_cannot_speak_5_gets_3_1_1_next_time_and_ever_after(refusal: bytes) -> None:
    with Peer(lambda _, hello: refusal if version_of(hello) == 5 else CONNACK_311) as peer:
        broker = make(peer.port)
        broker.connect(WILL, 5)
        assert isinstance(outcome(broker), Disconnected)
        for _ in range(2):
            broker.connect(WILL, 5)
            assert outcome(broker) == Connected("3.1.1", 65535)
        broker.abort()
    assert [version_of(hello) for hello in peer.greetings] == [5, 4, 4]


def test_two_hang_ups_on_5_lead_to_3_1_1() -> None:
    with Peer(lambda _, hello: None if version_of(hello) == 5 else CONNACK_311) as peer:
        broker = make(peer.port)
        for _ in range(2):
            broker.connect(WILL, 5)
            assert isinstance(outcome(broker), Disconnected)
        broker.connect(WILL, 5)
        assert outcome(broker) == Connected("3.1.1", 65535)
        broker.abort()


def test_a_goodbye_of_the_broker_is_reported_with_its_reason() -> None:
    with Peer(lambda *_: CONNACK_5 + b"\xe0\x02\x8e\x00") as peer:
        broker = make(peer.port)
        broker.connect(WILL, 5)
        assert outcome(broker) == Connected("5", 65535)
        assert outcome(broker) == Disconnected("the broker ended the connection: Session taken over")


def test_silence_is_not_waited_for_without_end() -> None:
    with Peer(lambda *_: b"") as peer:
        broker = make(peer.port, connect_timeout_s=0.05)
        broker.connect(WILL, 5)
        assert outcome(broker) == Disconnected("no answer to CONNECT in time")


def test_a_second_greeting_is_the_end() -> None:
    with Peer(lambda *_: CONNACK_5 + CONNACK_5) as peer:
        broker = make(peer.port)
        broker.connect(WILL, 5)
        assert isinstance(outcome(broker), Connected)
        signal = outcome(broker)
        assert isinstance(signal, Disconnected)
        assert "not MQTT" in signal.reason


def test_garbage_is_a_disconnection_never_an_exception() -> None:
    dice = random.Random(20261123)
    bad_topic = b"\x30\x08\x00\x02\xff\xfe"
    web = b"HTTP/1.1 400 Bad Request\r\n\r\n"
    openings = [b"", CONNACK_5, CONNACK_5 + bad_topic, web, b"SSH-2.0-OpenSSH_9.2\r\n"]

    def garbage(number: int, _hello: bytes) -> bytes:
        return openings[number % len(openings)] + dice.randbytes(dice.choice([1, 5, 40, 3000]))

    with Peer(garbage) as peer:
        for _ in range(40):
            broker = make(peer.port, connect_timeout_s=0.02, protocol=dice.choice(["5", "3.1.1"]))
            broker.connect(WILL, 5)
            deadline = time.monotonic() + 0.06
            while time.monotonic() < deadline:
                for signal in broker.poll(0.005):
                    assert (
                        isinstance(signal, (Connected, Disconnected)) or "Received" in type(signal).__name__
                    )
            broker.abort()


def test_an_acknowledgement_nobody_waits_for_is_ignored() -> None:
    with Peer(lambda *_: CONNACK_5 + b"\x40\x02\x00\x09") as peer:
        broker = make(peer.port)
        broker.connect(WILL, 5)
        outcome(broker)
        assert list(broker.poll(0.05)) == []
        broker.abort()


def test_reason_codes_of_acknowledgements_come_through() -> None:
    with Peer(lambda *_: CONNACK_5, then=b"\x40\x03\x00\x01\x97") as peer:
        broker = make(peer.port)
        broker.connect(WILL, 5)
        outcome(broker)
        handle = broker.publish(Message("a", b""))
        assert outcome(broker) == Acknowledged(handle, 0x97)
        broker.abort()


def test_an_abort_resets_the_connection_so_that_nothing_old_arrives_later() -> None:
    with Peer(lambda *_: CONNACK_5) as peer:
        broker = make(peer.port)
        broker.connect(WILL, 5)
        outcome(broker)
        broker.abort()
        with pytest.raises(ConnectionResetError):
            peer._open[0].recv(1)


def test_a_port_where_nobody_listens_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(BrokerUnavailable, match=f"127.0.0.1:{port}: Connection refused"):
        make(port).connect(WILL, 5)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "x" * 70, "a..b", "\udcff"])
def test_a_name_that_cannot_be_resolved_is_unavailable(host: str) -> None:
    with pytest.raises(BrokerUnavailable):
        MqttBroker(host, 1883, client_id="porter-d", tls=None).connect(WILL, 5)


@LEAKS
def test_tls_against_a_plain_port_is_explained() -> None:
    with Peer(lambda *_: b"HTTP/1.1 400 Bad Request\r\n\r\n") as peer:
        broker = MqttBroker("127.0.0.1", peer.port, client_id="porter-d", tls=TlsFiles())
        with pytest.raises(BrokerUnavailable, match="does this port speak TLS"):
            broker.connect(WILL, 5)


@LEAKS
def test_a_peer_that_does_not_finish_the_tls_handshake_is_given_up() -> None:
    with Peer(lambda *_: b"") as peer:
        broker = MqttBroker(
            "127.0.0.1", peer.port, client_id="porter-d", tls=TlsFiles(), connect_timeout_s=0.1
        )
        with pytest.raises(BrokerUnavailable, match=r"no answer within 0\.1 s"):
            broker.connect(WILL, 5)


def test_the_fake_fails_as_it_is_told_to() -> None:
    refusing = MemoryBroker(refuse="Not authorized")
    refusing.connect(WILL, 5)
    assert list(refusing.poll(0)) == [Disconnected("the broker refused the connection: Not authorized")]
    dropping = MemoryBroker(drop_after=1)
    dropping.connect(WILL, 5)
    dropping.publish(Message("a", b"1"))
    dropping.publish(Message("a", b"2"))
    assert [type(signal) for signal in dropping.poll(0)] == [Connected, Acknowledged, Disconnected]
    assert [message.payload for message in dropping.exchange.published] == [b"1", b"offline"]
