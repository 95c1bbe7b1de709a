# SPDX-License-Identifier: Apache-2.0
"""Measures presentation attacks (ISO/IEC 30107-3): porter evaluate --attacks.

Two questions: how many attacks on an enrolled person match (IAPAR), and what could tell attacks from faces (APCER and
BPCER of every cue that one camera supports). Needs clips of people (DATA/clips/*.gif) and the open-set table: photos of
its strangers are held up, and for the first question photos of those enrolled.

What may surprise: the photos serve as bona fide frames for the cues of one frame, scaled up twice and more, so they
have less fine detail than a face before this camera. That makes a screen's grid easier to find than at a door.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from PIL import Image

from device.assembly import make_detector, make_embedder, operating_point
from device.errors import InputError
from device.loaded_models import load_models
from device.measure.attacks import FRAME_PX, Sheet
from device.measure.dataset import read_searches, spread
from device.measure.liveness_cues import CUES, Parallax, patch_of
from device.measure.liveness_figures import ALLOWED, Judged, Single, cue_figures, parallax_figures, tally
from device.measure.presentations import (
    PRINTS,
    RATE_HZ,
    SCREENS_MM,
    SHORTEST,
    TRACK_GAP_NS,
    bona_fide,
    moment_ns,
    people_in,
    prints,
    replays,
    single_frames,
    still_of,
)
from device.measure.progress import Progress
from device.measure.report import machine
from device.recognition.gallery import template_of
from device.recognition.tracks import Tracker
from device.vision.align import align
from device.vision.views import lores_and_luma

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from device.measure.dataset import Search
    from device.measure.presentations import Finder, Person, Picture, Presentation
    from device.options import Config
    from device.records import Detection
    from device.vision.detect import Detector
    from device.vision.embed import Embedder

T = TypeVar("T")

PRINT_PHOTOS = 12  # photos that are held up over time: 160 frames each
FRAME_PHOTOS = 200  # photos for the cues of one frame
MIDDLE = (FRAME_PX[0] / 2, FRAME_PX[1] / 2)


def measure_attacks(data: Path, config: Config, limit: int | None = None) -> dict[str, Any]:
    """The content of attacks.json. limit: at most so many photos, for a quick look. Raises InputError."""
    models = load_models(config)
    find = finder_of(make_detector(config, models.detector))
    embedder = make_embedder(models.embedder)
    threshold = operating_point(config, models.embedder.variant).threshold(1)
    searches = searches_of(data)
    people = people_of(data, find)
    sheets = sheets_of(searches, find, min(FRAME_PHOTOS, limit or FRAME_PHOTOS))
    held_up = spread(sheets, min(PRINT_PHOTOS, limit or PRINT_PHOTOS))
    judged = [judge(each, find) for each in counted("presentations", list(presented(people, held_up)))]
    singles = [
        Single(kind, group, cues)
        for group, sheet in enumerate(counted("single frames", sheets))
        for kind, frame in single_frames(sheet, group).items()
        for cues in cues_of(frame, MIDDLE)
    ]
    return {
        "matches": matches(searches, find, embedder, threshold, limit),
        "parallax": parallax_figures(judged),
        "cues": cue_figures(singles, judged),
        "about": {
            **machine(),
            "people": len(people),
            "print_photos": len(held_up),
            "frame_photos": len(sheets),
            "handling": {kind: [each.yaw_deg, each.pitch_deg, each.bend[1]] for kind, each in PRINTS.items()},
            "screens_mm": SCREENS_MM,
            "rate_hz": RATE_HZ,
            "shortest": SHORTEST,
            "allowed": ALLOWED,
            "partial": limit is not None,
        },
    }


def counted(label: str, items: Sequence[T]) -> Iterator[T]:
    """`items`, with a progress bar."""
    with Progress(label, len(items)) as progress:
        for item in items:
            yield item
            progress.step()


def finder_of(detector: Detector) -> Finder:
    """The product's own way from a frame to its faces: scaled to lores, detected, in pixels of the frame."""

    def find(frame: Picture) -> list[Detection]:
        lores, _ = lores_and_luma(frame, detector.size_px)
        return detector.detect(lores, frame.shape[1])

    return find


def judge(presentation: Presentation, find: Finder) -> Judged:
    """Runs one presentation through detector and tracks; the track with the most frames is judged."""
    tracker = Tracker(gap_ns=TRACK_GAP_NS)
    tracks: dict[int, Parallax] = {}
    seen: dict[int, list[dict[str, float]]] = {}
    for index, frame in enumerate(presentation.frames()):
        for track, face in tracker.update(find(frame), moment_ns(index)):
            tracks.setdefault(track.number, Parallax()).add(face.landmarks)
            seen.setdefault(track.number, []).extend(cues_of(frame, face.box.centre))
    if not tracks:
        return Judged(presentation.kind, presentation.group, 0, 0.0, 0.0, {})
    longest = max(tracks, key=lambda number: tracks[number].frames)
    parallax, values = tracks[longest], seen[longest]
    means = {name: math.fsum(each[name] for each in values) / len(values) for name in CUES} if values else {}
    return Judged(
        presentation.kind, presentation.group, parallax.frames, parallax.depth, parallax.turn, means
    )


