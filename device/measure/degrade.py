# SPDX-License-Identifier: Apache-2.0
"""Pictures made worse on purpose, one way at a time: size, motion, light, compression, things worn.

Pure functions of (H, W, 3) uint8 RGB pictures in sRGB, which give the same again; pixel middles lie at whole numbers,
as in `vision.align`. What may surprise: motion and light are worked on linear light, as a sensor gathers it, not on the
stored values; and nothing here turns up the gain unless it is asked to, so a dark picture stays dark: that is a camera
at the end of its exposure. The things worn are flat polygons of one colour: they hide what the real ones hide, and do
not look like them.
"""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from device.geometry import Point

# A small sensor at high gain: white is so many electrons; reading a pixel adds noise of this standard deviation.
FULL_SCALE_E = 1000.0
READ_NOISE_E = 3.0
SURROUND = 118  # sRGB of a card that reflects 18 % of the light

MASK_RGB = (120, 160, 190)
GLASSES_RGB = (20, 20, 20)
CAP_RGB = (40, 50, 90)

# Corners in the face's own measure: x along the line of the eyes, y down the face, from the middle between the eyes, in
# distances between the eyes. The mouth is about 1.15 below; the nose tip about 0.57 (vision/align.TEMPLATE).
MASK: tuple[Point, ...] = ((-0.95, 0.35), (0.0, 0.25), (0.95, 0.35), (0.85, 1.35), (0.0, 1.85), (-0.85, 1.35))
LEFT_LENS: tuple[Point, ...] = ((-0.95, -0.25), (-0.1, -0.2), (-0.15, 0.25), (-0.5, 0.35), (-0.9, 0.25))
RIGHT_LENS: tuple[Point, ...] = tuple((-x, y) for x, y in LEFT_LENS)
BRIDGE: tuple[Point, ...] = ((-0.15, -0.12), (0.15, -0.12), (0.15, -0.02), (-0.15, -0.02))
CAP: tuple[Point, ...] = ((-1.25, -0.35), (1.25, -0.35), (1.2, -1.2), (0.7, -1.9), (-0.7, -1.9), (-1.2, -1.2))


def resized(picture: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    """`picture` `factor` times as large: pixels averaged where it shrinks; where it grows, bicubic, no detail comes."""
    height, width = picture.shape[:2]
    size = max(1, round(width * factor)), max(1, round(height * factor))
    how = Image.Resampling.BOX if factor < 1.0 else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(picture).resize(size, how))


def in_frame(picture: NDArray[np.uint8], width_px: int, height_px: int) -> NDArray[np.uint8]:
    """`picture` in the middle of a grey frame of this size; what is too large for it is cut off on both sides alike."""
    frame = np.full((height_px, width_px, 3), SURROUND, np.uint8)
    height, width = picture.shape[:2]
    rows, columns = min(height, height_px), min(width, width_px)
    top, left = (height_px - rows) // 2, (width_px - columns) // 2
    from_top, from_left = (height - rows) // 2, (width - columns) // 2
    frame[top : top + rows, left : left + columns] = picture[
        from_top : from_top + rows, from_left : from_left + columns
    ]
    return frame


