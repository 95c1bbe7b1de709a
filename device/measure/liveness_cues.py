# SPDX-License-Identifier: Apache-2.0
"""What a single camera could tell a face from a picture of one by: parallax over a track, moire and tone in a frame.

They are measured here and used nowhere in the product: docs/decisions/0020-liveness.md says why. What may surprise:
none of them knows what a face is, so none needs a model, and whatever moves or looks as a face does passes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from device.vision.quality import luma_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from device.geometry import Point

PATCH_PX = 96
RING_PX = 4  # the width of a ring of the spectrum
LOWEST_RING = 3  # 1/8 of a cycle a pixel: below it are the face's own shapes


class Parallax:
    """Five landmarks over a track, as 18 numbers: do they move as points of a plane, or as points of a solid do?

    After its middle and its size are taken out, each frame adds the (5, 5) products of its landmarks. Seen from afar, a
    turned plane gives points that lie in one two-dimensional space for ever, a solid needs a third (Tomasi and Kanade
    1992); what is left in the third is the parallax, together with the detector's noise and with every movement of the
    mouth. A size or a turn within the picture changes nothing.
    """

    def __init__(self) -> None:
        self.frames = 0
        self._products = np.zeros((5, 5))
        self._aspect = self._aspect_squared = 0.0

    def add(self, landmarks: NDArray[np.float32]) -> None:
        """One more frame's (5, 2) landmarks, in pixels. Those that all coincide are no face and are left out."""
        points = landmarks.astype(np.float64)
        points -= points.mean(axis=0)
        size = float((points * points).sum()) / 5
        eyes = math.dist(points[0], points[1])
        down = math.dist((points[0] + points[1]) / 2, (points[3] + points[4]) / 2)
        if not (size > 0.0 and eyes > 0.0 and down > 0.0):
            return
        self._products += points @ points.T / size
        aspect = math.log(eyes / down)
        self._aspect += aspect
        self._aspect_squared += aspect * aspect
        self.frames += 1

    @property
    def depth(self) -> float:
        """Root mean square of what no plane explains, in the face's size (the landmarks' spread); 0 without frames."""
        if self.frames == 0:
            return 0.0
        third = float(np.linalg.eigvalsh(self._products)[2])
        return math.sqrt(max(0.0, third / self.frames))

    @property
    def turn(self) -> float:
        """How much eyes and mouth were foreshortened against each other: the spread of the log of their ratio."""
        if self.frames == 0:
            return 0.0
        mean = self._aspect / self.frames
        return math.sqrt(max(0.0, self._aspect_squared / self.frames - mean * mean))


def patch_of(main: NDArray[np.uint8], middle: Point) -> NDArray[np.uint8] | None:
    """PATCH_PX squared pixels around a face's middle, as the sensor gave them; None where they leave the picture."""
    x, y = middle
    left, top = round(x) - PATCH_PX // 2, round(y) - PATCH_PX // 2
    height, width = main.shape[:2]
    if left < 0 or top < 0 or left + PATCH_PX > width or top + PATCH_PX > height:
        return None
    return main[top : top + PATCH_PX, left : left + PATCH_PX]


def moire(patch: NDArray[np.uint8]) -> float:
    """How far the highest peak of the spectrum stands above its ring's median, in decades of power.

    A screen's grid puts its power into few frequencies; skin, hair and noise spread theirs over all directions. The
    green channel alone: the stripes of three colours cancel in the luma.
    """
    green = patch[..., 1].astype(np.float32)
    green -= green.mean()
    power = np.abs(np.fft.rfft2(green * WINDOW)) ** 2 + 1.0
    decades = np.log10(power)
    rings = [np.sort(decades.take(ring)) for ring in RINGS]
    return max(float(ring[-1] - ring[ring.size // 2]) for ring in rings)


def contrast(patch: NDArray[np.uint8]) -> float:
    """Spread of the luma over its mean."""
    luma = luma_of(patch)
    return float(luma.std()) / max(1.0, float(luma.mean()))


def colour(patch: NDArray[np.uint8]) -> float:
    """Mean distance of the channels, in shares of the brightest."""
    most, least = patch.max(axis=-1).astype(np.float32), patch.min(axis=-1).astype(np.float32)
    return float(((most - least) / np.maximum(most, 1.0)).mean())


def ring_table() -> list[NDArray[np.intp]]:
    """Places in the flat half spectrum, by ring of frequencies, up to half a cycle a pixel."""
    down = np.fft.fftfreq(PATCH_PX)[:, np.newaxis]
    across = np.fft.rfftfreq(PATCH_PX)[np.newaxis, :]
    ring = np.floor(np.hypot(down, across) * PATCH_PX / RING_PX)
    return [np.flatnonzero(ring == number) for number in range(LOWEST_RING, PATCH_PX // 2 // RING_PX)]


RINGS = ring_table()
WINDOW = np.outer(np.hanning(PATCH_PX), np.hanning(PATCH_PX)).astype(np.float32)

# Each cue of one frame: its measure, and the side on which attacks lie (+1: above).
CUES: dict[str, tuple[Callable[[NDArray[np.uint8]], float], int]] = {
    "moire": (moire, 1),
    "contrast": (contrast, -1),
    "colour": (colour, -1),
}
