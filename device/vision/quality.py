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

# What one pixel's second difference is of the contrast in a sharp face, two pixels apart, along the row, the column and
# both diagonals: the medians of LFW's photos. Faces have more lines across (eyes, mouth) than upright ones.
REACH = 2
SHARP = (0.45, 0.60, 0.78, 0.78)

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
    face = luma_of(crop)
    mean, contrast = spread_of(face)
    noise = noise_of(face)
    return Quality(
        size=ramp(face_px, 30.0, 100.0),
        pose=1.0 - ramp(max(abs(pose.yaw_deg), abs(pose.pitch_deg), abs(pose.roll_deg) / 1.5), 10.0, 50.0),
        sharpness=sharpness_of(face, contrast, noise),
        exposure=min(exposure_of(face, mean, contrast), clearness_of(contrast, noise)),
    )


def luma_of(crop: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(70, 70) float32 luma of the crop's middle, 0 to 255."""
    luma: NDArray[np.float32] = crop[MIDDLE, MIDDLE].astype(np.float32) @ LUMA
    return luma


def sharpness_of(face: NDArray[np.float32], contrast: float, noise: float) -> float:
    """0 to 1: how much detail survives in the direction in which least does, as motion blurs in one direction only.

    The measure is the second difference in four directions, each over the contrast, so that flat light does not look
    like blur, and over what it is in sharp faces. What noise adds to it (six times its variance) is taken off. The ramp
    is set where errors begin: of LFW searches blurred by motion or defocus, 6.6 % missed at 0.30 to 0.35, 1.9 % at 0.35
    to 0.40 (recognition's gate is at 0.37), 0.5 % at 0.40 to 0.45 and none of 1,523 above; 2 % of LFW's photos as they
    are lie below 0.50 (enrolment's gate).
    """
    if contrast < 1.0:
        return 0.0
    near, far, size = REACH, 2 * REACH, face.shape[0]
    # Every second row is enough to judge by, and this runs in the frame's path.
    above, row, below = face[:-far:2], face[near : size - near : 2], face[far::2]
    middle = slice(near, size - near)
    twice = 2 * row[:, middle]
    weakest = math.inf
    for before, after, sharp in (
        (row[:, :-far], row[:, far:], SHARP[0]),
        (above[:, middle], below[:, middle], SHARP[1]),
        (above[:, :-far], below[:, far:], SHARP[2]),
        (above[:, far:], below[:, :-far], SHARP[3]),
    ):
        second = before + after
        second -= twice
        flat = second.ravel()
        energy = float(flat @ flat) / flat.size - 6 * noise * noise
        weakest = min(weakest, max(0.0, energy) / (sharp * sharp))
    return ramp(math.sqrt(weakest) / contrast, 0.24, 0.89)


def noise_of(face: NDArray[np.float32]) -> float:
    """Standard deviation of the sensor's noise in the crop, in luma.

    After Immerkaer 1996, "Fast Noise Variance Estimation": the second difference both ways leaves hardly anything of a
    picture, and of noise 36 times its variance. The crop's own sampling has smoothed the noise: this is what is left.
    """
    across = face[2::2] + face[:-2:2]
    across -= 2 * face[1:-1:2]
    both = across[:, 2:] + across[:, :-2]
    both -= 2 * across[:, 1:-1]
    return float(np.abs(both, out=both).sum()) / both.size * math.sqrt(math.pi / 2) / 6


def clearness_of(contrast: float, noise: float) -> float:
    """0 to 1: how far the face stands out of the sensor's noise.

    Skin and hair count as noise, too, up to 0.06 of the contrast in LFW's photos (99.9 %) and to 0.13 in sharp faces
    200 px wide, hence the start. Of searches in the dark, with gain or without, 1.5 % missed at 0.14 to 0.18, 6 % at
    0.24 to 0.26 (recognition's gate is at 0.244, enrolment's at 0.218) and 21 % at 0.30 to 0.35.
    """
    return 0.0 if contrast < 1.0 else 1.0 - ramp(noise / contrast, 0.14, 0.27)


def exposure_of(face: NDArray[np.float32], mean: float, contrast: float) -> float:
    """0 to 1: neither dark, nor burnt, nor without contrast.

    The bounds are wide on purpose: dark skin in fair light must not count as a dark picture, so the mean may be as
    low as 40 of 255 without loss; what counts against a sample is detail lost at either end.
    """
    lost = float(np.count_nonzero((face < 6) | (face > 249))) / face.size
    brightness = min(ramp(mean, 12.0, 40.0), 1.0 - ramp(mean, 215.0, 245.0))
    return min(brightness, 1.0 - ramp(lost, 0.1, 0.5), ramp(contrast, 3.0, 14.0))


def spread_of(values: NDArray[np.float32]) -> tuple[float, float]:
    """Mean and standard deviation. Two sums; `mean` and `std` take far longer on something this small."""
    flat = np.ravel(values)
    mean = float(flat.sum()) / flat.size
    return mean, math.sqrt(max(0.0, float(flat @ flat) / flat.size - mean * mean))


def ramp(value: float, low: float, high: float) -> float:
    """0 below `low`, 1 above `high`, straight in between."""
    return min(1.0, max(0.0, (value - low) / (high - low)))
