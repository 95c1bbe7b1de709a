# SPDX-License-Identifier: Apache-2.0
"""A site's mosquitto that hands on to a central one, as docs/fleet.md has it, and what it does not hand on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec
import pytest

from device.adapters.broker_mosquitto import Mosquitto
from device.payloads import Event
from tests.subscriber import Subscriber, wait_for
from tests.system.services import ROOT, Site

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.system


def bridge(port: int) -> list[str]:
    """The lines of docs/fleet.md, towards a central broker on loopback, without its TLS."""
    (block,) = re.findall(
        r"```\n(connection site-7\n.*?)```", (ROOT / "docs" / "fleet.md").read_text(), re.DOTALL
    )
    lines = [line for line in block.splitlines() if not line.startswith("bridge_cafile")]
    return [
        *(f"address 127.0.0.1:{port}" if line.startswith("address") else line for line in lines),
        "restart_timeout 1",
    ]


def test_events_reach_the_central_broker_and_no_command_comes_back(tmp_path: Path) -> None:
    with (
        Mosquitto(tmp_path / "central") as central,
        Mosquitto(tmp_path / "site", *bridge(central.port)) as broker,
        Subscriber(central.port, "porter/#") as audit,
        Subscriber(broker.port, "porter/v1/+/cmd/#", judges=False) as local,
        Site(tmp_path, broker.port) as site,
    ):
        site.forwarder.wait_log("connected")
        wait_for(lambda: [seen.payload for seen in audit.on("/status")] == [b"online"], 15, "the status")
        audit.publish("porter/v1/lobby-01/cmd/pause", b"{}")
        site.commit(1, 2)
        live = audit.wait("/match", 2)
        assert seqs(audit) == [1, 2]
        assert all(seen.expiry_s is not None and seen.expiry_s <= 5 for seen in live)
        assert [seen for seen in local.messages if seen.topic.endswith("/cmd/pause")] == []


def test_what_does_not_expire_waits_in_the_bridge_while_the_central_broker_is_away(tmp_path: Path) -> None:
    late = "porter/v1/lobby-01/cam0/match/late"
    with (
        Mosquitto(tmp_path / "central") as central,
        Mosquitto(tmp_path / "site", *bridge(central.port)) as broker,
        Subscriber(central.port, "porter/#", durable=True, judges=False) as audit,
        Subscriber(broker.port, "nothing", judges=False) as device,
    ):
        device.publish(late, b"before")
        audit.wait("late")
        central.stop()
        device.publish(late, b"meanwhile")
        central.start()
        wait_for(lambda: b"meanwhile" in [seen.payload for seen in audit.on("late")], 40, "what waited")


def seqs(ear: Subscriber) -> list[int]:
    """Which events came, in their order."""
    bodies = [seen.payload for seen in list(ear.messages) if "/match" in seen.topic]
    return [msgspec.json.decode(body, type=Event).seq for body in bodies]
