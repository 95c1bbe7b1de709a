# SPDX-License-Identifier: Apache-2.0
"""Pose from constructed heads; quality of the demo's portraits, worse in every way that a picture can be worse."""

from __future__ import annotations

import math
from functools import cache
from importlib.resources import files

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from device.records import Pose
from device.vision.align import TEMPLATE, align
from device.vision.quality import exposure_of, luma_of, pose_of, quality_of, sharpness_of

# A head in millimetres: x to the picture's right, y down, z towards the camera. Pupils 63 mm apart; the tip of the
# nose 36 mm below them and 30 mm in front; the corners of the mouth 70 mm below, 50 mm apart.
HEAD = np.array([[-31.5, 0, 0], [31.5, 0, 0], [0, 36, 30], [-25, 70, 2], [25, 70, 2]], np.float64)
STRAIGHT = Pose(0, 0, 0)
# Where YuNet finds the landmarks of the two portraits.
LANDMARKS = {
    "astronaut.png": [[203, 107], [245, 107], [222, 128], [205, 144], [242, 145]],
    "grace_hopper.jpg": [[226, 196], [306, 191], [267, 240], [236, 276], [301, 274]],
}
PORTRAITS = sorted(LANDMARKS)


def seen(yaw_deg: float = 0.0, pitch_deg: float = 0.0, roll_deg: float = 0.0) -> NDArray[np.float32]:
    """The five points of HEAD from afar, turned: the nose to the right, down, the head clockwise."""
    yaw, pitch, roll = map(math.radians, (yaw_deg, pitch_deg, roll_deg))
    to_side = np.array([[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]])
    down = np.array(
        [[1, 0, 0], [0, math.cos(pitch), math.sin(pitch)], [0, -math.sin(pitch), math.cos(pitch)]]
    )
    tilt = np.array([[math.cos(roll), -math.sin(roll), 0], [math.sin(roll), math.cos(roll), 0], [0, 0, 1]])
    turned = HEAD @ (tilt @ down @ to_side).T
    points: NDArray[np.float64] = turned[:, :2] * 1.7 + (300, 200)
    return points.astype(np.float32)


@cache
def crop(name: str) -> NDArray[np.uint8]:
    """A portrait's face."""
    with files("device.demo_data").joinpath(name).open("rb") as stream:
        picture = np.asarray(Image.open(stream).convert("RGB"))
    return align(picture, np.array(LANDMARKS[name], np.float32))


def blurred(name: str, sigma_px: float) -> NDArray[np.float32]:
    """The luma of a portrait's face, out of focus."""
    return luma_of(np.asarray(Image.fromarray(crop(name)).filter(ImageFilter.GaussianBlur(sigma_px))))


def lit(name: str, factor: float) -> NDArray[np.float32]:
    """The luma of a portrait's face with `factor` times the light (sRGB's curve taken as a power of 2.2)."""
    linear = (crop(name) / 255.0) ** 2.2 * factor
    return luma_of((np.clip(linear, 0, 1) ** (1 / 2.2) * 255).astype(np.uint8))


def test_the_template_looks_straight_ahead() -> None:
    pose = pose_of(TEMPLATE.astype(np.float32))
    assert (pose.yaw_deg, pose.pitch_deg, pose.roll_deg) == pytest.approx((0, 0, 0), abs=1)


@pytest.mark.parametrize("angle", [-35, -20, 0, 20, 35])
@pytest.mark.parametrize("axis", ["yaw_deg", "pitch_deg", "roll_deg"])
def test_a_head_turned_about_one_axis_is_read_within_ten_degrees(axis: str, angle: float) -> None:
    pose = pose_of(seen(**{axis: angle}))
    for name in ("yaw_deg", "pitch_deg", "roll_deg"):
        assert getattr(pose, name) == pytest.approx(angle if name == axis else 0, abs=10), name
    if angle:
        assert math.copysign(1, getattr(pose, axis)) == math.copysign(1, angle)


