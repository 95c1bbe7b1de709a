# SPDX-License-Identifier: Apache-2.0
"""A photo of a face that looks at the camera, turned aside: what the detector and the pose estimate make of it.

Photos of profiles are few and nobody measured their angle, so the angle is made: the photo is laid on an ellipsoid with
a nose, placed by the landmarks, which is then turned about its upright axis. What may surprise: the far cheek and ear
are not in the photo, so the edge of what is there is drawn out over them; hair and neck stay where they are behind the
head. That is enough to tell who is refused for looking aside, and too coarse to say how well a profile is recognised.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

# All in distances between the eyes (63 mm, the mean of adults), from the middle between the eyes: x to the picture's
# right, y down, z towards the camera. Half axes: a head 150 mm wide, 220 high, 190 deep; its middle is below the eyes.
HALF_WIDTH, HALF_HEIGHT, HALF_DEPTH = 1.2, 1.75, 1.5
MIDDLE_Y = 0.35
NOSE_TIP_Y = 0.57
NOSE_HEIGHT = 0.33  # the tip then stands about 0.5 before eyes and mouth, as vision/quality has it
NOSE_HALF_WIDTH, NOSE_HALF_LENGTH = 0.17, 0.28
SEEN = 0.8  # of the half width: further out a photo from the front shows hardly any skin
FINER = 2  # drawn at twice the size and averaged down
STEPS = 3  # points drawn a pixel


def turned(picture: NDArray[np.uint8], landmarks: NDArray[np.float32], yaw_deg: float) -> NDArray[np.uint8]:
    """`picture` with the head of these (5, 2) landmarks turned; yaw_deg > 0: the nose to the picture's right."""
    height, width = picture.shape[:2]
    (rx, ry), (lx, ly) = landmarks[:2].astype(np.float64).tolist()
    right_x, right_y = lx - rx, ly - ry
    scale = math.hypot(right_x, right_y)
    x, y, z = surface(scale)
    u = np.clip(x, -SEEN * HALF_WIDTH, SEEN * HALF_WIDTH)
    cos, sin = math.cos(math.radians(yaw_deg)), math.sin(math.radians(yaw_deg))
    to_side, to_front = x * cos + z * sin, z * cos - x * sin
    order = np.argsort(to_front, kind="stable")[np.count_nonzero(to_front <= 0.0) :]

    def pixels(across: NDArray[np.float64], down: NDArray[np.float64]) -> tuple[NDArray[np.int64], ...]:
        """Rows and columns of the finer picture."""
        column = (rx + lx) / 2 + across * right_x - down * right_y
        row = (ry + ly) / 2 + across * right_y + down * right_x
        return tuple(
            np.clip(np.rint((value + 0.5) * FINER - 0.5), 0, limit * FINER - 1).astype(np.int64)
            for value, limit in ((row, height), (column, width))
        )

    fine = np.array(
        Image.fromarray(picture).resize((width * FINER, height * FINER), Image.Resampling.BICUBIC)
    )
    colours = fine[pixels(u[order], y[order])]
    fine[pixels(to_side[order], y[order])] = (
        colours  # from back to front: what is nearer covers what is behind
    )
    return np.asarray(Image.fromarray(fine).reduce(FINER))


def surface(scale: float) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Points of the head, all around, as x, y, z; `scale` pixels are one distance between the eyes."""
    dense = math.ceil(scale * FINER * STEPS)
    around = np.linspace(-math.pi, math.pi, math.ceil(2 * HALF_DEPTH * dense))
    up = np.linspace(-math.pi / 2, math.pi / 2, math.ceil(HALF_HEIGHT * dense))
    around, up = (grid.ravel() for grid in np.meshgrid(around, up))
    ring = np.cos(up)
    x, y, z = (
        HALF_WIDTH * np.sin(around) * ring,
        MIDDLE_Y + HALF_HEIGHT * np.sin(up),
        HALF_DEPTH * np.cos(around) * ring,
    )
    ridge = np.exp(-((x / NOSE_HALF_WIDTH) ** 2) - ((y - NOSE_TIP_Y) / NOSE_HALF_LENGTH) ** 2)
    return x, y, z + np.where(z > 0, NOSE_HEIGHT * ridge, 0.0)
