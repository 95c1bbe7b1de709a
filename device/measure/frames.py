# SPDX-License-Identifier: Apache-2.0
"""The benchmark's fixed frames: a public-domain portrait before a wall, as a 1280x720 camera would give it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from device.demo_scenes import scene
from device.ports import EnrolledReferences
from device.recognition.gallery import MAX_SUBJECTS, Gallery
from device.records import Consent, Frame, Stamp, Subject
from device.vision.views import lores_and_luma

if TYPE_CHECKING:
    from device.demo_scenes import Person

SIZE_PX = (1280, 720)
FACE_PX = 200.0
# Longer than any track's gap: every frame's face is a new, undecided track, and so is embedded.
BETWEEN_NS = 60_000_000_000


def bench_frames(lores_px: tuple[int, int], person: Person = "astronaut", count: int = 16) -> list[Frame]:
    """`count` frames of one person, face about 200 px wide, and their smaller views; the same at every call."""
    frames = []
    pictures = scene(person, width_px=SIZE_PX[0], height_px=SIZE_PX[1], face_px=FACE_PX, frames=count)
    for number, picture in enumerate(pictures):
        main = np.array(picture, dtype=np.uint8)
        lores, luma = lores_and_luma(main, lores_px)
        frames.append(Frame(number, Stamp(0, 0, synced=True), main, lores, luma))
    return frames


def later(frame: Frame, count: int) -> Frame:
    """The same picture as frame number `count`, long after the one before."""
    return replace(frame, sequence=count, captured=Stamp(count * BETWEEN_NS, count, synced=True))


def full_gallery(dimension: int) -> Gallery:
    """A gallery with the most subjects it may have: random unit vectors, nobody's."""
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(MAX_SUBJECTS, 1, dimension)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=2, keepdims=True)
    consent = Consent("bench", "bench", "0" * 64, 0, 2**62, "porter bench")
    names = [f"s{number}" for number in range(MAX_SUBJECTS)]
    return Gallery(
        [
            EnrolledReferences(Subject(name, name, name, consent, 1), row)
            for name, row in zip(names, rows, strict=True)
        ]
    )
