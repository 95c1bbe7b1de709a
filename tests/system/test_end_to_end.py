# SPDX-License-Identifier: Apache-2.0
"""Both services as processes, a real mosquitto, real people on video: from a frame to a subscriber, and kill -9.

The clips (adults who walk up, pause and turn their heads) belong to the evaluation data, which does not ship:
`--eval DIR` says where it is, `../shared/eval` beside the checkout by default.
"""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from device.adapters.broker_mosquitto import Mosquitto
from device.payloads import Event, Presence
from tests.service.harness import ServiceDoor
from tests.subscriber import Subscriber, wait_for
from tests.system.services import ROOT, Child

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.subscriber import Seen

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("vision")]

SUBJECT = "intel_head-pose-face-detection-male.gif"  # one man, who turns his head
PASSERS_BY = "intel_face-demographics-walking-and-pause.gif"  # three others, who walk up and stop
PATIENCE_S = 30.0


@pytest.fixture
def clips(request: pytest.FixtureRequest) -> Path:
    """The folder of the clips."""
    folder = Path(request.config.getoption("--eval") or ROOT.parent / "shared" / "eval") / "clips"
    if not (folder / SUBJECT).is_file():
        pytest.skip(f"the evaluation clips are missing: {folder} (say where they are: --eval DIR)")
    return folder


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as running:
        yield running


class Site(ServiceDoor):
    """A door whose camera plays a clip, and its forwarder."""

    def __init__(self, folder: Path, clips: Path, port: int) -> None:
        self._clips = clips
        self._port = port
        super().__init__(folder, clips)
        self.play(SUBJECT)
        arguments = ("device", "forward", "--config", str(self.config_file))
        self.forwarder = Child(folder / "forward.log", *arguments)

    def play(self, clip: str) -> None:
        """Writes the configuration with this clip. The faces are some 40 to 80 px wide in these small pictures."""
        self.configure(
            camera={"path": str(self._clips / clip), "rate_hz": 10},
            zone={"min_face_px": 48},
            recognition={"track_gap_s": 0.3, "visit_end_s": 1, "min_quality": 0.1},
            mqtt={"host": "127.0.0.1", "port": self._port, "tls": False},
        )

    def __exit__(self, *arguments: object) -> None:
        self.forwarder.end()
        super().__exit__(*arguments)


def events(messages: list[Seen]) -> list[Event]:
    """The bodies of matches, live and late, in the order of arrival."""
    return [msgspec.json.decode(m.payload, type=Event) for m in messages if "/match" in m.topic]


def present(messages: list[Seen]) -> int:
    """How many the newest presence names."""
    newest = [message for message in messages if message.topic.endswith("/presence")][-1]
    return len(msgspec.json.decode(newest.payload, type=Presence).present)


def test_a_subject_on_video_is_matched_live_and_three_strangers_are_a_count(
    broker: Mosquitto, clips: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "door"
    folder.mkdir()
    with Subscriber(broker.port) as subscriber, Site(folder, clips, broker.port) as site:
        site.start()
        site.forwarder.start()
        subscriber.wait("/status")
        site.enrol("anna")
        subscriber.wait("/match", 1)

        site.play(PASSERS_BY)
        site.reload()
        subscriber.wait("/match", 2)
        site.wait("three strangers", lambda: site.status().strangers >= 3)
        assert [event.phase for event in events(subscriber.messages)] == ["start", "end"]
        wait_for(lambda: present(subscriber.messages) == 0, PATIENCE_S, "an empty presence")

        site.play(SUBJECT)
        site.reload()
        subscriber.wait("/match", 3)
        assert site.stop() == 0
        subscriber.wait("/match", 4)
        seen = events(subscriber.messages)
        assert [event.phase for event in seen] == ["start", "end", "start", "end"]
        assert [event.seq for event in seen] == [1, 2, 3, 4]
        assert {event.delivery for event in seen} == {"live"}
        assert len({event.person.ref for event in seen}) == 1
        assert min(event.score for event in seen) > seen[0].threshold


@pytest.mark.parametrize("seed", [1, 2])
def test_kill_9_of_either_service_loses_no_committed_event_and_repeats_none_under_another_id(
    broker: Mosquitto, clips: Path, tmp_path: Path, seed: int
) -> None:
    folder = tmp_path / "door"
    folder.mkdir()
    moments = random.Random(seed)
    with Subscriber(broker.port) as subscriber, Site(folder, clips, broker.port) as site:
        site.start()
        site.forwarder.start()
        site.enrol("anna")
        subscriber.wait("/match", 1)
        for round_ in range(6):
            before = len(events(subscriber.messages))
            time.sleep(moments.uniform(0.0, 1.0))  # the moment of the kill
            if moments.random() < 0.5:
                site.kill()
                site.start()
            else:
                site.forwarder.end(signal.SIGKILL)
                for clip in (PASSERS_BY, SUBJECT):  # a visit ends and the next begins while nobody forwards
                    site.play(clip)
                    site.reload()
                site.forwarder.start()
            wait_for(
                lambda before=before: len(events(subscriber.messages)) > before,  # type: ignore[misc]
                PATIENCE_S,
                f"an event after kill {round_}",
            )
        assert site.stop() == 0
        wait_for(lambda: not site.events(), PATIENCE_S, "the outbox to empty")
        ids: dict[int, str] = {}
        for event in events(subscriber.messages):
            assert ids.setdefault(event.seq, event.id) == event.id
        assert sorted(ids) == list(range(1, len(ids) + 1)), "a committed event never arrived"
        assert len(set(ids.values())) == len(ids)
