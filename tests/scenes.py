# SPDX-License-Identifier: Apache-2.0
"""A visit as a camera sees it: an empty wall, somebody walks in, stands there, leaves, and an empty wall again.

Drawn from the demo's two public-domain portraits; the same call draws the same pictures, at ten a second.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from PIL import Image

from device.demo_scenes import PORTRAITS, cut_out, wall_picture

if TYPE_CHECKING:
    from collections.abc import Iterator

    from device.demo_scenes import Person

RATE_HZ = 10
EMPTY, WALK, STAND = 10, 12, 30  # frames before, in and out, and at the door


def visit(
    person: Person, *, size_px: tuple[int, int], face_px: float, empty_after: int = 70
) -> Iterator[Image.Image]:
    """Frames of one visit: 10 empty, 12 walking in from the left, 30 standing, 12 walking out, then empty again."""
    wall = wall_picture(*size_px)
    out, door = -0.25, 0.42  # shares of the width
    places: list[float | None] = [None] * EMPTY
    places += [out + (door - out) * k / WALK for k in range(WALK)]
    places += [door + 0.02 * math.sin(math.tau * k / 20) for k in range(STAND)]
    places += [door + (out - door) * k / WALK for k in range(WALK)]
    places += [None] * empty_after
    for number, place in enumerate(places):
        yield wall if place is None else with_person(wall, person, place, face_px, number)


def with_person(wall: Image.Image, person: Person, place: float, face_px: float, number: int) -> Image.Image:
    """The wall with `person` at `place` (share of the width); head and distance sway a little with the number."""
    figure = cut_out(person)
    scale = face_px / PORTRAITS[person].face_px * (1.0 + 0.04 * math.sin(math.tau * number / 17))
    size = max(1, round(figure.width * scale))
    figure = figure.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0)
    figure = figure.rotate(3.0 * math.sin(math.tau * number / 23), Image.Resampling.BILINEAR)
    picture = wall.copy()
    left = round(place * wall.width - size / 2)
    top = round(0.45 * wall.height - size / 2 + 0.04 * face_px * math.sin(math.tau * number / 8))
    picture.paste(figure.convert("RGB"), (left, top), figure.getchannel("A"))
    return picture
