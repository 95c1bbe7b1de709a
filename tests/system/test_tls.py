# SPDX-License-Identifier: Apache-2.0
"""TLS against a real mosquitto: who is let in, who is not, and whether the log says why. Never a fall back to plain."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from device.adapters.broker_mosquitto import Mosquitto
from device.adapters.broker_mqtt import MqttBroker
from device.errors import BrokerUnavailable
from device.mqtt_messages import Disconnected, Message
from device.tls_files import TlsFiles
from tests.contracts.broker_contract import connect, poll_until
from tests.subscriber import wait_for
from tests.system.certificates import Authority
from tests.system.services import Site

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.system,
    # paho leaves the closing of a socket whose TLS handshake failed to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
WILL = Message("porter/v1/d/status", b"offline", retain=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


def server(folder: Path, certificate: tuple[Path, Path], *options: str) -> Mosquitto:
    return Mosquitto(folder / "broker", f"certfile {certificate[0]}", f"keyfile {certificate[1]}", *options)


def client(port: int, host: str = "127.0.0.1", **files: Path) -> MqttBroker:
    tls = TlsFiles(**{name: str(path) for name, path in files.items()})
    return MqttBroker(host, port, client_id="porter-d", tls=tls)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_certificate_of_our_authority_with_the_right_name_is_accepted(
    authority: Authority, tmp_path: Path, host: str
) -> None:
    with server(tmp_path, authority.issue(f"good-{host}")) as broker:
        device = client(broker.port, host, ca_file=authority.ca)
        connected = connect(device)
        assert connected.protocol == "5"
        assert connected.certificate_ends_ns is not None
        assert 0 < connected.certificate_ends_ns - time.time_ns() <= 24 * 3600 * 10**9
        device.disconnect()


def test_a_certificate_of_another_authority_is_refused_and_the_cause_named(
    authority: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "other", "other")
    with server(tmp_path, authority.issue("good-other")) as broker:
        with pytest.raises(
            BrokerUnavailable, match="certificate was not accepted: unable to get local issuer"
        ):
            client(broker.port, ca_file=other.ca).connect(WILL, 5)
        with pytest.raises(BrokerUnavailable, match="certificate was not accepted"):
            client(broker.port).connect(WILL, 5)  # the system's authorities


def test_a_certificate_for_another_name_is_refused_and_the_cause_named(
    authority: Authority, tmp_path: Path
) -> None:
    with (
        server(tmp_path, authority.issue("elsewhere", "DNS:elsewhere.example,IP:192.0.2.1")) as broker,
        pytest.raises(BrokerUnavailable, match=r"certificate was not accepted: .*mismatch.*127\.0\.0\.1"),
    ):
        client(broker.port, ca_file=authority.ca).connect(WILL, 5)


def test_an_expired_certificate_is_refused_and_the_cause_named(authority: Authority, tmp_path: Path) -> None:
    with (
        server(tmp_path, authority.issue("old", expired=True)) as broker,
        pytest.raises(BrokerUnavailable, match="certificate was not accepted: certificate has expired"),
    ):
        client(broker.port, ca_file=authority.ca).connect(WILL, 5)


def test_a_client_certificate_opens_a_broker_that_wants_one(authority: Authority, tmp_path: Path) -> None:
    wants = (f"cafile {authority.ca}", "require_certificate true")
    with server(tmp_path, authority.issue("strict"), *wants) as broker:
        certificate, key = authority.issue("device", "DNS:lobby-01")
        device = client(broker.port, ca_file=authority.ca, cert_file=certificate, key_file=key)
        connect(device)
        device.disconnect()

        stranger = client(broker.port, ca_file=authority.ca)
        stranger.connect(WILL, 5)
        (signal,) = poll_until(stranger, Disconnected)
        assert isinstance(signal, Disconnected)
        assert "does the broker want a client certificate?" in signal.reason


def test_a_plain_port_is_never_spoken_to_when_tls_is_on(authority: Authority, tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as broker:
        with pytest.raises(BrokerUnavailable, match=r"TLS|reset|EOF"):
            client(broker.port, ca_file=authority.ca).connect(WILL, 5)
        assert "New client connected" not in broker.log.read_text()


def test_a_tls_port_spoken_to_in_plain_is_a_disconnection(authority: Authority, tmp_path: Path) -> None:
    with server(tmp_path, authority.issue("good-plain")) as broker:
        device = MqttBroker("127.0.0.1", broker.port, client_id="porter-d", tls=None)
        device.connect(WILL, 5)
        (signal,) = poll_until(device, Disconnected)
        assert isinstance(signal, Disconnected)
        assert "does the port expect TLS?" in signal.reason


def test_the_service_names_the_cause_and_comes_in_once_the_certificate_is_right(
    authority: Authority, tmp_path: Path
) -> None:
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(Authority(tmp_path / "other", "other").ca.read_bytes())
    with server(tmp_path, authority.issue("good-service")) as broker:
        extra = f"  ca_file: {trusted}"  # TLS needs no word in the configuration
        with Site(tmp_path, broker.port, extra=extra) as site:
            site.forwarder.wait_log("unable to get local issuer certificate")
            site.commit(1)
            assert site.depth() == 1
            trusted.write_bytes(authority.ca.read_bytes())
            site.forwarder.wait_log(" connected protocol=5", 30)
            wait_for(lambda: site.depth() == 0, 10, "the outbox to empty")