def moved(picture: NDArray[np.uint8], length_px: float, along: tuple[int, int] = (1, 0)) -> NDArray[np.uint8]:
    """Motion during the exposure: each pixel is the mean, in linear light, over a line `length_px` long (>= 1).

    along: the line's step, x and y, each -1, 0 or 1: level, upright or slanting. The line lies around the pixel; its
    two ends weigh what is left of a step. Beyond the edge the edge goes on.
    """
    if length_px < 1.0:
        raise ValueError(f"moved: expected a length from 1 px on, got {length_px}")
    steps = max(1.0, length_px / math.hypot(*along))
    reach = math.ceil((steps - 1) / 2)
    weights = np.ones(2 * reach + 1)
    if reach:
        weights[0] = weights[-1] = (steps - (2 * reach - 1)) / 2
    light = linear(picture)
    height, width = picture.shape[:2]
    padded = np.pad(light, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    total = np.zeros_like(light)
    for step, weight in zip(range(-reach, reach + 1), weights, strict=True):
        left, top = reach + step * along[0], reach + step * along[1]
        total += weight * padded[top : top + height, left : left + width]
    return stored(total / steps)


def defocused(picture: NDArray[np.uint8], sigma_px: float) -> NDArray[np.uint8]:
    """Out of focus: a Gaussian of this standard deviation (above 0), in linear light. Beyond the edge it goes on."""
    reach = math.ceil(3 * sigma_px)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_px) ** 2)
    weights /= weights.sum()
    light = linear(picture)
    for axis in (0, 1):
        reaches = [(reach, reach) if each == axis else (0, 0) for each in range(3)]
        padded = np.pad(light, reaches, mode="edge")
        light = np.lib.stride_tricks.sliding_window_view(padded, weights.size, axis) @ weights
    return stored(light)


def darkened(
    picture: NDArray[np.uint8], light: float, rng: np.random.Generator, gain: float = 1.0
) -> NDArray[np.uint8]:
    """`picture` with this share (0 to 1) of its light, and the noise of a sensor, which `gain` then turns up as well.

    A pixel's electrons are Poisson around linear value x light x FULL_SCALE_E (shot noise), plus a normal error of
    READ_NOISE_E, in each channel for itself.
    """
    electrons = rng.poisson(linear(picture) * (light * FULL_SCALE_E)) + rng.normal(
        0.0, READ_NOISE_E, picture.shape
    )
    return stored(electrons * (gain / FULL_SCALE_E))


def compressed(picture: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """`picture` after JPEG at Pillow's `quality` (1 to 95; chroma halved both ways)."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
    with Image.open(buffer, formats=("JPEG",)) as image:
        return np.asarray(image.convert("RGB"))


def masked(picture: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A mask over nose tip, mouth and chin of the face with these (5, 2) landmarks."""
    return painted(picture, landmarks, [MASK], MASK_RGB)


def with_sunglasses(picture: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Dark glasses over both eyes of the face with these (5, 2) landmarks."""
    return painted(picture, landmarks, [LEFT_LENS, RIGHT_LENS, BRIDGE], GLASSES_RGB)


def with_cap(picture: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A cap from the brows upwards on the face with these (5, 2) landmarks."""
    return painted(picture, landmarks, [CAP], CAP_RGB)


def painted(
    picture: NDArray[np.uint8],
    landmarks: NDArray[np.float32],
    polygons: Sequence[Sequence[Point]],
    colour: tuple[int, int, int],
) -> NDArray[np.uint8]:
    """`picture` with polygons in the face's own measure (see MASK), turned and scaled by the eyes, filled."""
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    (rx, ry), (lx, ly) = landmarks[:2].tolist()
    middle_x, middle_y, along_x, along_y = (rx + lx) / 2, (ry + ly) / 2, lx - rx, ly - ry
    for polygon in polygons:
        corners = [
            (middle_x + x * along_x - y * along_y, middle_y + x * along_y + y * along_x) for x, y in polygon
        ]
        draw.polygon(corners, fill=colour)
    return np.asarray(image)


def linear(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """sRGB values to linear light, 0 to 1 (IEC 61966-2-1)."""
    return LIGHT_OF[picture]


def stored(light: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Linear light to sRGB values, the nearest ones; below 0 and above 1 is clipped."""
    clipped = np.clip(light, 0.0, 1.0)
    values = np.where(clipped <= 0.0031308, 12.92 * clipped, 1.055 * clipped ** (1 / 2.4) - 0.055)
    rounded: NDArray[np.uint8] = np.rint(values * 255).astype(np.uint8)
    return rounded


def light_table() -> NDArray[np.float64]:
    """(256,): what each stored value stands for."""
    values = np.arange(256) / 255
    table: NDArray[np.float64] = np.where(
        values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4
    )
    table.setflags(write=False)
    return table


LIGHT_OF = light_table()
