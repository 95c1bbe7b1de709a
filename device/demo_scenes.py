# SPDX-License-Identifier: Apache-2.0
"""Simulated camera pictures for the demo, the replay tests and the benchmark: a wall, and who stands before it.

The two people are the public-domain portraits of `demo_data` (its PROVENANCE.md says from where), cut out softly and
swayed, tilted, lit and scaled a little from frame to frame, since no real face holds still. Everything is seeded:
the same call draws the same pictures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter

if TYPE_CHECKING:
    from pathlib import Path

Person = Literal["astronaut", "hopper"]


@dataclass(frozen=True, slots=True)
class Portrait:
    """A portrait's file and where in it the head is: its middle and the face's width, in pixels."""

    file: str
    head_x_px: float
    head_y_px: float
    face_px: float


PORTRAITS: dict[Person, Portrait] = {
    "astronaut": Portrait("astronaut.png", 224, 118, 84),
    "hopper": Portrait("grace_hopper.jpg", 252, 178, 128),
}

DOOR = (52, 60, 66)
WALL_TOP, WALL_BOTTOM = (176, 170, 160), (120, 116, 112)
CUT_RADIUS_FACES = 1.9  # how much of the portrait around the head is shown, in face widths
FRAMES = 16


def scene(
    person: Person | None,
    *,
    width_px: int = 640,
    height_px: int = 480,
    face_px: float = 130.0,
    frames: int = FRAMES,
    seed: int = 1,
) -> list[Image.Image]:
    """`frames` pictures of `person` (None: nobody) before the wall; the last leads back into the first.

    face_px is the width of the face in them, about.
    """
    rng = np.random.default_rng(seed)
    wall = wall_picture(width_px, height_px)
    return [
        noisy(placed(wall, person, 2 * math.pi * index / frames, face_px), rng) for index in range(frames)
    ]


def write_scene(folder: Path, person: Person | None, **options: int) -> Path:
    """Writes `scene(person, ...)` as JPEG files into `folder`, which is made; returns it."""
    folder.mkdir(parents=True)
    for index, picture in enumerate(scene(person, **options)):
        picture.save(folder / f"{index:04d}.jpg", quality=92)
    return folder


def wall_picture(width_px: int, height_px: int) -> Image.Image:
    """A wall with light from above and a door in it: nobody is there."""
    share = np.linspace(0.0, 1.0, height_px)[:, np.newaxis]
    rows = np.array(WALL_TOP) * (1 - share) + np.array(WALL_BOTTOM) * share
    picture = Image.fromarray(
        np.broadcast_to(rows[:, np.newaxis, :], (height_px, width_px, 3)).astype(np.uint8).copy()
    )
    draw = ImageDraw.Draw(picture)
    left, right, top = round(width_px * 0.72), round(width_px * 0.93), round(height_px * 0.12)
    draw.rectangle((left, top, right, height_px), fill=DOOR)
    draw.ellipse((left + 8, height_px * 0.58, left + 20, height_px * 0.58 + 12), fill=WALL_TOP)
    return picture.filter(ImageFilter.GaussianBlur(1.0))


def placed(wall: Image.Image, person: Person | None, phase: float, face_px: float) -> Image.Image:
    """The wall with `person` swaying before it; `phase` runs from 0 to 2 pi."""
    picture = wall.copy()
    if person is None:
        return picture
    figure = cut_out(person)
    scale = face_px / PORTRAITS[person].face_px * (1.0 + 0.06 * math.sin(phase))
    size = max(1, round(figure.width * scale))
    figure = figure.resize((size, size), Image.Resampling.LANCZOS)
    figure = figure.rotate(4.0 * math.sin(phase + 1.0), Image.Resampling.BICUBIC)
    lit = ImageEnhance.Brightness(figure.convert("RGB")).enhance(1.0 + 0.12 * math.sin(2 * phase))
    middle_x = picture.width * 0.42 + 0.25 * face_px * math.sin(phase)
    middle_y = picture.height * 0.45 + 0.08 * face_px * math.cos(phase)
    picture.paste(lit, (round(middle_x - size / 2), round(middle_y - size / 2)), figure.getchannel("A"))
    return picture


@cache
def cut_out(person: Person) -> Image.Image:
    """Head and shoulders as a square RGBA picture, the head in its middle, fading out at the rim."""
    portrait = PORTRAITS[person]
    with files("device.demo_data").joinpath(portrait.file).open("rb") as stream:
        picture = Image.open(stream).convert("RGB")
    radius = portrait.face_px * CUT_RADIUS_FACES
    left, top = portrait.head_x_px - radius, portrait.head_y_px - radius
    box = (round(left), round(top), round(left + 2 * radius), round(top + 2 * radius))
    square = picture.crop(box)
    edge = radius * 0.12  # width of the fade: at the circle's rim, and where the portrait itself ends
    circle = Image.new("L", square.size, 0)
    ImageDraw.Draw(circle).ellipse((edge, edge, square.width - edge, square.height - edge), fill=255)
    shown = Image.new("L", picture.size, 0)
    shown.paste(255, (round(edge), round(edge), picture.width - round(edge), picture.height))
    mask = ImageChops.darker(circle, shown.crop(box))
    square.putalpha(mask.filter(ImageFilter.GaussianBlur(edge / 2.5)))
    return square


def noisy(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A little sensor noise, so that no two frames are equal."""
    noise = rng.normal(0.0, 1.5, (picture.height, picture.width, 1))
    return Image.fromarray(np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8))
