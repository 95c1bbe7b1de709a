# SPDX-License-Identifier: Apache-2.0
"""The flow of config/node-red in a real Node-RED, on a real mosquitto: who is greeted, and who is not.

Needs Node-RED in a folder of its own: `make node-red` installs it and says where it is.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from paho.mqtt.publish import single

from device.adapters.broker_mosquitto import Mosquitto
from device.loopback import free_ports
from tests.events import make_event
from tests.subscriber import Subscriber, wait_for

if TYPE_CHECKING:
    from device.payloads import Event

pytestmark = pytest.mark.system
FLOW = Path(__file__).parents[2] / "config" / "node-red" / "porter.json"
LIVE, LATE = "porter/v1/lobby-01/cam0/match", "porter/v1/lobby-01/cam0/match/late"


@pytest.fixture
def node_red(request: pytest.FixtureRequest) -> str:
    path: str | None = request.config.getoption("--node-red")
    if not path:
        pytest.skip("Node-RED is not tried: make node-red")
    return path


def flow_for(port: int) -> str:
    """The flow as it ships, but for the address of its broker."""
    nodes = json.loads(FLOW.read_text(encoding="utf-8"))
    (broker,) = (node for node in nodes if node["type"] == "mqtt-broker")
    broker |= {"broker": "127.0.0.1", "port": str(port), "usetls": False}
    return json.dumps(nodes)


def event(number: int, seconds: int, phase: str = "start") -> Event:
    """One that is valid so long from now."""
    ends = (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return make_event(number, valid_until=ends, phase=phase)


def test_the_flow_greets_once_and_only_who_is_there_now(node_red: str, tmp_path: Path) -> None:
    log = tmp_path / "node-red.log"
    with Mosquitto(tmp_path / "broker") as broker:

        def publish(topic: str, one: Event, *, retain: bool = False) -> None:
            single(topic, msgspec.json.encode(one), qos=1, retain=retain, port=broker.port)

        publish(LIVE, event(1, 30), retain=True)  # which Porter never does
        (tmp_path / "flow.json").write_text(flow_for(broker.port), encoding="utf-8")
        with log.open("wb") as file:
            process = subprocess.Popen(
                [node_red, "--userDir", str(tmp_path / "user"), "--port", str(free_ports()[0]), "flow.json"],
                cwd=tmp_path,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env={**os.environ, "HOME": str(tmp_path)},
            )
        try:
            with Subscriber(broker.port, "door/#", judges=False) as subscriber:
                wait_for(lambda: "Connected to broker" in log.read_text(), 90, f"Node-RED, see {log}")
                time.sleep(1)  # its subscriptions follow the connection
                publish(LIVE, event(2, -1))  # over
                publish(LIVE, event(3, 30, "end"))
                publish(LATE, event(4, 30))
                publish(LIVE, event(5, 30))
                publish(LIVE, event(5, 30))  # a repeat
                publish(LIVE, event(6, 30))
                wait_for(lambda: len(subscriber.messages) >= 2, 30, f"two greetings, see {log.read_text()}")
                time.sleep(1)
                said = [message.payload for message in subscriber.messages]
                assert said == [b"p_7f3a is at lobby-01"] * 2
        finally:
            process.terminate()
            process.wait(20)