def cues_of(frame: Picture, middle: tuple[float, float]) -> list[dict[str, float]]:
    """The cues of one frame, in a list; an empty one where the face's middle is too near the edge."""
    patch = patch_of(frame, middle)
    return [] if patch is None else [{name: measure(patch) for name, (measure, _) in CUES.items()}]


def presented(people: Sequence[Person], sheets: Sequence[Sheet]) -> Iterator[Presentation]:
    """All presentations over time. Groups: the photos', then the people's."""
    for group, sheet in enumerate(sheets):
        yield from prints(sheet, group)
    for group, person in enumerate(people, start=len(sheets)):
        yield bona_fide(person, group)
        yield from prints(still_of(person), group)
        yield from replays(person, group)


def matches(
    searches: Sequence[Search], find: Finder, embedder: Embedder, threshold: float, limit: int | None
) -> dict[str, Any]:
    """For each kind of single frame: how many show the enrolled person closely enough to match, of one probe each.

    Compared with the person's own template, made of all their enrolment photos with their mirror images, at the
    threshold of a gallery of one.
    """
    enrolled: dict[str, list[NDArray[np.float32]]] = {}
    probes: dict[str, Search] = {}
    names = spread(sorted({each.identity for each in searches if each.role == "enrol"}), limit)
    for search in searches:
        if search.identity in names and search.role == "enrol":
            found = embedded(read(search.picture), find, embedder.embed_mirrored)
            enrolled.setdefault(search.identity, []).extend(found)
        elif search.identity in names and search.role == "probe":
            probes.setdefault(search.identity, search)
    said: dict[str, list[bool]] = {}
    for seed, (name, search) in enumerate(counted("matches", list(probes.items()))):
        sheet = sheet_of(read(search.picture), find)
        if sheet is None or not enrolled.get(name):
            continue
        template = template_of(np.stack(enrolled[name]))
        for kind, frame in single_frames(sheet, seed).items():
            scores = [float(template @ each) for each in embedded(frame, find, embedder.embed)]
            said.setdefault(kind, []).append(any(score >= threshold for score in scores))
    return {kind: tally(sum(hits), len(hits)) for kind, hits in said.items()}


def embedded(
    picture: Picture, find: Finder, embed: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
) -> list[NDArray[np.float32]]:
    """The embedding of the face nearest the picture's middle, in a list; an empty one where there is none."""
    face = central(find(picture), picture)
    return [] if face is None else [embed(align(picture, face.landmarks))]


def central(faces: Sequence[Detection], picture: Picture) -> Detection | None:
    """The face whose middle is nearest the picture's; None where there is no face."""
    x, y = picture.shape[1] / 2, picture.shape[0] / 2
    return min(faces, key=lambda face: math.dist(face.box.centre, (x, y)), default=None)


def sheet_of(picture: Picture, find: Finder) -> Sheet | None:
    """A photo as something to hold up; None where it shows no face."""
    face = central(find(picture), picture)
    return None if face is None else Sheet(picture, face.box.centre, face.box.w)


def sheets_of(searches: Sequence[Search], find: Finder, count: int) -> list[Sheet]:
    """One photo each of so many strangers; those in which no face is found are left out. Raises InputError."""
    strangers: dict[str, Search] = {}
    for search in searches:
        if search.role == "stranger":
            strangers.setdefault(search.identity, search)
    sheets = [sheet_of(read(search.picture), find) for search in spread(list(strangers.values()), count)]
    found = [sheet for sheet in sheets if sheet is not None]
    if len(found) < 2:
        raise InputError(f"open-set table: expected faces in photos of two strangers, found {len(found)}")
    return found


def people_of(data: Path, find: Finder) -> list[Person]:
    """Everybody in the clips. Raises InputError where there is nobody."""
    people = [person for clip in sorted((data / "clips").glob("*.gif")) for person in people_in(clip, find)]
    if not people:
        raise InputError(f"{data / 'clips'}: expected animated pictures (.gif) of people, found none")
    return people


def searches_of(data: Path) -> list[Search]:
    """The open-set table. Raises InputError."""
    tables = sorted((data / "lfw").glob("openset_*.csv"))
    if len(tables) != 1:
        raise InputError(f"{data / 'lfw'}: expected one open-set table (openset_*.csv), found {len(tables)}")
    return read_searches(tables[0])


def read(path: Path) -> Picture:
    """A photo's pixels. Raises InputError."""
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except OSError as error:
        raise InputError(f"{path}: expected a picture: {error}") from error
