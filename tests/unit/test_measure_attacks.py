# SPDX-License-Identifier: Apache-2.0
"""The drawn attacks: a sheet lies where its hold says, bends as a cylinder, and its grid aliases as a grid does."""

from __future__ import annotations

import math

import numpy as np
import pytest

from device.measure.attacks import (
    DISTANCE_MM,
    FACE_MM,
    FOCAL_PX,
    FRAME_PX,
    Hold,
    Sheet,
    Surface,
    held,
    in_camera,
    let_through,
    look,
    on_paper,
    on_screen,
    periodic,
    rotation,
    shown,
)

SIDE = 65  # odd, so that one pixel is the middle
MM_PER_PX = DISTANCE_MM / FOCAL_PX


def seen_at(hold: Hold, point_mm: tuple[float, float, float]) -> tuple[float, float]:
    """Where a point in the sheet's own axes is seen, in pixels from the region's middle."""
    x, y, z = rotation(hold) @ np.array(point_mm) + [hold.x_mm, hold.y_mm, DISTANCE_MM + hold.z_mm]
    return FOCAL_PX * float(x) / float(z), FOCAL_PX * float(y) / float(z)


def read_at(surface: Surface, x: float, y: float) -> tuple[float, float]:
    """u and v of the nearest pixel to a place from the middle."""
    column, row = round(x) + SIDE // 2, round(y) + SIDE // 2
    return float(surface.u[row, column]), float(surface.v[row, column])


def test_a_sheet_held_straight_is_seen_at_its_distance() -> None:
    surface = look(Hold(), SIDE)
    assert read_at(surface, 0, 0) == (0.0, 0.0)
    assert read_at(surface, 20, -10) == pytest.approx((20 * MM_PER_PX, -10 * MM_PER_PX))


@pytest.mark.parametrize(
    "hold",
    [
        Hold(yaw=0.6),
        Hold(pitch=-0.4, roll=0.3),
        Hold(yaw=-0.3, pitch=0.2, roll=-0.2, x_mm=3.0, y_mm=-2.0, z_mm=40.0),
    ],
)
def test_every_point_of_a_turned_sheet_is_seen_where_a_pinhole_puts_it(hold: Hold) -> None:
    surface = look(hold, SIDE)
    for u, v in ((0.0, 0.0), (12.0, 9.0), (-15.0, 4.0)):
        x, y = seen_at(hold, (u, v, 0.0))
        assert read_at(surface, x, y) == pytest.approx((u, v), abs=1.5 * MM_PER_PX)


def test_a_bent_sheet_lies_on_its_cylinder_with_its_middle_towards_the_camera() -> None:
    hold = Hold(yaw=0.2, bend=1 / 60)
    surface = look(hold, SIDE)
    for u in (-18.0, 0.0, 18.0):
        angle = u / 60
        x, y = seen_at(hold, (60 * math.sin(angle), 5.0, 60 * (1 - math.cos(angle))))
        assert read_at(surface, x, y) == pytest.approx((u, 5.0), abs=1.5 * MM_PER_PX)


def test_a_ray_that_misses_the_bent_sheet_sees_the_wall() -> None:
    picture = np.zeros((50, 50, 3), np.uint8)
    light = shown(Sheet(picture, (25.0, 25.0), 20.0), look(Hold(bend=1 / 10), SIDE))
    assert light[SIDE // 2, SIDE // 2].max() == 0.0
    assert light[SIDE // 2, 0].min() > 0.1


def test_the_face_of_a_sheet_is_as_wide_as_one_at_the_door() -> None:
    picture = np.zeros((100, 200, 3), np.uint8)
    picture[:, 80:120] = 255
    light = shown(Sheet(picture, (99.5, 50.0), 40.0), look(Hold(), 401))
    bright = np.count_nonzero(light[200, :, 0] > 0.6)
    assert bright == pytest.approx(FACE_MM / MM_PER_PX, abs=6)


def test_lens_and_pixel_pass_what_is_coarse_and_nothing_that_is_fine() -> None:
    passed = let_through(np.array([0.0, 0.1, 0.5, 1.0, 3.0], np.float32))
    assert passed[0] == 1.0
    assert (np.diff(np.abs(passed)) < 0).all()
    assert abs(float(passed[-1])) < 1e-6


def test_a_grid_somewhat_finer_than_the_pixels_is_seen_as_a_coarser_one() -> None:
    pixels = np.tile(np.arange(128, dtype=np.float32), (8, 1))
    bars = periodic(pixels, 1 / 0.8, 0.3)[4, :, 0]  # 0.8 cycles a pixel: seen as 0.2
    spectrum = np.abs(np.fft.rfft(bars - bars.mean()))
    assert np.argmax(spectrum) == pytest.approx(0.2 * 128, abs=1)


def test_the_stripes_of_a_screen_are_a_third_of_its_pixel_apart() -> None:
    place = np.tile(np.linspace(0, 1, 120, endpoint=False, dtype=np.float32), (2, 1))
    bars = periodic(place, 1.0, 0.3, (0.0, 1 / 3))[0]
    assert np.argmax(bars[:, 1]) - np.argmax(bars[:, 0]) == pytest.approx(40, abs=1)


def test_paper_takes_contrast_and_a_fine_screen_shows_no_grid() -> None:
    surface = look(Hold(), SIDE)
    rng = np.random.default_rng(1)
    light = rng.uniform(0.1, 0.9, (SIDE, SIDE, 3)).astype(np.float32)
    assert on_paper(light, surface, 0.25).std() < light.std()
    plain = np.full((SIDE, SIDE, 3), 0.5, np.float32)
    fine, coarse = (
        np.diff(on_screen(plain, surface, pixel_mm, 0.0), axis=1).std() for pixel_mm in (0.15, 0.9)
    )
    assert fine < 0.1 * coarse


def test_the_frame_is_the_cameras_and_the_wall_is_around_what_was_drawn() -> None:
    frame = in_camera(np.ones((SIDE, SIDE, 3), np.float32), np.random.default_rng(1))
    assert frame.shape == (FRAME_PX[1], FRAME_PX[0], 3)
    assert frame[360, 640].min() > 240
    assert (frame[0] == frame[-1]).all()


def test_hands_tremble_and_turn_as_far_as_they_are_told() -> None:
    still = held(np.random.default_rng(1), 200, 12.0)
    turned = held(np.random.default_rng(1), 200, 12.0, yaw_deg=30.0, bend=(0.0, 0.01))
    yaws = np.degrees([hold.yaw for hold in turned])
    assert 0.4 < np.degrees(np.std([hold.yaw for hold in still])) < 2.0
    assert yaws.max() == pytest.approx(30, abs=4)
    assert yaws.min() == pytest.approx(-30, abs=4)
    assert {hold.bend for hold in still} == {0.0}
    assert max(hold.bend for hold in turned) == pytest.approx(0.01, rel=0.05)
