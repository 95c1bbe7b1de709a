# SPDX-License-Identifier: Apache-2.0
"""config/mosquitto as it ships, in a real mosquitto: who may do what, and that a device needs no more."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from device.adapters.broker_mosquitto import Mosquitto, executable
from device.adapters.broker_mqtt import MqttBroker
from device.errors import BrokerUnavailable
from device.loopback import free_ports
from device.mqtt_messages import Acknowledged, Connected, Disconnected, Message, Received, SubscriptionRefused
from device.tls_files import TlsFiles
from tests.contracts.broker_contract import poll_until
from tests.events import make_event
from tests.subscriber import wait_for
from tests.system.certificates import Authority
from tests.system.services import ROOT, Site

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.system
EXAMPLE = ROOT / "config" / "mosquitto"
NOT_AUTHORISED = 0x87
USERS = ("homeassistant", "door", "audit")


@dataclass(frozen=True, slots=True)
class Yard:
    """The example's broker: its ports, and the authority that it trusts."""

    devices: int
    people: int
    authority: Authority

    def device(self, name: str) -> MqttBroker:
        """A client with the certificate of this device."""
        certificate, key = self.authority.issue(name)
        files = TlsFiles(str(self.authority.ca), str(certificate), str(key))
        return connected(MqttBroker("127.0.0.1", self.devices, client_id=f"{name}-{id(self)}", tls=files))

    def user(self, name: str) -> MqttBroker:
        """A client with this user's password."""
        files = TlsFiles(str(self.authority.ca))
        return connected(
            MqttBroker(
                "127.0.0.1", self.people, client_id=name, tls=files, username=name, password=f"{name}-secret"
            )
        )


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    authority = Authority(tmp_path / "ca")
    certificate, key = authority.issue("broker")
    passwords = tmp_path / "passwords"
    passwords.touch()
    for user in USERS:
        tool = executable("mosquitto_passwd", "mosquitto")
        subprocess.run([tool, "-b", str(passwords), user, f"{user}-secret"], check=True, capture_output=True)
    devices, people = free_ports()[:2]
    text = (EXAMPLE / "porter.conf").read_text()
    for shipped, here in (
        ("/etc/mosquitto/conf.d/porter.acl", EXAMPLE / "porter.acl"),
        ("/etc/mosquitto/porter/passwords", passwords),
        ("/etc/mosquitto/porter/ca.pem", authority.ca),
        ("/etc/mosquitto/porter/broker.pem", certificate),
        ("/etc/mosquitto/porter/broker.key", key),
        ("listener 8883", f"listener {devices} 127.0.0.1"),
        ("listener 8884", f"listener {people} 127.0.0.1"),
    ):
        assert shipped in text
        text = re.sub(rf"^(.*){re.escape(shipped)}", rf"\g<1>{here}", text, flags=re.MULTILINE)
    with Mosquitto(tmp_path / "broker", config=text, port=devices):
        yield Yard(devices, people, authority)


def connected(broker: MqttBroker) -> MqttBroker:
    """Connects it."""
    broker.connect(None, 0)
    poll_until(broker, Connected)
    return broker


def code(broker: MqttBroker, topic: str, *, retain: bool = False) -> int:
    """What PUBACK says of a publication there."""
    broker.publish(Message(topic, b"{}", retain=retain))
    (signal,) = (one for one in poll_until(broker, Acknowledged) if isinstance(one, Acknowledged))
    return signal.reason_code


def refused(broker: MqttBroker, topic: str) -> bool:
    """Whether the broker refuses to let it hear `topic`, or lets it and hands nothing over."""
    broker.subscribe([topic])
    heard = [*broker.poll(0.5), *broker.poll(0.5)]
    return any(isinstance(one, SubscriptionRefused) for one in heard) or not any(
        isinstance(one, Received) for one in heard
    )


