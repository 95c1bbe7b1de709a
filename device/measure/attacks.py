# SPDX-License-Identifier: Apache-2.0
"""Presentation attack instruments, drawn: a print or a screen with somebody's face, held before the door camera.

A picture lies on a sheet, in millimetres from the face's middle; the sheet is held, turned and bent before a pinhole
camera, and each camera pixel takes the light of the point that it sees. Pure functions; what is random comes in as a
generator. Pictures are (H, W, 3) uint8 RGB in sRGB; light is float32, linear, 0 to 1.

What may surprise: the grid of a screen and the dots of a print are finer than a camera pixel, so they are not drawn but
worked out: as the first harmonics of a periodic pattern, each weakened by what lens and pixel let through of its
frequency there. Sampled at the pixel middles those harmonics alias as real ones do, and that is the moire. There is no
motion blur, no shadow, no reflection of the door, and nobody's fingers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from device.measure.degrade import SURROUND, linear, stored

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Light = NDArray[np.float32]

FOCAL_PX = 1000.0  # a 1280 px wide camera that sees 65 degrees
FRAME_PX = (1280, 720)
REGION_PX = 432  # the part in the middle of the frame that is drawn; the rest is a grey wall
FACE_MM = 150.0  # the face on the sheet is as large as a real one, so that it stands where a visitor would
DISTANCE_MM = 750.0  # there it is 200 px wide
LENS_SIGMA_PX = 0.35  # a sharp lens: an attack's grid shows best through one
SENSOR_NOISE = 1.5  # of 255
STEPS = 4096  # of linear light, in the table that makes stored values of it
STRIPES = (0.0, 1 / 3, 2 / 3)  # where a screen's red, green and blue stripes begin


@dataclass(frozen=True, slots=True)
class Hold:
    """How a sheet is held in one frame: turned about its face's middle (radians), moved (mm), bent (1/mm).

    bend: 1 over the radius of the cylinder around a vertical axis, the middle towards the camera; 0: flat.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    x_mm: float = 0.0
    y_mm: float = 0.0
    z_mm: float = 0.0
    bend: float = 0.0


@dataclass(frozen=True, slots=True)
class Sheet:
    """A picture and where its face is. middle, face_px: the face's middle and width in the picture's pixels."""

    picture: NDArray[np.uint8]
    middle: tuple[float, float]
    face_px: float


@dataclass(frozen=True, slots=True)
class Surface:
    """Where on the sheet each pixel of the region looks: u to the right, v down, in mm, (N, N) float32."""

    u: Light
    v: Light


def look(hold: Hold, region_px: int = REGION_PX) -> Surface:
    """The points of a held sheet that the pixels in the middle of the frame see.

    Solved as a ray meeting the cylinder bend (x^2 + z^2) = 2 z in the sheet's own axes, in the form of the quadratic's
    root that stays exact as the bend goes to 0. Where a ray misses, u lies far outside of any sheet.
    """
    steps = (np.arange(region_px, dtype=np.float64) - (region_px - 1) / 2) / FOCAL_PX
    dx, dy = np.meshgrid(steps, steps)
    turn = rotation(hold)
    ray = np.stack((dx, dy, np.ones_like(dx)), axis=-1) @ turn
    start = np.array([-hold.x_mm, -hold.y_mm, -DISTANCE_MM - hold.z_mm]) @ turn
    square = hold.bend * (ray[..., 0] ** 2 + ray[..., 2] ** 2)
    half = hold.bend * (start[0] * ray[..., 0] + start[2] * ray[..., 2]) - ray[..., 2]
    rest = hold.bend * (start[0] ** 2 + start[2] ** 2) - 2 * start[2]
    root = half * half - square * rest
    way = rest / (-half + np.sqrt(np.maximum(root, 0.0)))
    x = start[0] + way * ray[..., 0]
    u = np.arcsin(np.clip(x * hold.bend, -1.0, 1.0)) / hold.bend if hold.bend else x
    u = np.where(root >= 0.0, u, 1e6)
    return Surface(u.astype(np.float32), (start[1] + way * ray[..., 1]).astype(np.float32))


