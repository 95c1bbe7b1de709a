# SPDX-License-Identifier: Apache-2.0
"""Presentations to measure attack detection on: people in clips, and attacks drawn from those clips and from photos.

Every presentation is some seconds of frames of the default camera, 1280 x 720, with one face about 200 px wide in the
middle. Bona fide: somebody in a clip. Attacks: `attacks.py`. All go through the same drawn camera, so that a cue cannot
tell them apart by how they were scaled. Frames are made one at a time.

What may surprise: clips that are GIFs are smoothed a little first. Their dither is a regular pattern, and a cue that
looks for a screen's grid would find it in the bona fide presentations and not in the attacks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFilter, ImageSequence

from device.errors import InputError
from device.measure.attacks import Hold, Sheet, held, in_camera, look, on_paper, on_screen, shown
from device.recognition.tracks import Tracker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from device.records import Detection

    Picture = NDArray[np.uint8]
    Finder = Callable[[Picture], list[Detection]]

RATE_HZ = 12.0  # the clips': 80 or 90 ms a frame
ATTACK_FRAMES = 40
SHORTEST = 20  # frames; whoever is in view for less presents nothing that could be judged
TRACK_GAP_NS = 1_000_000_000
DITHER_SIGMA_PX = 0.8

PRINT_DOT_MM = 0.25  # an office printer's halftone
# A screen's pixel where the face is as large as life: a full HD television of 55 inches; an office monitor; a telephone
# of 0.06 mm that is held 2.5 times nearer.
SCREENS_MM = {"coarse": 0.63, "medium": 0.31, "fine": 0.15}
REFRESH_BEAT_HZ = 0.7
BENT = 1 / 110  # a sheet that two hands press into a half pipe


@dataclass(frozen=True, slots=True)
class Handling:
    """What an attacker does with a print besides trembling: turns to either side (degrees) and bends (1/mm)."""

    yaw_deg: float = 0.0
    pitch_deg: float = 0.0
    bend: tuple[float, float] = (0.0, 0.0)


PRINTS = {
    "print_held": Handling(),
    "print_turned": Handling(35.0, 12.0),
    "print_bent": Handling(35.0, 12.0, (BENT, BENT)),
    "print_bending": Handling(17.0, 12.0, (0.0, BENT)),
}
REPLAYS = {"replay_coarse": "coarse", "replay_fine": "fine"}


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody in a clip: all its frames, and what the detector found of them, by frame number."""

    name: str
    frames: list[Picture]
    seen: dict[int, Detection]


@dataclass(frozen=True, slots=True)
class Presentation:
    """kind: `bona_fide`, or the attack's. group: presentations made from the same picture or clip share it."""

    kind: str
    group: int
    frames: Callable[[], Iterator[Picture]]


def people_in(clip: Path, find: Finder) -> list[Person]:
    """Everybody who is long enough in view in an animated picture. Raises InputError."""
    try:
        with Image.open(clip) as image:
            pictures = [frame.convert("RGB") for frame in ImageSequence.Iterator(image)]
    except OSError as error:
        raise InputError(f"{clip}: expected an animated picture: {error}") from error
    tracker = Tracker(gap_ns=TRACK_GAP_NS)
    tracks: dict[int, dict[int, Detection]] = {}
    for index, picture in enumerate(pictures):
        for track, face in tracker.update(find(np.asarray(picture)), moment_ns(index)):
            tracks.setdefault(track.number, {})[index] = face
    frames = [np.asarray(picture.filter(ImageFilter.GaussianBlur(DITHER_SIGMA_PX))) for picture in pictures]
    return [
        Person(f"{clip.stem}/{number}", frames, seen)
        for number, seen in tracks.items()
        if len(seen) >= SHORTEST
    ]


def moment_ns(index: int) -> int:
    """When the frame of this number was captured."""
    return round(index / RATE_HZ * 1e9)


def bona_fide(person: Person, group: int) -> Presentation:
    """Somebody at the door: their clip, scaled so that the face is as wide as an attack's."""

    def frames() -> Iterator[Picture]:
        rng = np.random.default_rng([group, 0])
        x, y, face_px = middle_of(person.seen.values())
        surface = look(Hold())
        for frame in person.frames:
            yield in_camera(shown(Sheet(frame, (x, y), face_px), surface), rng)

    return Presentation("bona_fide", group, frames)


def prints(sheet: Sheet, group: int) -> list[Presentation]:
    """A still picture, printed, in every handling of PRINTS."""
    return [Presentation(kind, group, partial(print_frames, sheet, kind, group)) for kind in PRINTS]


def print_frames(sheet: Sheet, kind: str, seed: int) -> Iterator[Picture]:
    """The frames of one print."""
    rng = np.random.default_rng([seed, 1 + list(PRINTS).index(kind)])
    handling = PRINTS[kind]
    for hold in held(
        rng,
        ATTACK_FRAMES,
        RATE_HZ,
        yaw_deg=handling.yaw_deg,
        pitch_deg=handling.pitch_deg,
        bend=handling.bend,
    ):
        surface = look(hold)
        yield in_camera(on_paper(shown(sheet, surface), surface, PRINT_DOT_MM), rng)


def replays(person: Person, group: int) -> list[Presentation]:
    """Somebody's clip on each screen of REPLAYS, in a trembling hand."""
    return [Presentation(kind, group, partial(replay_frames, person, kind, group)) for kind in REPLAYS]


def replay_frames(person: Person, kind: str, seed: int) -> Iterator[Picture]:
    """The frames of one replay."""
    rng = np.random.default_rng([seed, 100 + list(REPLAYS).index(kind)])
    x, y, face_px = middle_of(person.seen.values())
    for index, hold in enumerate(held(rng, len(person.frames), RATE_HZ)):
        surface = look(hold)
        light = shown(Sheet(person.frames[index], (x, y), face_px), surface)
        beat = index / RATE_HZ * REFRESH_BEAT_HZ
        yield in_camera(on_screen(light, surface, SCREENS_MM[REPLAYS[kind]], beat), rng)


def single_frames(sheet: Sheet, seed: int) -> dict[str, Picture]:
    """One frame of a still picture as if its person stood there, on every screen, and printed; nearly face on."""
    rng = np.random.default_rng([seed, 200])
    surface = look(Hold())
    frames = {"bona_fide": in_camera(shown(sheet, surface), rng)}
    for name, pixel_mm in SCREENS_MM.items():
        surface = look(held(rng, 1, RATE_HZ)[0])
        light = on_screen(shown(sheet, surface), surface, pixel_mm, rng.random())
        frames[f"screen_{name}"] = in_camera(light, rng)
    surface = look(held(rng, 1, RATE_HZ)[0])
    frames["print"] = in_camera(on_paper(shown(sheet, surface), surface, PRINT_DOT_MM), rng)
    return frames


def still_of(person: Person) -> Sheet:
    """The frame of a clip in which a person's face is largest."""
    index = max(person.seen, key=lambda number: person.seen[number].box.w)
    return Sheet(person.frames[index], person.seen[index].box.centre, person.seen[index].box.w)


def middle_of(faces: Iterable[Detection]) -> tuple[float, float, float]:
    """Mean middle, x and y, and mean width of some faces, in their pixels."""
    x, y, w, h = np.array([face.box for face in faces]).mean(axis=0).tolist()
    return x + w / 2, y + h / 2, w
