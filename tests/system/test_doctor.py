# SPDX-License-Identifier: Apache-2.0
"""`porter doctor` and the network: TLS with a real mosquitto, and a name server that does not answer."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from device.adapters.broker_mosquitto import Mosquitto
from device.adapters.clock import SystemClock
from device.checkup.broker import broker_findings
from device.checkup.host import Host, ScriptedCommands
from device.options_delivery import MqttOptions
from tests.system.certificates import Authority
from tests.system.resolver import NAME, Resolver

if TYPE_CHECKING:
    from pathlib import Path

    from device.checkup.finding import Finding

pytestmark = pytest.mark.system
PROMISED_S = 10.0


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


def look(folder: Path, port: int, ca: Path, own: tuple[Path | str, Path | str] = ("", "")) -> list[Finding]:
    """With nothing in systemd's store. own: a client's certificate and its key."""
    certificate, key = map(str, own)
    mqtt = MqttOptions(
        host="localhost", port=port, ca_file=str(ca), client_cert_file=certificate, client_key_file=key
    )
    return list(broker_findings(mqtt, Host(root=folder, run=ScriptedCommands({})), SystemClock().now()))


def server(folder: Path, certificate: tuple[Path, Path], *options: str) -> Mosquitto:
    return Mosquitto(folder / "broker", f"certfile {certificate[0]}", f"keyfile {certificate[1]}", *options)


def test_a_broker_of_our_authority_is_verified_and_its_certificates_days_are_told(
    authority: Authority, tmp_path: Path
) -> None:
    with server(tmp_path, authority.issue("good")) as broker:
        *_, connected, verified = look(tmp_path, broker.port, authority.ca)
    assert (connected.level, connected.text) == (
        "ok",
        f"localhost:{broker.port} (127.0.0.1) takes connections",
    )
    assert "TLSv1.3 is verified; the broker's certificate ends on" in verified.text
    assert (verified.level, verified.hint) == (
        "wrong",
        "renew the broker's certificate",
    )  # it lives for a day


@pytest.mark.parametrize(
    ("names", "expired", "other", "words"),
    [
        ("DNS:localhost", False, True, "self-signed certificate|unable to get"),
        ("DNS:elsewhere", False, False, "mismatch, certificate is not valid for"),
        ("DNS:localhost", True, False, "certificate has expired"),
    ],
)
def test_what_is_not_verified_is_wrong_and_says_why(
    authority: Authority, tmp_path: Path, names: str, expired: bool, other: bool, words: str
) -> None:
    certificate = authority.issue(f"bad-{tmp_path.name}", names, expired=expired)
    ca = Authority(tmp_path / "other").ca if other else authority.ca
    with server(tmp_path, certificate) as broker:
        last = look(tmp_path, broker.port, ca)[-1]
    assert last.level == "wrong"
    assert any(word in last.text for word in words.split("|")), last
    assert last.hint


def test_a_broker_that_wants_a_client_certificate(authority: Authority, tmp_path: Path) -> None:
    own, key = authority.issue("own")
    key.chmod(0o600)
    wanting = ("require_certificate true", f"cafile {authority.ca}")
    with server(tmp_path, authority.issue("strict"), *wanting) as broker:
        without = look(tmp_path, broker.port, authority.ca)[-1]
        with_it = look(tmp_path, broker.port, authority.ca, (own, key))[-1]
    assert (without.level, "wants a client certificate" in without.text) == ("note", True), without
    assert "is verified" in with_it.text


def test_with_a_dead_name_server_the_whole_report_is_there_in_time(tmp_path: Path) -> None:
    resolver = Resolver(tmp_path)
    resolver.answers(after_s=60)
    config = tmp_path / "porter.yaml"
    config.write_text(f"device: {{state_dir: {tmp_path}, run_dir: {tmp_path}}}\nmqtt: {{host: {NAME}}}\n")
    program = [sys.executable, "-m", "tests.system.resolver", str(tmp_path / "resolver")]
    began = time.monotonic()
    done = subprocess.run(
        [*program, "doctor", "--config", str(config)], capture_output=True, text=True, timeout=55, check=False
    )
    seconds = time.monotonic() - began
    assert done.returncode == 1, done.stderr
    assert f"{NAME}: the name cannot be resolved: no answer within 2 s" in done.stdout
    assert "by gallery size" in done.stdout
    assert resolver.lookups == 1
    assert seconds < PROMISED_S, "the doctor promises to be done in time"