def rotation(hold: Hold) -> NDArray[np.float64]:
    """(3, 3): from the sheet's axes to the camera's, as columns: roll first, then pitch, then yaw."""
    (cy, sy), (cp, sp), (cr, sr) = ((math.cos(a), math.sin(a)) for a in (hold.yaw, hold.pitch, hold.roll))
    yaw = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    pitch = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    turned: NDArray[np.float64] = yaw @ pitch @ roll
    return turned


def shown(sheet: Sheet, surface: Surface) -> Light:
    """The sheet's own light at each pixel, by bilinear sampling; beyond its edge the grey of the wall."""
    px_per_mm = sheet.face_px / FACE_MM
    x = surface.u * px_per_mm + sheet.middle[0]
    y = surface.v * px_per_mm + sheet.middle[1]
    height, width = sheet.picture.shape[:2]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    left = np.clip(x, 0, width - 1.001).astype(np.int32)
    top = np.clip(y, 0, height - 1.001).astype(np.int32)
    fx, fy = (x - left)[..., np.newaxis], (y - top)[..., np.newaxis]
    light = linear(sheet.picture).astype(np.float32).reshape(-1, 3)
    at = top * width + left
    upper = light[at] * (1 - fx) + light[at + 1] * fx
    lower = light[at + width] * (1 - fx) + light[at + width + 1] * fx
    wall = np.float32(linear(np.array([SURROUND], np.uint8))[0])
    result: Light = np.where(inside[..., np.newaxis], upper * (1 - fy) + lower * fy, wall).astype(np.float32)
    return result


def let_through(cycles_per_px: Light) -> Light:
    """What lens (a Gaussian) and pixel (a square) leave of a pattern of this frequency, -1 to 1."""
    lens = np.exp(np.float32(-2 * (math.pi * LENS_SIGMA_PX) ** 2) * cycles_per_px**2)
    passed: Light = (lens * np.sinc(cycles_per_px)).astype(np.float32)
    return passed


def periodic(place: Light, period_mm: float, open_share: float, shifts: Sequence[float] = (0.0,)) -> Light:
    """Patterns of bars across `place` (mm), mean 1, as the camera sees them: (N, N, one a shift) float32.

    Bars are open for `open_share` of a period; a shift is a share of the period. Two harmonics of the Fourier series:
    lens and pixel leave nothing of the third where the first is fine enough to be missed by the eye.
    """
    phase = place / np.float32(period_mm)
    down, across = np.gradient(phase)
    frequency = np.hypot(down, across)
    weights = [np.float32(2 * np.sinc(k * open_share)) * let_through(k * frequency) for k in (1, 2)]
    angle = np.float32(2 * math.pi) * (phase % 1)
    cos, sin = np.cos(angle), np.sin(angle)
    waves = [(cos, sin), (2 * cos * cos - 1, 2 * sin * cos)]
    bars = np.ones((*place.shape, len(shifts)), np.float32)
    for index, shift in enumerate(shifts):
        for k, weight, (even, odd) in zip((1, 2), weights, waves, strict=True):
            begin = 2 * math.pi * k * shift
            bars[..., index] += weight * (
                np.float32(math.cos(begin)) * even + np.float32(math.sin(begin)) * odd
            )
    return bars


def on_screen(light: Light, surface: Surface, pixel_mm: float, phase: float) -> Light:
    """Shown by a screen: stripes of colour, black gaps between rows, gamma off, a glare, rolling bands."""
    light = np.float32(0.9) * light ** np.float32(1.1) + np.float32(
        0.015
    )  # a brighter black, a steeper curve
    rows = periodic(surface.v, pixel_mm, 0.8)
    columns = periodic(surface.u, pixel_mm, 0.3, STRIPES)
    height = np.arange(light.shape[0], dtype=np.float32)[:, np.newaxis, np.newaxis] / 160
    bands = 1 + np.float32(0.04) * np.sin(2 * np.pi * (height + np.float32(phase)))  # refresh against shutter
    return light * columns * rows * bands + glare(surface, 0.08)