@pytest.mark.parametrize("roll", [-40, 40])
def test_a_tilted_head_keeps_its_yaw(roll: float) -> None:
    assert pose_of(seen(yaw_deg=25, roll_deg=roll)).yaw_deg == pytest.approx(25, abs=10)


def test_a_profile_is_far_from_facing_the_camera() -> None:
    assert abs(pose_of(seen(yaw_deg=70)).yaw_deg) > 50


@pytest.mark.parametrize(
    "landmarks",
    [np.zeros((5, 2)), TEMPLATE[[0, 0, 2, 3, 4]], np.full((5, 2), np.nan), TEMPLATE * [1, -1]],
    ids=["one point", "one eye", "no numbers", "mouth above the eyes"],
)
def test_landmarks_that_are_no_face_look_nowhere(landmarks: NDArray[np.float64]) -> None:
    pose = pose_of(landmarks.astype(np.float32))
    assert pose.yaw_deg == 90.0


@pytest.mark.parametrize("name", PORTRAITS)
def test_a_clear_portrait_is_good_in_every_part(name: str) -> None:
    quality = quality_of(crop(name), STRAIGHT, 120)
    assert quality.overall == 1.0


@pytest.mark.parametrize(("face_px", "size"), [(20, 0.0), (30, 0.0), (65, 0.5), (100, 1.0), (400, 1.0)])
def test_size_rises_from_30_to_100_pixels(face_px: float, size: float) -> None:
    assert quality_of(crop(PORTRAITS[0]), STRAIGHT, face_px).size == pytest.approx(size)


@pytest.mark.parametrize(
    ("pose", "quality"),
    [(Pose(10, 0, 0), 1.0), (Pose(0, -30, 0), 0.5), (Pose(50, 0, 0), 0.0), (Pose(0, 0, 45), 0.5)],
)
def test_the_worst_angle_counts_and_a_tilt_counts_less(pose: Pose, quality: float) -> None:
    assert quality_of(crop(PORTRAITS[0]), pose, 120).pose == pytest.approx(quality)


def test_the_weakest_part_is_the_whole() -> None:
    assert quality_of(crop(PORTRAITS[0]), Pose(0, 0, 0), 37).overall == pytest.approx(0.1)


@pytest.mark.parametrize("name", PORTRAITS)
def test_blur_lowers_sharpness_step_by_step_to_nothing(name: str) -> None:
    clear, soft, softer, lost = (sharpness_of(blurred(name, sigma)) for sigma in (0, 2, 3, 9))
    assert clear == 1.0
    assert 0.5 > soft > softer
    assert lost < 0.1


@pytest.mark.parametrize("name", PORTRAITS)
def test_flat_light_is_not_taken_for_blur(name: str) -> None:
    luma = luma_of(crop(name))
    flat = luma.mean() + (luma - luma.mean()) * np.float32(0.4)
    assert sharpness_of(flat) == pytest.approx(sharpness_of(luma), abs=0.02)


def test_a_crop_of_one_colour_is_neither_sharp_nor_well_lit() -> None:
    quality = quality_of(np.full((112, 112, 3), 128, np.uint8), STRAIGHT, 120)
    assert (quality.sharpness, quality.exposure) == (0.0, 0.0)


@pytest.mark.parametrize("name", PORTRAITS)
def test_a_face_in_the_dark_and_one_burnt_out_are_badly_exposed(name: str) -> None:
    assert exposure_of(lit(name, 0.004)) < 0.1
    assert exposure_of(lit(name, 8.0)) < 0.2


@pytest.mark.parametrize("name", PORTRAITS)
@pytest.mark.parametrize("reflectance", [0.3, 0.1, 0.06, 0.04])
def test_skin_of_any_shade_in_fair_light_is_well_exposed(name: str, reflectance: float) -> None:
    # Skin reflects from about 4 % (darkest) to 50 % of the light; a fair exposure shows that as it is.
    present = (float(lit(name, 1.0)[28:98, 28:98].mean()) / 255) ** 2.2
    assert exposure_of(lit(name, reflectance / present)) >= 0.9
