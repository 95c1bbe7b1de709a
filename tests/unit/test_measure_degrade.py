# SPDX-License-Identifier: Apache-2.0
"""Each degradation does what its docstring says, by numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from device.measure.degrade import (
    CAP_RGB,
    FULL_SCALE_E,
    GLASSES_RGB,
    MASK_RGB,
    SURROUND,
    compressed,
    darkened,
    defocused,
    in_frame,
    linear,
    masked,
    moved,
    resized,
    stored,
    with_cap,
    with_sunglasses,
)

# Eyes at (80, 100) and (120, 100), 40 px apart; nose tip, then the corners of the mouth.
LANDMARKS = np.array([[80, 100], [120, 100], [100, 123], [84, 146], [116, 146]], np.float32)
SKIN = np.full((240, 200, 3), 200, np.uint8)


def row(*values: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """A picture one pixel high, grey."""
    return np.array([[[value] * 3 for value in values]], np.uint8)


def grey(value: int, size: int = 100) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.full((size, size, 3), value, np.uint8)


def test_half_the_size_is_the_mean_of_two_by_two_pixels() -> None:
    picture = np.array([[[10] * 3, [20] * 3], [[30] * 3, [40] * 3]], np.uint8)
    assert resized(picture, 0.5).tolist() == [[[25, 25, 25]]]
    assert resized(picture, 3.0).shape == (6, 6, 3)


def test_a_picture_lies_in_the_middle_of_its_frame_and_what_is_too_large_is_cut_alike() -> None:
    framed = in_frame(row(1, 2), 6, 3)
    assert framed[1, :, 0].tolist() == [SURROUND, SURROUND, 1, 2, SURROUND, SURROUND]
    assert (framed[[0, 2]] == SURROUND).all()
    assert in_frame(row(1, 2, 3, 4), 2, 1)[0, :, 0].tolist() == [2, 3]


def test_stored_values_survive_the_way_to_linear_light_and_back() -> None:
    every = row(*range(256))
    assert (stored(linear(every)) == every).all()
    assert linear(row(188))[0, 0, 0] == pytest.approx(0.5, abs=0.004)  # sRGB: half the light is 188 of 255


def test_motion_of_three_pixels_spreads_a_white_pixel_over_three_by_a_third_of_its_light() -> None:
    spread = moved(row(0, 0, 0, 255, 0, 0, 0), 3.0)[0, :, 0]
    # A third of the light is 1.055 * (1/3)^(1/2.4) - 0.055 = 0.6125 of 255 = 156.
    assert spread.tolist() == [0, 0, 156, 156, 156, 0, 0]


def test_motion_of_two_pixels_gives_the_pixel_half_and_each_neighbour_a_quarter() -> None:
    light = linear(moved(row(0, 0, 255, 0, 0), 2.0))[0, :, 0]
    assert light == pytest.approx([0, 0.25, 0.5, 0.25, 0], abs=0.005)


def test_motion_of_one_pixel_changes_nothing_and_less_is_refused() -> None:
    picture = row(3, 200, 17)
    assert (moved(picture, 1.0) == picture).all()
    assert (moved(grey(90, 8), 5.5) == 90).all()  # no light is lost, at the edges neither
    with pytest.raises(ValueError, match="from 1 px on"):
        moved(picture, 0.5)


@pytest.mark.parametrize("along", [(1, 0), (0, 1), (1, 1), (1, -1)])
def test_motion_spreads_a_white_pixel_along_its_own_line_and_nowhere_else(along: tuple[int, int]) -> None:
    picture = np.zeros((7, 7, 3), np.uint8)
    picture[3, 3] = 255
    light = linear(moved(picture, 3 * float(np.hypot(*along)), along))[..., 0]
    line = [(3 + step * along[1], 3 + step * along[0]) for step in (-1, 0, 1)]
    assert [light[place] for place in line] == pytest.approx([1 / 3] * 3, abs=0.005)
    assert light.sum() == pytest.approx(1.0, abs=0.01)


def test_defocus_spreads_light_as_a_gaussian_and_loses_none() -> None:
    picture = np.zeros((25, 25, 3), np.uint8)
    picture[12, 12] = 255
    light = linear(defocused(picture, 2.0))[..., 0]
    assert light[12, 12] == pytest.approx(1 / (2 * np.pi * 4), abs=0.001)
    assert light[12, 14] / light[12, 12] == pytest.approx(np.exp(-0.5), abs=0.02)
    assert (light == light.T).all()
    assert (defocused(grey(90, 8), 3.0) == 90).all()


def test_gain_brings_the_dark_back_to_full_brightness_with_its_noise() -> None:
    flat = darkened(grey(188, 300), 0.1, np.random.default_rng(1), gain=10.0)
    light = linear(flat)[..., 0]
    # Half of white at a tenth: 50 electrons, noise sqrt(50 + 3 * 3) = 7.7 of 50.
    assert light.mean() == pytest.approx(0.5, abs=0.01)
    assert light.std() / light.mean() == pytest.approx(7.68 / 50, abs=0.01)


def test_darkness_scales_light_and_its_noise_is_shot_and_read_noise() -> None:
    dark = darkened(grey(255, 300), 0.1, np.random.default_rng(1))
    electrons = linear(dark)[..., 0] * FULL_SCALE_E
    # White at a tenth: 100 electrons, noise sqrt(100 + 3 * 3) = 10.44.
    assert electrons.mean() == pytest.approx(100, abs=0.5)
    assert electrons.std() == pytest.approx(10.44, abs=0.3)


def test_darkness_is_the_same_again_from_the_same_seed() -> None:
    one, again = (darkened(grey(120), 0.05, np.random.default_rng(7)) for _ in range(2))
    assert (one == again).all()


def test_compression_keeps_the_shape_and_loses_more_at_lower_quality() -> None:
    picture = np.random.default_rng(3).integers(0, 256, (64, 64, 3), np.uint8)
    lost = [
        np.abs(compressed(picture, quality).astype(int) - picture.astype(int)).mean() for quality in (90, 10)
    ]
    assert compressed(picture, 50).shape == picture.shape
    assert lost[0] < lost[1]


def colour(picture: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], x: int, y: int) -> tuple[int, ...]:
    return tuple(picture[y, x].tolist())


def test_a_mask_hides_nose_tip_mouth_and_chin_and_no_eye() -> None:
    worn = masked(SKIN, LANDMARKS)
    hidden = [(100, 123), (84, 146), (116, 146), (100, 165)]
    assert {colour(worn, x, y) for x, y in hidden} == {MASK_RGB}
    assert {colour(worn, x, y) for x, y in ((80, 100), (120, 100), (100, 70))} == {(200, 200, 200)}


def test_sunglasses_hide_both_eyes_and_no_mouth() -> None:
    worn = with_sunglasses(SKIN, LANDMARKS)
    assert {colour(worn, x, y) for x, y in ((80, 100), (120, 100), (100, 97))} == {GLASSES_RGB}
    assert {colour(worn, x, y) for x, y in ((84, 146), (100, 123), (100, 70))} == {(200, 200, 200)}


def test_a_cap_hides_the_forehead_and_no_landmark() -> None:
    worn = with_cap(SKIN, LANDMARKS)
    assert {colour(worn, x, y) for x, y in ((100, 80), (60, 60), (100, 30))} == {CAP_RGB}
    assert {colour(worn, int(x), int(y)) for x, y in LANDMARKS} == {(200, 200, 200)}


def test_what_is_worn_turns_with_the_face() -> None:
    # The face lies on its side: its right eye above its left one, its mouth 46 px to the left.
    turned = np.array([[100, 80], [100, 120], [77, 100], [54, 84], [54, 116]], np.float32)
    worn = masked(SKIN, turned)
    assert colour(worn, 54, 100) == MASK_RGB
    assert colour(worn, 146, 100) == (200, 200, 200)


def test_no_degradation_writes_into_what_it_was_given() -> None:
    before = SKIN.copy()
    for made in (masked(SKIN, LANDMARKS), moved(SKIN, 4.0), compressed(SKIN, 20), resized(SKIN, 1.0)):
        assert made is not SKIN
    assert (before == SKIN).all()