def test_a_device_writes_its_own_topics_and_nobody_elses(yard: Yard) -> None:
    device = yard.device("lobby-01")
    for own in (
        "status",
        "info",
        "health",
        "alert/disk_low",
        "cam0/match",
        "cam0/match/late",
        "cam0/presence",
    ):
        assert code(device, f"porter/v1/lobby-01/{own}") < 0x80, own
    assert code(device, "homeassistant/device/lobby-01/config") < 0x80
    for other in (
        "porter/v1/yard-01/status",
        "porter/v1/yard-01/cam0/match",
        "porter/v1/yard-01/cmd/pause",
        "porter/v1/lobby-01/cmd/pause",
        "porter/v1/lobby-01/cam0/snapshot/x",
        "homeassistant/device/yard-01/config",
        "homeassistant/status",
        "anything",
    ):
        assert code(device, other) == NOT_AUTHORISED, other


def test_a_device_hears_its_own_commands_and_nothing_of_another(yard: Yard) -> None:
    other, home = yard.device("yard-01"), yard.user("homeassistant")
    assert code(other, "porter/v1/yard-01/cam0/presence", retain=True) < 0x80
    assert code(home, "porter/v1/yard-01/cmd/identify", retain=True) < 0x80
    device = yard.device("lobby-01")
    for topic in ("porter/v1/yard-01/#", "porter/v1/yard-01/cmd/+", "porter/#", "#"):
        assert refused(device, topic), topic
    assert not refused(other, "porter/v1/yard-01/cmd/+")


def test_a_door_controller_hears_live_matches_and_can_say_nothing(yard: Yard) -> None:
    door, device = yard.user("door"), yard.device("lobby-01")
    door.subscribe(["porter/v1/+/+/match"])
    door.poll(0.3)
    event = msgspec.json.encode(make_event(1))
    for topic in ("cam0/match", "cam0/match/late"):
        device.publish(Message(f"porter/v1/lobby-01/{topic}", event))
    signals = [*poll_until(door, Received), *door.poll(0.5)]
    assert [one.topic for one in signals if isinstance(one, Received)] == ["porter/v1/lobby-01/cam0/match"]
    assert code(door, "porter/v1/lobby-01/cam0/match") == NOT_AUTHORISED
    assert code(door, "porter/v1/lobby-01/cmd/pause") == NOT_AUTHORISED


def test_without_a_certificate_or_with_anothers_nobody_gets_in(yard: Yard, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "other", "other")
    certificate, key = stranger.issue("lobby-01")
    for files in (
        TlsFiles(str(yard.authority.ca)),
        TlsFiles(str(yard.authority.ca), str(certificate), str(key)),
    ):
        broker = MqttBroker("127.0.0.1", yard.devices, client_id="x", tls=files)
        # In TLS 1.3 a client learns only from its first read that its certificate was not good enough.
        with contextlib.suppress(BrokerUnavailable):
            broker.connect(None, 0)
            (signal,) = poll_until(broker, Disconnected)
            assert isinstance(signal, Disconnected)


def test_a_real_forwarder_needs_no_more_than_the_example_gives_it(yard: Yard, tmp_path: Path) -> None:
    certificate, key = yard.authority.issue("lobby-01")
    folder = tmp_path / "site"
    folder.mkdir()
    tls = f"  ca_file: {yard.authority.ca}\n  client_cert_file: {certificate}\n  client_key_file: {key}"
    home = yard.user("homeassistant")
    home.subscribe(["porter/v1/#"])
    with Site(folder, yard.devices, extra=tls) as site:
        site.forwarder.wait_log("connected protocol=5")
        site.commit(1)
        wait_for(lambda: site.depth() == 0, 15, "the event to be delivered")
        home.publish(Message("porter/v1/lobby-01/cmd/republish", b""))
        results: list[bool] = []

        def answered() -> bool:
            heard = [one for one in home.poll(0.05) if isinstance(one, Received)]
            results.extend(
                json.loads(one.payload)["ok"] for one in heard if one.topic.endswith("/republish/result")
            )
            return bool(results)

        wait_for(answered, 15, "the result")
        assert results == [True]
    assert "refused" not in site.forwarder.text()
