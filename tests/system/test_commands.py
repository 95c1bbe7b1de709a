# SPDX-License-Identifier: Apache-2.0
"""Commands from a real broker to both real services and back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from device.adapters.broker_mosquitto import Mosquitto
from device.demo_scenes import write_scene
from tests.subscriber import Subscriber, wait_for
from tests.system.door import WholeDoor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("vision")]

CMD = "porter/v1/test-door/cmd"


@pytest.fixture
def door(tmp_path: Path) -> Iterator[WholeDoor]:
    write_scene(tmp_path / "scenes" / "nobody", None, frames=4)
    site = tmp_path / "door"
    site.mkdir()
    with (
        Mosquitto(tmp_path / "broker") as broker,
        WholeDoor(site, tmp_path / "scenes", broker) as door,
    ):
        door.show("nobody")
        door.start()
        door.forwarder.start()
        door.forwarder.wait_log("connected")
        yield door


def result(subscriber: Subscriber, verb: str, count: int = 1) -> dict[str, Any]:
    """The newest of so many results."""
    said: dict[str, Any] = json.loads(subscriber.wait(f"/cmd/{verb}/result", count, 30)[-1].payload)
    return said


def test_a_door_is_paused_and_resumed_by_the_broker_even_after_its_restart(door: WholeDoor) -> None:
    with Subscriber(door.broker.port) as subscriber:
        subscriber.publish(f"{CMD}/pause", b'{"corr": "a"}')
        said = result(subscriber, "pause")
        assert (said["ok"], said["corr"], said["error"]) == (True, "a", "")
        assert door.status().state == "paused"
        wait_for(lambda: b'"paused":true' in subscriber.on("/info")[-1].payload, 15, "info to say so")
    door.broker.stop()
    door.broker.start()
    with Subscriber(door.broker.port) as subscriber:
        wait_for(lambda: any(s.payload == b"online" for s in subscriber.on("/status")), 30, "online")
        subscriber.publish(f"{CMD}/resume", b"")
        assert result(subscriber, "resume")["ok"]
        assert door.status().state == "running"


def test_republish_sends_what_is_retained_again_and_no_command_enrols(door: WholeDoor) -> None:
    with Subscriber(door.broker.port, judges=False) as subscriber:
        shown = len(subscriber.on("/info"))
        subscriber.publish(f"{CMD}/republish", b"")
        assert result(subscriber, "republish")["ok"]
        wait_for(lambda: len(subscriber.on("/info")) > shown, 15, "info again")
        subscriber.publish(f"{CMD}/enrol", b'{"label": "mallory"}')
        assert result(subscriber, "enrol")["error"] == "malformed"
        assert json.loads(door.porter("subjects", "--json").stdout)["subjects"] == []


def test_restart_ends_both_services_in_order(door: WholeDoor) -> None:
    assert door.forwarder.process is not None
    with Subscriber(door.broker.port) as subscriber:
        subscriber.publish(f"{CMD}/restart", b"")
        assert result(subscriber, "restart")["ok"]
        assert door.forwarder.process.wait(30) == 0
        assert subscriber.wait("/status", 1, 15)[-1].payload == b"offline"
    wait_for(lambda: "stopping" in door.log(), 30, "the vision service to end")
