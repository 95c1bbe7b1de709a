# SPDX-License-Identifier: Apache-2.0
"""Run recorded frames through the pipeline and print what it decides.

For tuning a zone or a threshold on a recording of one's own: a folder of pictures, a GIF or a video file, through
the very pipeline of the vision service, with time running by the frames from now on, and not by the clock. Nothing is
stored, and nobody is enrolled. Without --gallery nobody is known, so nobody is embedded either.
"""

from __future__ import annotations

import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from device.adapters.clock import ManualClock, SystemClock
from device.adapters.gallery_sqlite import SqliteGallery
from device.assembly import make_events, make_pipeline
from device.camera_assembly import make_camera
from device.config import load
from device.errors import InputError, StorageError
from device.loaded_models import Models, load_models
from device.options import Config
from device.recognition.gallery import Gallery
from device.sealing import read_device_key

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from device.payloads import Event
    from device.pipeline import Pipeline
    from device.ports import Camera
    from device.recognition.events import EventMaker
    from device.records import Frame


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("frames", type=Path, help="a folder of pictures, a GIF or a video file")
    parser.add_argument("--config", type=Path, help="a porter.yaml; without it the defaults hold")
    parser.add_argument(
        "--rate", type=float, metavar="HZ", help="frames a second of the recording (default: camera.rate_hz)"
    )
    parser.add_argument(
        "--gallery", type=Path, help="a gallery enrolled in a simulation; one of a real camera is refused"
    )
    parser.add_argument("--json", action="store_true", help="print events as JSON lines, without the summary")


def run(args: argparse.Namespace) -> int:
    """Replays the recording; 0 when it came to its end."""
    config = load(args.config) if args.config else Config()
    rate_hz = args.rate if args.rate is not None else config.camera.rate_hz or 10.0
    if not 0.1 <= rate_hz <= 1000:
        raise InputError(f"--rate: expected 0.1 to 1000 frames a second, got {rate_hz:g}")
    replay = make_replay(config, args.frames, rate_hz)
    if (lost := replay.models.lost()) is not None:
        print(f"on the CPU instead: {lost.message}", file=sys.stderr)
    if args.gallery is not None:
        replay.know(read_gallery(args.gallery, replay))
    for frame, events in replay.play():
        for event in events:
            print(msgspec.json.encode(event).decode() if args.json else line(frame, event), flush=True)
    if not args.json:
        print(summary(replay.pipeline), end="")
    return 0


@dataclass(frozen=True, slots=True)
class Replay:
    """A pipeline, a source of recorded frames, and a clock that the frames turn."""

    pipeline: Pipeline
    maker: EventMaker
    models: Models
    camera: Camera
    clock: ManualClock
    period_s: float

    def know(self, gallery: Gallery) -> None:
        """Takes a gallery snapshot before the first frame."""
        self.pipeline.sightings.adopt(gallery, self.clock.now())

    def play(self) -> Iterator[tuple[Frame, list[Event]]]:
        """Every frame with the events that it decides; visits still open at the end are ended with the last one."""
        self.camera.open()
        try:
            frame = self.camera.capture(60.0)
            while frame is not None:
                decided = self.pipeline.process(frame)
                self.clock.advance(self.period_s)
                coming = self.camera.capture(60.0)
                if coming is None:
                    decided += self.pipeline.sightings.end_all(frame.captured)
                yield frame, [self.maker.event(sighting) for sighting in decided]
                frame = coming
        finally:
            self.camera.close()


def make_replay(config: Config, frames: Path, rate_hz: float) -> Replay:
    """A replay of `frames` with an empty gallery."""
    clock = ManualClock(
        utc_ns=SystemClock().now().utc_ns
    )  # whose consent has ended by today is not known here either
    models = load_models(config)
    maker = make_events(config, models, clock.boot_id, secrets.randbits)
    source = msgspec.structs.replace(
        config.camera, source="files", path=str(frames.absolute()), rate_hz=0.0, loop=False
    )
    picture = models.detector.manifest.input
    camera = make_camera(
        msgspec.structs.replace(config, camera=source), clock, (picture.width_px, picture.height_px)
    )
    return Replay(make_pipeline(config, models, maker), maker, models, camera, clock, 1.0 / rate_hz)


def read_gallery(path: Path, replay: Replay) -> Gallery:
    """The subjects of a simulated gallery file that no service has open, opened as a service opens it."""
    if not path.is_file():
        raise InputError(
            f"{path}: expected a gallery file, found none", hint="a simulation keeps it in device.state_dir"
        )
    embedder = replay.models.embedder
    store = SqliteGallery(
        path,
        simulated=True,
        embedder=embedder.manifest.name,
        embedder_sha256=embedder.variant.sha256,
        dimension=replay.pipeline.embedder.dimension,
        device_key=read_device_key(None, path.parent, make=False),
    )
    try:
        if store.set_aside is not None:
            raise StorageError(
                f"{path}: damaged; it was set aside as {store.set_aside.name}",
                hint="enrol again in the simulation, or put back a copy of the file",
            )
        return Gallery(store.load(replay.clock.now().utc_ns), basis=store.basis)
    finally:
        store.close()


def line(frame: Frame, event: Event) -> str:
    """One decision as people read it."""
    return (
        f"frame {frame.sequence:>6}  {event.phase:<5}  {event.person.ref}  score {event.score:.2f}"
        f"  (threshold {event.threshold:.2f}, margin {event.margin:.2f}, {event.frames} samples)"
    )


def summary(pipeline: Pipeline) -> str:
    """What the pipeline counted."""
    counters = pipeline.counters
    rows = [
        ("frames", counters.frames),
        ("of them still", counters.still),
        ("faces", counters.faces),
        ("not presented: outside the zone", counters.refused["outside_zone"]),
        ("not presented: too small", counters.refused["too_small"]),
        ("not presented: turned away", counters.refused["turned_away"]),
        ("presented", counters.presented),
        ("embedded", counters.embedded),
        ("decided to be strangers", pipeline.sightings.strangers),
    ]
    if len(pipeline.sightings.gallery) == 0:
        print("nobody is known here (--gallery), so nobody was embedded", file=sys.stderr)
    return "".join(f"{name:<34}{number:>8}\n" for name, number in rows)
