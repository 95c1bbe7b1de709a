# SPDX-License-Identifier: Apache-2.0
"""A real Home Assistant core finds the device through a real mosquitto, hears its matches and works its switches.

Needs Home Assistant in an environment of its own, Python 3.13: `make home-assistant` makes it and says where it is.
"""

from __future__ import annotations

import json
import re
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec
import pytest

from device.adapters.broker_mosquitto import Mosquitto
from device.adapters.clock import SystemClock
from device.adapters.outbox_sqlite import SqliteOutbox
from device.adapters.state_file import FileStateBoard
from device.adapters.wish_file import FileWishes
from device.folders import BOARD, FORWARD, SHARED, WISHES
from device.payloads import InferenceTimes, ServiceState, VisionFigures, VisionInfo
from tests.events import make_event
from tests.subscriber import wait_for
from tests.system.services import Site, event_now

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.system
CORE = Path(__file__).parent / "core.py"
DOCS = Path(__file__).parents[2] / "docs" / "home-assistant.md"
ENTITIES = {
    "binary_sensor.porter_lobby_01_connection",
    "button.porter_lobby_01_identify",
    "event.porter_lobby_01_match",
    "sensor.porter_lobby_01_cpu_temperature",
    "sensor.porter_lobby_01_detector_time_p95",
    "sensor.porter_lobby_01_edge_tpu_temperature",
    "sensor.porter_lobby_01_embedder_time_p95",
    "sensor.porter_lobby_01_events_dropped",
    "sensor.porter_lobby_01_events_waiting",
    "sensor.porter_lobby_01_frame_rate",
    "sensor.porter_lobby_01_free_disk_space",
    "switch.porter_lobby_01_pause",
}


class Core:
    """Home Assistant as a process; what its entities last said."""

    def __init__(self, python: str, folder: Path, port: int) -> None:
        self.states: dict[str, dict[str, Any]] = {}
        self.history: list[dict[str, Any]] = []
        self.notified: list[str] = []
        folder.mkdir()
        (folder / "configuration.yaml").write_text("{}\n")
        (folder / "automations.yaml").write_text(documented_automation())
        self._errors = (folder / "errors.log").open("wb")
        self.process = subprocess.Popen(
            [python, str(CORE), str(folder), str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def call(self, domain: str, service: str, entity: str) -> None:
        """Calls a service."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{domain} {service} {entity}\n".encode())
        self.process.stdin.flush()

    def state(self, entity: str) -> str:
        """What the entity last said; empty where it has not appeared."""
        return str(self.states.get(entity, {}).get("state", ""))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join(5)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._errors.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            said = json.loads(line)
            if "entity" in said:
                self.history.append(said)
                self.states[said["entity"]] = said
            elif "notified" in said:
                self.notified.append(said["notified"])


def documented_automation() -> str:
    """The example of docs/home-assistant.md, as it stands there."""
    text = DOCS.read_text(encoding="utf-8")
    (found,) = re.findall(r"^```yaml\n(automation:\n.*?)^```", text, re.MULTILINE | re.DOTALL)
    return str(found)


def valid_for(seconds: int) -> str:
    """RFC 3339, so far from now."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.000Z")


@pytest.fixture
def python(request: pytest.FixtureRequest) -> str:
    path: str | None = request.config.getoption("--homeassistant-python")
    if not path:
        pytest.skip("Home Assistant is not tried: make home-assistant")
    return path


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Mosquitto(tmp_path / "broker") as broker, Site(tmp_path, broker.port) as site:
        yield site


def show(site: Site, *, paused: bool, wish: int = 0) -> None:
    """The vision service shows itself."""
    figures = VisionFigures(
        9.8, 1234, [InferenceTimes("detector", 3.1, 3.4), InferenceTimes("embedder", 2.2, 2.9)]
    )
    state = ServiceState(
        boot_ns=SystemClock().now().boot_ns,
        stopping=False,
        info=VisionInfo(cameras=[], models=[], subjects=1),
        presence=[],
        troubles=[],
        paused=paused,
        wish=wish,
        figures=figures,
    )
    (site.folder / SHARED).mkdir(exist_ok=True)
    FileStateBoard(site.folder / SHARED / BOARD).show(state)


def test_home_assistant_finds_hears_and_works_the_device(site: Site, python: str, tmp_path: Path) -> None:
    show(site, paused=False)
    site.forwarder.wait_log("connected")
    with Core(python, tmp_path / "ha", site.port) as home:
        wait_for(lambda: set(home.states) >= ENTITIES, 60, f"the entities; there are {sorted(home.states)}")
        wait_for(lambda: home.state("binary_sensor.porter_lobby_01_connection") == "on", 30, "the connection")
        wait_for(lambda: home.state("switch.porter_lobby_01_pause") == "off", 30, "the switch")

        # An event of an earlier boot is late: it must not fire. The live one after it must.
        outbox = SqliteOutbox(site.outbox)
        outbox.append([make_event(1, boot="00000bad")])
        outbox.close()
        site.commit(2)
        event = "event.porter_lobby_01_match"
        wait_for(lambda: home.states[event]["attributes"].get("event_type") == "start", 30, "the match")
        fired = [
            said["attributes"]["seq"]
            for said in home.history
            if said["entity"] == event and said["attributes"].get("event_type")
        ]
        assert len(fired) == 1
        attributes = home.states[event]["attributes"]
        assert (attributes["delivery"], attributes["person"]) == ("live", {"ref": "p_7f3a"})

        # The documented automation greets nobody for that one, whose valid_until is over, but for the next.
        outbox = SqliteOutbox(site.outbox)
        outbox.append([msgspec.structs.replace(event_now(SystemClock(), 3), valid_until=valid_for(30))])
        outbox.close()
        wait_for(lambda: bool(home.notified), 30, "the greeting")
        assert home.notified == ["p_7f3a is at the door"]

        home.call("switch", "turn_on", "switch.porter_lobby_01_pause")
        wishes = FileWishes(site.folder / FORWARD / WISHES)
        wait_for(
            lambda: (wish := wishes.read()) is not None and wish.verb == "pause", 30, "the wish to pause"
        )
        show(site, paused=True, wish=1)
        wait_for(lambda: home.state("switch.porter_lobby_01_pause") == "on", 30, "the switch")
        home.call("switch", "turn_off", "switch.porter_lobby_01_pause")
        wait_for(
            lambda: (wish := wishes.read()) is not None and wish.verb == "resume", 30, "the wish to resume"
        )
        home.call("button", "press", "button.porter_lobby_01_identify")
        site.forwarder.wait_log("command verb=identify")

        # The figures of `health` come with the next connection, 2 s after it.
        site.forwarder.end()
        wait_for(lambda: home.state("binary_sensor.porter_lobby_01_connection") == "off", 30, "it to be gone")
        show(site, paused=False)
        site.forwarder.start()
        wait_for(lambda: home.state("sensor.porter_lobby_01_frame_rate") == "9.8", 30, "the frame rate")
        assert home.state("sensor.porter_lobby_01_detector_time_p95") == "3.4"
        assert home.state("sensor.porter_lobby_01_events_waiting") == "0"
        show(site, paused=False)
    print(json.dumps(dict(sorted(home.states.items())), indent=1))
