# SPDX-License-Identifier: Apache-2.0
"""What the doctor says of the way to the broker. TLS against a real broker: tests/system/test_doctor.py."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest

from device.adapters.clock import ManualClock
from device.checkup import broker
from device.checkup.broker import Trust, broker_findings, ending, link
from device.checkup.host import Said
from device.loopback import free_ports
from device.options_delivery import MqttOptions
from device.supervisor import Worker
from tests.unit.test_checkup_device import host, said, tree, wrong
from tests.unit.test_tls_files import PEM

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = ManualClock().now()
SEALED = "etc/credstore.encrypted/porter.mqtt-ca"
OPENS = "systemd-creds decrypt --name=porter.mqtt-ca"


@pytest.fixture
def listener() -> Iterator[int]:
    """A port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def plain_speaker() -> Iterator[int]:
    """A port that answers, but not in TLS."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1)
                connection.sendall(b"what?" * 10)
            worker.stop()

        worker = Worker("plain", answer)
        worker.start()
        yield server.getsockname()[1]
        assert worker.join(60)


def plain(port: int, name: str = "127.0.0.1") -> MqttOptions:
    return MqttOptions(host=name, port=port, tls=False)


def test_a_plain_broker_takes_connections(listener: int, tmp_path: Path) -> None:
    (found,) = broker_findings(plain(listener), host(tmp_path), NOW)
    assert (found.level, found.text) == ("ok", f"127.0.0.1:{listener} (127.0.0.1) takes connections")


def test_a_port_without_a_broker_is_wrong(tmp_path: Path) -> None:
    port = free_ports()[0]
    assert wrong(broker_findings(plain(port), host(tmp_path), NOW)) == [
        f"127.0.0.1:{port}: Connection refused"
    ]


def test_a_name_that_does_not_resolve_is_wrong() -> None:
    def unknown(*_: object, **__: object) -> list[broker.Address]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    (found,) = link(plain(1883, "broker.test"), Trust(), NOW, unknown)
    assert found.text == "broker.test: the name cannot be resolved: Name or service not known"
    assert "resolvectl" in found.hint


def test_a_resolver_that_is_dead_is_named() -> None:
    free = threading.Event()

    def dead(*_: object, **__: object) -> list[broker.Address]:
        free.wait(60)
        return []

    (found,) = link(plain(1883, "broker.test"), Trust(), NOW, dead, resolve_s=0.0)
    free.set()
    assert "broker.test: the name cannot be resolved: no answer within 0 s" in found.text
    assert "resolvectl" in found.hint


def test_the_next_address_is_tried_where_the_first_refuses(listener: int) -> None:
    closed = free_ports()[0]
    kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
    found = link(
        plain(listener),
        Trust(),
        NOW,
        lambda *_, **__: [(*kind, ("127.0.0.1", closed)), (*kind, ("127.0.0.1", listener))],
    )
    assert [each.level for each in found] == ["ok"]


def test_the_days_of_a_certificate() -> None:
    day = 24 * 3600 * 10**9
    assert ending("it", NOW.utc_ns + 13 * day, NOW).level == "wrong"
    assert ending("it", NOW.utc_ns + 15 * day, NOW).level == "ok"
    assert "is missing?" in ending("it", None, NOW).text


def test_a_sealed_authority_is_opened_by_root_and_its_end_told(plain_speaker: int, tmp_path: Path) -> None:
    tree(tmp_path, {SEALED: "sealed"})
    mqtt = MqttOptions(host="127.0.0.1", port=plain_speaker)
    found = list(broker_findings(mqtt, host(tmp_path, {OPENS: PEM.strip()}), NOW))
    assert "the credential porter.mqtt-ca ends on 2126-10-30" in said(found, "ok")
    assert "speak TLS" in wrong(found)[0]


def test_what_cannot_be_opened_is_a_note_and_no_handshake_is_tried(listener: int, tmp_path: Path) -> None:
    tree(tmp_path, {SEALED: "sealed"})
    mqtt = MqttOptions(host="127.0.0.1", port=listener)
    found = list(broker_findings(mqtt, host(tmp_path, {OPENS: Said(1, "Failed to decrypt")}), NOW))
    assert [each.level for each in found] == ["note", "ok"]
    assert "cannot be opened here: Failed to decrypt" in found[0].text


def test_a_credential_that_is_no_certificate_and_a_file_that_is_none_are_wrong(
    listener: int, tmp_path: Path
) -> None:
    tree(tmp_path, {"none.pem": "no certificate", "open.key": "x"})
    (tmp_path / "open.key").chmod(0o644)
    files = MqttOptions(host="127.0.0.1", port=listener, ca_file=f"{tmp_path}/none.pem")
    assert "expected certificates in PEM form" in wrong(broker_findings(files, host(tmp_path), NOW))[0]
    tree(tmp_path, {SEALED: "sealed"})
    options = MqttOptions(
        host="127.0.0.1",
        port=listener,
        client_cert_file=f"{tmp_path}/c.pem",
        client_key_file=f"{tmp_path}/open.key",
    )
    found = list(broker_findings(options, host(tmp_path, {OPENS: "rubbish"}), NOW))
    assert f"{tmp_path}/open.key: every user of this device may read it" in wrong(found)
    assert any("the credential porter.mqtt-ca: " in text for text in wrong(found))
