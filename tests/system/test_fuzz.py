# SPDX-License-Identifier: Apache-2.0
"""Whatever is thrown at the broker or at the control socket: nobody is enrolled and no threshold moves.

Seeded: the same seed throws the same things. `--seed N` throws others.
"""

from __future__ import annotations

import json
import random
import socket
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from device.adapters.broker_mosquitto import Mosquitto
from device.demo_scenes import write_scene
from tests.service.harness import POLICY
from tests.subscriber import Subscriber, wait_for
from tests.system.door import WholeDoor

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("vision")]

DEVICE = "porter/v1/test-door"
TOPICS = [
    *(
        f"{DEVICE}/{name}"
        for name in (
            "status",
            "info",
            "health",
            "config",
            "cmd",
            "cmd/resume",
            "cmd/republish",
            "cmd/enrol",
            "cmd/threshold",
            "command/enrol",
        )
    ),
    *(
        f"{DEVICE}/{name}"
        for name in ("enrol", "import", "gallery", "gallery/import", "subjects", "threshold")
    ),
    *(
        f"{DEVICE}/cam0/{name}"
        for name in ("match", "match/late", "presence", "enrol", "command", "threshold")
    ),
    *(f"{DEVICE}/alert/{name}" for name in ("camera_lost", "x", "a/b/c")),
    "porter/v1/all/command",
    "porter/v1/broadcast/command",
    "porter/command",
    "homeassistant/device/test-door/config",
]
MESSAGES = 400
CONNECTIONS = 150
ENROL = {"type": "enrol", "label": "mallory", "policy_text": POLICY, "acknowledged": True}


def facts(door: WholeDoor) -> tuple[object, ...]:
    """What nobody may change from outside."""
    status = door.status()
    subjects = json.loads(door.porter("subjects", "--json").stdout)
    return status.state, status.subjects, status.threshold, subjects, door.config_file.read_bytes()


@pytest.fixture(scope="module")
def door() -> Iterator[WholeDoor]:
    with tempfile.TemporaryDirectory(prefix="porter-fuzz-") as name:
        folder = Path(name)
        scenes = folder / "scenes"
        write_scene(scenes / "nobody", None, frames=4)
        write_scene(scenes / "anna", "astronaut", frames=8)
        site = folder / "door"
        site.mkdir()
        with Mosquitto(folder / "broker") as broker, WholeDoor(site, scenes, broker) as made:
            made.start()
            made.show("anna")
            made.enrol("anna")
            made.show("nobody")
            made.forwarder.start()
            made.forwarder.wait_log("connected protocol=5")
            yield made


@pytest.fixture
def dice(request: pytest.FixtureRequest) -> random.Random:
    seed: int = request.config.getoption("--seed")
    print(f"seed {seed}")
    return random.Random(seed)


def payload(dice: random.Random) -> bytes:
    """Garbage, or something that a careless service would take for an order."""
    orders: list[Any] = [
        ENROL,
        {"command": "enrol", "label": "mallory", "embedding": [0.1] * 128},
        {"command": "import", "references": [[0.1] * 128]},
        {"threshold": 0.1},
        {"recognition": {"threshold": 0.3, "target_fpir": 0.05}},
        {"type": "withdraw", "subject": "anna"},
        {"type": "pause"},
        {"v": 1, "device": "test-door", "present": []},
    ]
    kind = dice.randrange(5)
    if kind == 0:
        return dice.randbytes(dice.randrange(0, 300))
    if kind == 1:
        return dice.randbytes(dice.randrange(50_000, 200_000))
    text = bytearray(json.dumps(dice.choice(orders)).encode())
    if kind == 2:
        text[dice.randrange(len(text))] = dice.randrange(256)
    if kind == 3:
        del text[dice.randrange(len(text)) :]
    return bytes(text)