def on_paper(light: Light, surface: Surface, dot_mm: float) -> Light:
    """Printed: less contrast and colour, halftone dots on a screen turned by 45 degrees, paper that shines a little."""
    grey = light.mean(axis=-1, keepdims=True)
    light = np.float32(0.03) + np.float32(0.72) * (np.float32(0.8) * light + np.float32(0.2) * grey)
    along = (surface.u + surface.v) * np.float32(math.sqrt(0.5))
    across = (surface.u - surface.v) * np.float32(math.sqrt(0.5))
    dots = periodic(along, dot_mm, 0.6) * periodic(across, dot_mm, 0.6)
    return light * dots + glare(surface, 0.04)


def glare(surface: Surface, strength: float) -> Light:
    """A lamp's soft reflection, up and to the left of the face's middle."""
    distance = (surface.u + 60) ** 2 + (surface.v + 70) ** 2
    spot: Light = (strength * np.exp(-distance / (2 * 45.0**2)))[..., np.newaxis].astype(np.float32)
    return spot


def in_camera(light: Light, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The whole frame: `light` in the middle of the wall, sensor noise on all of it that was drawn."""
    width, height = FRAME_PX
    side = light.shape[0]
    steps = np.clip(light * np.float32(STEPS - 1), 0, STEPS - 1).astype(np.uint16)
    noise = rng.standard_normal(light.shape, np.float32) * np.float32(SENSOR_NOISE)
    noisy = STORED[steps] + noise
    frame = np.full((height, width, 3), SURROUND, np.uint8)
    top, left = (height - side) // 2, (width - side) // 2
    frame[top : top + side, left : left + side] = np.clip(np.rint(noisy), 0, 255)
    return frame


def held(
    rng: np.random.Generator,
    frames: int,
    rate_hz: float,
    *,
    yaw_deg: float = 0.0,
    pitch_deg: float = 0.0,
    bend: tuple[float, float] = (0.0, 0.0),
) -> list[Hold]:
    """A sheet in somebody's hands: a tremor, and on top of it slow turns and bends.

    yaw_deg, pitch_deg: how far it is turned to either side, over some four and six seconds; bend: the least and the
    most (1/mm), over some three seconds. The tremor: 1.2 degrees and 4 mm (root mean square), 0.4 to 2 Hz.
    """
    time = np.arange(frames) / rate_hz
    slow = rng.uniform(0, 2 * np.pi, 3)
    yaw = yaw_deg * np.sin(2 * np.pi * time / 4.0 + slow[0])
    pitch = pitch_deg * np.sin(2 * np.pi * time / 6.0 + slow[1])
    curve = bend[0] + (bend[1] - bend[0]) * (1 + np.sin(2 * np.pi * time / 3.0 + slow[2])) / 2
    shake = [tremor(rng, time) for _ in range(6)]
    return [
        Hold(
            math.radians(yaw[i] + 1.2 * shake[0][i]),
            math.radians(pitch[i] + 1.2 * shake[1][i]),
            math.radians(1.2 * shake[2][i]),
            4.0 * float(shake[3][i]),
            4.0 * float(shake[4][i]),
            4.0 * float(shake[5][i]),
            float(curve[i]),
        )
        for i in range(frames)
    ]


def tremor(rng: np.random.Generator, time: NDArray[np.float64]) -> NDArray[np.float64]:
    """Three sine waves of 0.4 to 2 Hz; their root mean square is 1."""
    waves = [
        np.sin(2 * np.pi * (f * time + p))
        for f, p in zip(rng.uniform(0.4, 2, 3), rng.uniform(0, 1, 3), strict=True)
    ]
    total: NDArray[np.float64] = np.sum(waves, axis=0) * math.sqrt(2 / 3)
    return total


STORED = stored(np.linspace(0.0, 1.0, STEPS)).astype(np.float32)
