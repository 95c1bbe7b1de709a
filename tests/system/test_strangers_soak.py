# SPDX-License-Identifier: Apache-2.0
"""A crowd of strangers passes the real vision service: then nothing of any of them is anywhere.

Searched are the process's memory once they are gone, every file that either service wrote, every message at the
broker, and the logs. `--strangers N` (make soak-strangers) makes the crowd larger.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from device.adapters.broker_mosquitto import Mosquitto
from device.adapters.gallery_sqlite import SqliteGallery
from device.adapters.models_folder import default_folder, load_manifest, pick_variant
from device.config import load
from device.demo_scenes import write_scene
from device.recognition.gallery import template_of
from device.sealing import read_device_key
from tests.subscriber import Subscriber
from tests.system import crowd
from tests.system.door import WholeDoor
from tests.system.services import ROOT
from tests.system.traces import Traces, files_in, memory_of

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("vision")]

LABEL = "canary-7f3a"
RATE_HZ = 20
# Sees the crowd as the service does, and keeps all of it: what the search has to find there.
HOLDER = """
import sys
from pathlib import Path
from device.config import load
from tests.system import crowd
held = crowd.looks(load(Path(sys.argv[1])), Path(sys.argv[2]))
print(len(held), flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def door(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeDoor]:
    """A door with one enrolled subject, its forwarder and a broker, before which the crowd has not passed yet."""
    folder = tmp_path_factory.mktemp("soak")
    scenes = folder / "scenes"
    write_scene(scenes / "nobody", None, frames=8)
    write_scene(scenes / "anna", "astronaut", frames=8)
    data = Path(request.config.getoption("--eval") or ROOT.parent / "shared" / "eval")
    crowd.draw(scenes / "crowd", crowd.strangers(data, request.config.getoption("--strangers")))
    site = folder / "door"
    site.mkdir()
    rule = {"track_gap_s": 0.3, "visit_end_s": 0.5, "max_frames": 3, "min_quality": 0.0}
    with (
        Mosquitto(folder / "broker") as broker,
        WholeDoor(site, scenes, broker, camera={"rate_hz": RATE_HZ}, recognition=rule) as made,
    ):
        made.start()
        made.show("anna")
        made.enrol(LABEL)
        yield made


def test_of_a_crowd_of_strangers_nothing_is_left(door: WholeDoor, request: pytest.FixtureRequest) -> None:
    number: int = request.config.getoption("--strangers")
    config = load(door.config_file)
    seen = crowd.looks(config, door.folder.parent / "scenes" / "crowd")
    assert len({look.stranger for look in seen}) >= 0.95 * number, "the crowd is not seen"
    here = Traces()
    for place, look in enumerate(seen):
        here.add_crop(f"stranger {look.stranger} look {place}", look.crop)
        here.add_embedding(f"stranger {look.stranger} look {place}", look.embedding)
        here.add_embedding(f"stranger {look.stranger} look {place} unscaled", look.output)
    subscriber = Subscriber(door.broker.port)
    forwarder = door.forwarder.start()
    door.wait("the canary's visit", lambda: subscriber.on("/match"))

    holder = hold(door)
    door.show("crowd")
    round_s = number * (crowd.LOOKS + crowd.GAP) / RATE_HZ
    door.wait("the crowd to pass", lambda: door.status().strangers >= 0.9 * number, within_s=3 * round_s + 60)
    door.show("nobody")
    frames = door.status().frames
    door.wait("an empty door", lambda: door.status().frames > frames + 2 * RATE_HZ)
    status = door.status()
    assert status.present == 0

    door.signal(signal.SIGSTOP)
    memory = list(memory_of(door.process.pid))
    files = list(files_in(door.folder))
    door.signal(signal.SIGCONT)
    assert door.stop() == 0
    forwarder.end()
    subscriber.close()
    messages = [message.topic.encode() + b"\n" + message.payload for message in subscriber.messages]
    logs = [door.log().encode(), forwarder.text().encode()]

    embedder = pick_variant(load_manifest(default_folder(), config.models.embedder), "cpu")
    gallery = SqliteGallery(
        door.gallery,
        simulated=True,
        embedder=config.models.embedder,
        embedder_sha256=embedder.sha256,
        dimension=embedder.outputs["embedding"].shape[1],
        device_key=read_device_key(None, door.state_dir, make=False),
    )
    for place, look in enumerate(seen):
        here.add_embedding(
            f"stranger {look.stranger} look {place} in the basis", gallery.basis @ look.embedding
        )
    (enrolled,) = gallery.load(time.time_ns())
    gallery.close()
    held = held_by(holder, here)
    for kind in ("crop", "embedding", "unscaled"):
        missing = [place for place in range(len(seen)) if (str(place), kind) not in held]
        assert len(missing) < 0.05 * len(seen), f"the search does not find a {kind} that is kept: {missing}"
    canary = Traces()
    canary.add_embedding("template", template_of(enrolled.references))
    assert canary.found(memory), (
        "the search does not find the enrolled template in memory: it would find nobody"
    )

    assert here.found(messages) == []
    assert here.found(logs) == []
    assert here.found(files) == []
    assert here.found(files_in(door.folder)) == []
    assert here.found(memory) == [], f"{len(memory)} pieces of memory"
    assert canary.found([*files, *messages, *logs]) == [], "a template is sealed wherever it is stored"
    said = b"\n".join([*messages, *logs])
    assert LABEL.encode() not in said, "labels are published only where the configuration says so"
    assert {message.topic for message in subscriber.messages if "/match" in message.topic} <= {
        "porter/v1/test-door/cam0/match",
        "porter/v1/test-door/cam0/match/late",
    }
    print(f"strangers={status.strangers} embedded={status.embedded} patterns={len(here.patterns)}")


def hold(door: WholeDoor) -> subprocess.Popen[bytes]:
    """Another process that sees the same crowd by the same code, and keeps what it sees."""
    command = [
        sys.executable,
        "-c",
        HOLDER,
        str(door.config_file),
        str(door.folder.parent / "scenes" / "crowd"),
    ]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)


def held_by(holder: subprocess.Popen[bytes], here: Traces) -> set[tuple[str, str]]:
    """What the search finds in that process: look and kind of trace."""
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline().strip().isdigit()
        found = here.found(memory_of(holder.pid))
        holder.kill()
    return {(name.partition(" look ")[2].split()[0], name.split()[4]) for name in found}