def test_no_message_enrols_anybody_or_moves_a_threshold(door: WholeDoor, dice: random.Random) -> None:
    before = facts(door)
    subscriber = Subscriber(door.broker.port, judges=False)
    attacker = Client(CallbackAPIVersion.VERSION2, client_id="mallory", protocol=MQTTProtocolVersion.MQTTv5)
    attacker.connect("127.0.0.1", door.broker.port)
    attacker.loop_start()
    try:
        for _ in range(MESSAGES):
            sent = attacker.publish(
                dice.choice(TOPICS), payload(dice), qos=dice.randrange(2), retain=dice.random() < 0.3
            )
        sent.wait_for_publish(30)
        # The forwarder says something new of its own after all that: it lives, and so does its connection.
        shown = len(subscriber.on("/presence"))
        door.show("anna")
        wait_for(lambda: len(subscriber.on("/presence")) > shown, 30, "presence of anna")
        door.show("nobody")
        door.wait("nobody", lambda: door.status().present == 0)
    finally:
        attacker.loop_stop()
        attacker.disconnect()
        subscriber.close()
    assert facts(door) == before
    log = door.forwarder.text()
    assert "Traceback" not in log
    assert "disconnected" not in log


def line(dice: random.Random) -> bytes:
    """What somebody may write into the control socket: half of it nearly right."""
    requests: list[dict[str, Any]] = [
        ENROL | {"embedding": [0.1] * 128},
        ENROL | {"acknowledged": False},
        ENROL | {"policy_text": ""},
        ENROL | {"label": "x" * 300},
        {"type": "enrol", "label": "mallory", "image": "aGVsbG8="},
        {"type": "withdraw", "subject": "nobody-of-this-name"},
        {"type": "rename", "subject": "nobody-of-this-name", "label": "x"},
        {"type": "renew", "subject": "nobody-of-this-name", "policy_text": POLICY, "acknowledged": True},
        {"type": "status", "threshold": 0.1},
        {"type": "import", "references": []},
        {"type": "set", "threshold": 0.1},
    ]
    kind = dice.randrange(4)
    if kind == 0:
        return dice.randbytes(dice.randrange(1, 2000))
    text = bytearray(json.dumps(dice.choice(requests)).encode())
    if kind == 1:
        del text[dice.randrange(len(text)) :]
    if kind == 2:
        text += b" " * dice.randrange(1_000_000)
    return bytes(text) + b"\n" * dice.randrange(3)


def test_nothing_written_into_the_socket_enrols_anybody(door: WholeDoor, dice: random.Random) -> None:
    before = facts(door)
    for _ in range(CONNECTIONS):
        with socket.socket(socket.AF_UNIX) as caller:
            caller.settimeout(10)
            try:
                caller.connect(str(door.socket))
                caller.sendall(line(dice))
                if dice.random() < 0.5:
                    caller.shutdown(socket.SHUT_WR)
                    answer = caller.recv(4096)
                    assert b'"done"' not in answer, answer
            except (BrokenPipeError, ConnectionResetError):
                continue
    assert facts(door) == before
    assert "Traceback" not in door.log()


def test_who_withdraws_is_gone_with_the_next_frames(door: WholeDoor) -> None:
    """Last, since nobody is enrolled any more after it. How long it took is printed; it is to be a second at most."""
    door.show("anna")
    door.wait("anna", lambda: door.status().present == 1)
    frames, started = door.status().frames, time.monotonic()
    assert door.porter("withdraw", "anna", "--yes").returncode == 0
    answered = time.monotonic()
    status = door.status()
    assert (status.present, status.subjects) == (0, 0), "gone before the command says so"
    embedded = status.embedded
    door.wait("more frames", lambda: door.status().frames > frames + 40)
    assert door.status().embedded == embedded, "with nobody enrolled, nobody is embedded"
    assert [event.phase for event in door.events()][-1:] in (["end"], [])
    print(f"withdrawn after {answered - started:.2f} s, the command's own start included")
