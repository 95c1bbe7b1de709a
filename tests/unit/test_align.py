# SPDX-License-Identifier: Apache-2.0
"""Alignment against a sampler written here, pixel centres at whole numbers; nothing shifts by half a pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from device.vision.align import CROP_PX, TEMPLATE, align

Array = NDArray[np.float64]
MIDDLE = np.array([56.0, 56.0])


def placed(scale: float, turn: float, middle: tuple[float, float]) -> tuple[NDArray[np.float32], Array]:
    """Landmarks of a face of `scale` times the template's size, and where each crop pixel then lies."""
    c, s = scale * math.cos(turn), scale * math.sin(turn)
    rotation = np.array([[c, s], [-s, c]])
    y, x = np.mgrid[:CROP_PX, :CROP_PX]
    pixels = np.stack([x, y], axis=-1) - MIDDLE
    landmarks: Array = (TEMPLATE - MIDDLE) @ rotation + middle
    return landmarks.astype(np.float32), pixels @ rotation + middle


def moved(x: float, y: float) -> NDArray[np.float32]:
    """The template's landmarks, moved."""
    points: Array = TEMPLATE + np.array([x, y])
    return points.astype(np.float32)


def bilinear(picture: NDArray[np.uint8], points: Array) -> Array:
    """`picture` at `points` (..., 2), as the textbook has it; the points must lie within."""
    x, y = points[..., 0], points[..., 1]
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    u, v = (x - left)[..., np.newaxis], (y - top)[..., np.newaxis]
    real = picture.astype(np.float64)
    upper = real[top, left] * (1 - u) + real[top, left + 1] * u
    lower = real[top + 1, left] * (1 - u) + real[top + 1, left + 1] * u
    result: Array = upper * (1 - v) + lower * v
    return result


def slope(height: int, width: int) -> NDArray[np.uint8]:
    """Every channel rises in a direction of its own, half a level a pixel; noise keeps roundings apart."""
    y, x = np.mgrid[:height, :width]
    real = np.stack([x * 0.5 + 20, y * 0.5 + 20, (x + y) * 0.3 + 4], axis=-1)
    noise = np.random.default_rng(2).uniform(-4, 4, real.shape)
    return (real + noise).clip(0, 255).round().astype(np.uint8)


def smooth_noise(height: int, width: int) -> NDArray[np.uint8]:
    """Something with an edge in every direction, but none sharper than some pixels."""
    coarse = np.random.default_rng(5).uniform(0, 255, (height // 8 + 2, width // 8 + 2, 3)).astype(np.uint8)
    y, x = np.mgrid[:height, :width]
    return bilinear(coarse, np.stack([x, y], axis=-1) / 8).round().astype(np.uint8)


def test_landmarks_on_the_template_give_the_picture_back() -> None:
    picture = smooth_noise(CROP_PX, CROP_PX)
    assert np.abs(align(picture, TEMPLATE.astype(np.float32)).astype(int) - picture).max() <= 1


def test_a_shift_by_whole_pixels_is_a_cut_out() -> None:
    picture = smooth_noise(200, 220)
    crop = align(picture, moved(60, 40))
    assert np.abs(crop.astype(int) - picture[40:152, 60:172]).max() <= 1


@pytest.mark.parametrize("turn", [0.0, 0.4, -1.3, 3.0])
@pytest.mark.parametrize("scale", [0.6, 1.0, 1.7])
def test_a_turned_and_scaled_face_is_sampled_where_a_naive_sampler_samples_it(
    scale: float, turn: float
) -> None:
    picture = smooth_noise(420, 400)
    landmarks, points = placed(scale, turn, (200.3, 210.8))
    difference = align(picture, landmarks) - bilinear(picture, points)
    assert np.abs(difference).max() <= 2.0
    assert abs(difference.mean()) <= 0.6  # Pillow cuts the fraction off where it could round


@pytest.mark.parametrize("turn", [0.0, 0.4, -1.3])
@pytest.mark.parametrize("scale", [2.0, 2.5, 3.3])
def test_averaging_before_a_large_reduction_shifts_nothing(scale: float, turn: float) -> None:
    # The mean of a slope is the slope in the middle. Rounding lowers the slope and its negative alike, while a shift
    # moves them apart: half a source pixel would show as a quarter of a level.
    picture = slope(440, 420)
    landmarks, points = placed(scale, turn, (210.25, 219.5))
    inside = ((points > 3) & (points < (416, 436))).all(axis=-1)
    expected = np.stack(
        [points[..., 0] * 0.5 + 20, points[..., 1] * 0.5 + 20, points.sum(axis=-1) * 0.3 + 4], axis=-1
    )
    rising = (align(picture, landmarks) - expected)[inside]
    falling = (align(255 - picture, landmarks) - (255 - expected))[inside]
    assert np.abs(rising.mean(axis=0) - falling.mean(axis=0)).max() / 2 <= 0.08


def test_the_finest_pattern_turns_grey_and_not_into_stripes_when_it_is_made_smaller() -> None:
    y, x = np.mgrid[:600, :600]
    picture = np.repeat((((x + y) % 2) * 255).astype(np.uint8)[..., np.newaxis], 3, axis=2)
    landmarks, _ = placed(4.3, 0.2, (300.0, 300.0))
    crop = align(picture, landmarks).astype(float)
    assert np.abs(crop - 127.5).max() <= 2.0


def test_what_lies_outside_the_picture_is_black() -> None:
    crop = align(np.full((100, 100, 3), 255, np.uint8), moved(-56, 0))
    assert (crop[:99, 57:] >= 254).all()
    assert not crop[:, :55].any()


def test_a_face_wholly_outside_gives_a_black_crop() -> None:
    crop = align(np.full((100, 100, 3), 255, np.uint8), moved(5000, 0))
    assert crop.shape == (CROP_PX, CROP_PX, 3)
    assert crop.dtype == np.uint8
    assert not crop.any()


def test_aligning_does_not_touch_the_picture() -> None:
    picture = smooth_noise(200, 200)
    before = picture.copy()
    align(picture, placed(1.2, 0.3, (100, 100))[0])
    assert np.array_equal(picture, before)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_landmarks_that_are_no_numbers_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        align(np.zeros((9, 9, 3), np.uint8), np.full((5, 2), value, np.float32))


def test_landmarks_in_one_point_are_refused() -> None:
    with pytest.raises(ValueError, match="coincide"):
        align(np.zeros((9, 9, 3), np.uint8), np.full((5, 2), 4, np.float32))
