# SPDX-License-Identifier: Apache-2.0
"""Pose from constructed heads; quality of the demo's portraits, worse in every way that a picture can be worse."""

from __future__ import annotations

import math
from functools import cache
from importlib.resources import files

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from device.measure.degrade import darkened, defocused, moved
from device.records import Pose, Quality
from device.vision.align import TEMPLATE, align
from device.vision.quality import exposure_of, luma_of, noise_of, pose_of, quality_of, spread_of

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


def judged(picture: NDArray[np.uint8]) -> Quality:
    """The quality of a large face that looks straight ahead."""
    return quality_of(picture, STRAIGHT, 120)


def lit(name: str, factor: float) -> NDArray[np.uint8]:
    """A portrait's face with `factor` times the light (sRGB's curve taken as a power of 2.2)."""
    linear = (crop(name) / 255.0) ** 2.2 * factor
    return (np.clip(linear, 0, 1) ** (1 / 2.2) * 255).astype(np.uint8)


def dark(name: str, light: float, gain: float = 1.0) -> NDArray[np.uint8]:
    """A portrait's face in the dark, with the sensor's noise."""
    return darkened(crop(name), light, np.random.default_rng(1), gain)


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
    assert judged(crop(name)).overall > 0.95  # one of them is an old print, and grainy


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
def test_defocus_lowers_sharpness_step_by_step_to_nothing(name: str) -> None:
    clear, soft, softer, lost = (
        judged(picture).sharpness
        for picture in (crop(name), *(defocused(crop(name), s) for s in (1.5, 2, 3)))
    )
    assert clear == 1.0
    assert clear > soft > softer > lost
    assert lost < 0.1


@pytest.mark.parametrize("name", PORTRAITS)
@pytest.mark.parametrize("along", [(1, 0), (0, 1), (1, 1), (1, -1)], ids=["level", "upright", "down", "up"])
def test_motion_in_any_direction_is_seen_though_it_blurs_in_one_only(
    name: str, along: tuple[int, int]
) -> None:
    slight, far, further = (judged(moved(crop(name), length, along)).sharpness for length in (2, 16, 24))
    assert slight > 0.4  # what enrolment asks for
    assert far < 0.2  # less than recognition asks for
    assert further < 0.1


@pytest.mark.parametrize("name", PORTRAITS)
def test_noise_on_a_blurred_face_is_not_taken_for_detail(name: str) -> None:
    blurred = moved(crop(name), 16)
    noisy = darkened(blurred, 0.1, np.random.default_rng(1), 10.0)
    assert judged(noisy).sharpness == pytest.approx(judged(blurred).sharpness, abs=0.1)


@pytest.mark.parametrize("name", PORTRAITS)
def test_flat_light_is_not_taken_for_blur(name: str) -> None:
    portrait = moved(crop(name), 8).astype(np.float32)
    flat = np.rint(portrait.mean() + (portrait - portrait.mean()) * 0.5).astype(np.uint8)
    assert 0.1 < judged(flat).sharpness < 0.9
    assert judged(flat).sharpness == pytest.approx(judged(portrait.astype(np.uint8)).sharpness, abs=0.03)


def test_a_crop_of_one_colour_is_neither_sharp_nor_well_lit() -> None:
    quality = judged(np.full((112, 112, 3), 128, np.uint8))
    assert (quality.sharpness, quality.exposure) == (0.0, 0.0)


def test_noise_is_measured_in_a_flat_picture_and_hardly_found_in_a_portrait() -> None:
    flat = np.random.default_rng(3).normal(128.0, 7.0, (70, 70)).astype(np.float32)
    assert noise_of(flat) == pytest.approx(7.0, abs=0.4)
    slope = np.add.outer(np.arange(70), 2 * np.arange(70)).astype(np.float32)
    assert noise_of(slope) == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize("name", PORTRAITS)
@pytest.mark.parametrize("gained", [False, True], ids=["as it is", "with gain"])
def test_the_less_light_the_more_its_noise_counts_against_a_sample(name: str, gained: bool) -> None:
    fair, dim, night = (judged(dark(name, light, 1 / light if gained else 1.0)) for light in (1, 0.12, 0.02))
    assert fair.exposure > 0.8 > dim.exposure > night.exposure
    assert night.exposure < 0.2


@pytest.mark.parametrize("name", PORTRAITS)
def test_a_face_in_the_dark_and_one_burnt_out_are_badly_exposed(name: str) -> None:
    assert judged(lit(name, 0.004)).exposure < 0.1
    assert judged(lit(name, 8.0)).exposure < 0.2


@pytest.mark.parametrize("name", PORTRAITS)
@pytest.mark.parametrize("reflectance", [0.3, 0.1, 0.06, 0.04])
def test_skin_of_any_shade_in_fair_light_is_well_exposed(name: str, reflectance: float) -> None:
    # Skin reflects from about 4 % (darkest) to 50 % of the light; a fair exposure shows that as it is.
    present = (float(luma_of(crop(name)).mean()) / 255) ** 2.2
    face = luma_of(lit(name, reflectance / present))
    assert exposure_of(face, *spread_of(face)) >= 0.9
