# SPDX-License-Identifier: Apache-2.0
"""A gallery of blurred, tiny, dark or turned-away faces matches everybody: none of them is ever enrolled.

Through the real models and the pipeline as the service builds it, with the demo's portraits before a wall, degraded as
the limits are stated in docs/accuracy.md. What such references would do is measured there, too.

What may surprise: one portrait's glasses glint, and a glint that moves sideways leaves lines with sharp ends, which
pass for detail at a motion of 20 %; so that portrait is moved upwards only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from device.demo_scenes import scene
from device.measure.degrade import darkened, defocused, moved
from device.measure.turned import turned
from tests.replay.play import enrolling, frame, references

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from device.demo_scenes import Person
    from device.records import Detection

    Worse = Callable[[NDArray[np.uint8], Detection, np.random.Generator], NDArray[np.uint8]]

FACE_PX = 130
FRAMES = 6
PEOPLE: tuple[Person, ...] = ("astronaut", "hopper")
GLINTS = {("hopper", "moved sideways"), ("hopper", "moved aslant")}
BAD: dict[str, Worse] = {
    "moved sideways": lambda main, face, _rng: moved(main, 0.2 * face.box.w),
    "moved up": lambda main, face, _rng: moved(main, 0.2 * face.box.w, (0, 1)),
    "moved aslant": lambda main, face, _rng: moved(main, 0.2 * face.box.w, (1, 1)),
    "out of focus": lambda main, face, _rng: defocused(main, 0.04 * face.box.w),
    "dark": lambda main, _face, rng: darkened(main, 0.02, rng),
    "dark, with gain": lambda main, _face, rng: darkened(main, 0.02, rng, 50.0),
    "half turned": lambda main, face, _rng: turned(main, face.landmarks, 60.0),
    "in profile": lambda main, face, _rng: turned(main, face.landmarks, -75.0),
}


@pytest.mark.parametrize(
    ("person", "how"),
    [(who, how) for who in PEOPLE for how in BAD if (who, how) not in GLINTS],
)
def test_an_enrolment_takes_no_bad_sample(person: Person, how: str) -> None:
    made, session = enrolling()
    worse = BAD[how]
    rng = np.random.default_rng(5)
    for number, picture in enumerate(scene(person, face_px=FACE_PX, frames=FRAMES)):
        face = made.detector.detect(frame(number, picture).lores, picture.width)[0]
        main = worse(np.asarray(picture), face, rng)
        made.process(frame(number, Image.fromarray(main)))
        assert session.progress.taken == 0, f"frame {number}"
    with pytest.raises(ValueError, match="not complete"):
        session.references()


@pytest.mark.parametrize("person", PEOPLE)
def test_an_enrolment_takes_no_sample_of_a_face_that_is_too_small(person: Person) -> None:
    made, session = enrolling()
    for number, picture in enumerate(scene(person, face_px=40, frames=FRAMES)):
        made.process(frame(number, picture))
    assert session.progress.taken == 0
    assert made.counters.embedded == 0


@pytest.mark.parametrize("person", PEOPLE)
def test_the_same_enrolment_takes_the_clear_face(person: Person) -> None:
    assert len(references(person)) >= 5
