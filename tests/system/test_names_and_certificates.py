# SPDX-License-Identifier: Apache-2.0
"""The way to the broker is lost before the first byte: its name does not resolve, or its certificate has expired."""

from __future__ import annotations

import signal
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from device.adapters.broker_mosquitto import Mosquitto
from device.loopback import free_ports
from tests.subscriber import wait_for
from tests.system.certificates import Authority
from tests.system.proxy import CONNACK
from tests.system.resolver import Resolver
from tests.system.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.system
SLOW_S = 11.0  # longer than an answer to CONNECT is waited for


@contextmanager
def systemd(path: Path) -> Iterator[Callable[[], int]]:
    """A notification socket at `path`; yields how often the watchdog was fed since the last question."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(path))
        ear.setblocking(False)

        def feeds() -> int:
            heard = []
            while True:
                try:
                    heard.append(ear.recv(4096))
                except BlockingIOError:
                    return sum(b"WATCHDOG=1" in words for words in heard)

        yield feeds


def test_after_a_name_that_does_not_resolve_for_a_while(tmp_path: Path) -> None:
    resolver = Resolver(tmp_path)
    with Stage(tmp_path, around=resolver.around()) as stage:
        resolver.fails()
        stage.proxy.cut(reset=True)
        stage.site.forwarder.wait_log("the name cannot be resolved: Name or service not known", 30)
        lookups = resolver.lookups
        wait_for(lambda: resolver.lookups > lookups, 30, "another try")
        resolver.answers()
        stage.progress()
        stage.finish()


def test_after_a_resolver_that_takes_longer_than_a_connection_may(tmp_path: Path) -> None:
    resolver = Resolver(tmp_path)
    with (
        systemd(tmp_path / "notify") as feeds,
        Stage(tmp_path, around=resolver.around(NOTIFY_SOCKET=str(tmp_path / "notify"))) as stage,
    ):
        resolver.answers(after_s=SLOW_S)
        stage.proxy.delay_s = 0.2  # the answer to CONNECT does not wait at the door
        lookups, greeted = resolver.lookups, stage.proxy.seen["down", CONNACK]
        stage.proxy.cut(reset=True)
        wait_for(lambda: resolver.lookups > lookups, 30, "a lookup")
        feeds()
        wait_for(lambda: stage.proxy.seen["down", CONNACK] > greeted, 60, "an answer to CONNECT")
        assert feeds() >= SLOW_S / 2, "the watchdog starves while a name is looked up"
        stage.progress(3, 5)  # over this very connection: another would take another lookup
        assert resolver.lookups == lookups + 1
        stage.finish()


def test_a_stop_in_the_middle_of_a_lookup_is_in_order(tmp_path: Path) -> None:
    resolver = Resolver(tmp_path)
    with Stage(tmp_path, around=resolver.around()) as stage:
        resolver.answers(after_s=2)
        lookups = resolver.lookups
        stage.proxy.cut(reset=True)
        wait_for(lambda: resolver.lookups > lookups, 30, "a lookup")
        assert stage.site.forwarder.end(signal.SIGTERM) == 0
        resolver.answers()
        stage.site.forwarder.start()
        stage.progress()
        stage.finish()


def test_after_the_broker_s_certificate_expired_and_was_renewed(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "certificates")
    place, key = tmp_path / "server.pem", tmp_path / "server.key"

    def serve(certificate: tuple[Path, Path]) -> None:
        place.write_bytes(certificate[0].read_bytes())
        key.write_bytes(certificate[1].read_bytes())

    good, old, renewed = (
        authority.issue("good"),
        authority.issue("old", expired=True),
        authority.issue("renewed"),
    )
    serve(good)
    broker, ear_port = secure_broker(tmp_path / "broker", place, key)
    with Stage(tmp_path, broker=broker, ear_port=ear_port, mqtt=f"  ca_file: {authority.ca}") as stage:
        serve(old)
        broker.reload()
        stage.progress()  # a connection that stands outlives its certificate
        stage.proxy.cut(reset=True)
        stage.site.forwarder.wait_log(
            "the broker's certificate was not accepted: certificate has expired", 30
        )
        wait_for(lambda: stage.site.depth() > 10, 30, "events to wait")
        assert stage.site.forwarder.text().count(" connected ") == 1
        serve(renewed)
        broker.reload()
        stage.progress()
        stage.finish()


def secure_broker(folder: Path, certificate: Path, key: Path) -> tuple[Mosquitto, int]:
    """A broker with TLS for the forwarder, and its plain port for the audit log."""
    port, ear_port = free_ports()[:2]
    # In this order: mosquitto is waited for at its last port.
    config = f"""\
per_listener_settings false
listener {ear_port} 127.0.0.1
listener {port} 127.0.0.1
certfile {certificate}
keyfile {key}
allow_anonymous true
max_inflight_messages 0
max_queued_messages 0
persistence true
"""
    return Mosquitto(folder, config=config, port=port), ear_port
