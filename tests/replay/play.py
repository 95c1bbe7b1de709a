# SPDX-License-Identifier: Apache-2.0
"""Plays a case: enrols a portrait live through the real models, then shows a visit and writes down what was decided."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from device.assembly import make_events, make_pipeline
from device.demo_scenes import scene
from device.loaded_models import Models, load_models
from device.options import Config, InferenceOptions
from device.ports import EnrolledReferences
from device.recognition.enrolment import EnrolmentSession
from device.recognition.gallery import Gallery
from device.records import Frame
from device.vision.views import lores_and_luma
from tests.people import NS, at, subject
from tests.scenes import RATE_HZ, visit

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from device.demo_scenes import Person
    from device.pipeline import Pipeline
    from device.records import Sighting

GOLDEN = Path(__file__).parent / "golden"
CONFIG = Config(inference=InferenceOptions(threads=1))
NUMBERS: dict[Person, int] = {"astronaut": 1, "hopper": 2}
# How far a number may be from the golden one: another processor rounds differently, and a sample more or less in a
# visit moves the fused score. Phases, subjects and their order must be the same.
TOLERANCE = {"at_s": 0.3, "score": 0.04, "margin": 0.06, "frames": 2, "quality": 0.1}


@dataclass(frozen=True)
class Case:
    """Who is enrolled, and who comes to the door."""

    enrolled: tuple[Person, ...]
    visitor: Person
    size_px: tuple[int, int] = (640, 480)
    face_px: float = 130.0


CASES = {
    "subject": Case(("astronaut",), "astronaut"),
    "subject-1280x720": Case(("astronaut",), "astronaut", (1280, 720), 180.0),
    "one-of-two": Case(("astronaut", "hopper"), "hopper"),
    "stranger": Case(("astronaut",), "hopper"),
    "other-stranger": Case(("hopper",), "astronaut"),
    "passer-by": Case(("astronaut",), "astronaut", face_px=56.0),
}


@cache
def models() -> Models:
    """The models that ship, on the CPU; loaded once for all cases."""
    return load_models(CONFIG)


def pipeline() -> Pipeline:
    """A pipeline as the service builds it."""
    maker = make_events(CONFIG, models(), "b0070001", lambda bits: 2**bits - 1)
    return make_pipeline(CONFIG, models(), maker)


def frame(number: int, picture: Image.Image) -> Frame:
    """A camera's frame of this picture."""
    main = np.asarray(picture)
    wanted = models().detector.manifest.input
    lores, luma = lores_and_luma(main, (wanted.width_px, wanted.height_px))
    return Frame(number, at(number / RATE_HZ), main, lores, luma)


def enrolling() -> tuple[Pipeline, EnrolmentSession]:
    """A pipeline in which an enrolment runs, with the default options."""
    made, options = pipeline(), CONFIG.enrolment
    session = EnrolmentSession(
        most=options.references,
        min_quality=options.min_quality,
        pose_wait_ns=0,  # nobody turns their head in a portrait
        timeout_ns=round(options.timeout_s * NS),
        too_close=made.sightings.threshold,
    )
    made.enrolment = session
    return made, session


@cache
def references(person: Person) -> NDArray[np.float32]:
    """What an enrolment of this person at the device gives."""
    made, session = enrolling()
    for number, picture in enumerate(scene(person, frames=56, seed=9)):
        made.process(frame(number, picture))
    return session.references()


def play(case: Case) -> dict[str, Any]:
    """What was decided when, and what was counted."""
    known = [EnrolledReferences(subject(NUMBERS[person]), references(person)) for person in case.enrolled]
    made = pipeline()
    made.sightings.adopt(Gallery(known), at(0))
    decided: list[Sighting] = []
    for number, picture in enumerate(visit(case.visitor, size_px=case.size_px, face_px=case.face_px)):
        decided += made.process(frame(number, picture))
    return {
        "events": [told(sighting) for sighting in decided],
        "visits_open": len(made.sightings.visits),
        "strangers": made.sightings.strangers,
        "anyone_embedded": made.counters.embedded > 0,
    }


def told(sighting: Sighting) -> dict[str, Any]:
    """A sighting as the golden file has it."""
    return {
        "phase": sighting.phase,
        "subject": sighting.subject.ref,
        "at_s": round((sighting.captured.boot_ns - at(0).boot_ns) / NS, 1),
        "score": round(sighting.score, 3),
        "margin": round(sighting.margin, 3),
        "frames": sighting.frames,
        "quality": round(sighting.quality, 3),
    }


def differences(golden: dict[str, Any], played: dict[str, Any]) -> list[str]:
    """Where `played` is not what the golden file says, within the tolerances that the file declares."""
    found = [
        f"{key}: {played[key]}, expected {golden[key]}"
        for key in ("visits_open", "strangers", "anyone_embedded")
        if played[key] != golden[key]
    ]
    if len(golden["events"]) != len(played["events"]):
        return [*found, f"{len(played['events'])} events, expected {len(golden['events'])}"]
    for number, (expected, got) in enumerate(zip(golden["events"], played["events"], strict=True)):
        for key, value in expected.items():
            allowed = golden["tolerance"].get(key)
            same = got[key] == value if allowed is None else abs(got[key] - value) <= allowed + 1e-9
            if not same:
                found.append(f"event {number}: {key}: {got[key]}, expected {value} within {allowed or 0}")
    return found


def write(name: str) -> Path:
    """Plays a case and writes its golden file."""
    case = CASES[name]
    golden = {"case": asdict(case), "tolerance": TOLERANCE, **play(case)}
    path = GOLDEN / f"{name}.json"
    path.write_text(json.dumps(golden, indent=2) + "\n", encoding="utf-8")
    return path
