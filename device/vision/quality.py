# SPDX-License-Identifier: Apache-2.0
"""Pose and sample quality, from five landmarks and the aligned crop: cheap measures, each with its reason.

None of them says anything about who or what kind of person it is.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from device.records import Pose, Quality
from device.vision.align import CROP_PX

if TYPE_CHECKING:
    from numpy.typing import NDArray

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601

# The nose tip stands off the plane of eyes and mouth by about half the distance between the eyes, and eyes and
# mouth are about 1.15 such distances apart (both from the alignment template and mean adult head geometry). Turning
# the head by an angle moves the tip by that stand-off times its sine, while the plane shrinks by its cosine.
NOSE_STANDOFF = 0.5
EYES_TO_MOUTH = 1.15
NOSE_REST = 0.5  # where the nose tip lies between eyes (0) and mouth (1) of a face that looks straight ahead

# The crop's middle, where skin is: hair, background and hats at the rim say nothing about the exposure of the face.
MIDDLE = slice(CROP_PX // 4, CROP_PX - CROP_PX // 8)


def pose_of(landmarks: NDArray[np.float32]) -> Pose:
    """Rough pose, degrees, from (5, 2) landmarks; within some ten degrees, enough to tell who looks at the camera.

    yaw > 0: the nose points to the picture's right. pitch > 0: it points down. roll > 0: the picture's right eye
    is lower. Landmarks that coincide give 90 degrees: nothing that could be called facing the camera.
    """
    (rx, ry), (lx, ly), (nx, ny), (mrx, mry), (mlx, mly) = landmarks.tolist()
    eyes = math.hypot(lx - rx, ly - ry)
    if not eyes > 0.0:
        return Pose(90.0, 90.0, 90.0)
    cos, sin = (lx - rx) / eyes, (ly - ry) / eyes
    eye_x, eye_y = (rx + lx) / 2, (ry + ly) / 2
    mouth_x, mouth_y = (mrx + mlx) / 2 - eye_x, (mry + mly) / 2 - eye_y
    nose_x, nose_y = nx - eye_x, ny - eye_y
    mouth_down = -mouth_x * sin + mouth_y * cos
    if not mouth_down > 0.0:
        return Pose(90.0, 90.0, math.degrees(math.atan2(sin, cos)))
    along = (-nose_x * sin + nose_y * cos) / mouth_down
    # The midline runs from between the eyes to between the mouth corners; sideways is measured from it.
    aside = nose_x * cos + nose_y * sin - along * (mouth_x * cos + mouth_y * sin)
    return Pose(
        yaw_deg=math.degrees(math.atan2(aside, eyes * NOSE_STANDOFF)),
        pitch_deg=math.degrees(math.atan2((along - NOSE_REST) * EYES_TO_MOUTH, NOSE_STANDOFF)),
        roll_deg=math.degrees(math.atan2(sin, cos)),
    )


def quality_of(crop: NDArray[np.uint8], pose: Pose, face_px: float) -> Quality:
    """Sample quality of an aligned crop ((112, 112, 3) uint8 RGB) of a face `face_px` wide in the picture."""
    luma = luma_of(crop)
    return Quality(
        size=ramp(face_px, 30.0, 100.0),
        pose=1.0 - ramp(max(abs(pose.yaw_deg), abs(pose.pitch_deg), abs(pose.roll_deg) / 1.5), 10.0, 50.0),
        sharpness=sharpness_of(luma),
        exposure=exposure_of(luma),
    )


def luma_of(crop: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(h, w) float32 luma, 0 to 255."""
    luma: NDArray[np.float32] = crop.astype(np.float32) @ LUMA
    return luma


def sharpness_of(luma: NDArray[np.float32]) -> float:
    """0 to 1: how much detail survives, as the standard deviation of the Laplacian over that of the luma.

    Dividing by the contrast keeps a flat light from looking like blur. A Gaussian blur of 2 px in the crop brings
    the ratio of the demo's two portraits from 0.5 and 0.8 to about 0.1 (tests/unit/test_quality.py).
    """
    face = luma[MIDDLE, MIDDLE]
    laplacian = face[:-2, 1:-1] + face[2:, 1:-1] + face[1:-1, :-2] + face[1:-1, 2:] - 4 * face[1:-1, 1:-1]
    contrast = spread_of(face)[1]
    if contrast < 1.0:
        return 0.0
    return ramp(spread_of(laplacian)[1] / contrast, 0.05, 0.25)


def exposure_of(luma: NDArray[np.float32]) -> float:
    """0 to 1: neither dark, nor burnt, nor without contrast.

    The bounds are wide on purpose: dark skin in fair light must not count as a dark picture, so the mean may be as
    low as 40 of 255 without loss; what counts against a sample is detail lost at either end.
    """
    face = luma[MIDDLE, MIDDLE]
    mean, contrast = spread_of(face)
    lost = float(np.count_nonzero((face < 6) | (face > 249))) / face.size
    brightness = min(ramp(mean, 12.0, 40.0), 1.0 - ramp(mean, 215.0, 245.0))
    return min(brightness, 1.0 - ramp(lost, 0.1, 0.5), ramp(contrast, 3.0, 14.0))


def spread_of(values: NDArray[np.float32]) -> tuple[float, float]:
    """Mean and standard deviation. Two sums; `std` takes five times as long on something this small."""
    flat = np.ravel(values)
    mean = float(flat.mean())
    return mean, math.sqrt(max(0.0, float(flat @ flat) / flat.size - mean * mean))


def ramp(value: float, low: float, high: float) -> float:
    """0 below `low`, 1 above `high`, straight in between."""
    return min(1.0, max(0.0, (value - low) / (high - low)))
