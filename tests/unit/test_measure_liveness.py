# SPDX-License-Identifier: Apache-2.0
"""The cues of a flat picture, on drawn points and patterns, and the arithmetic of their error rates."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from device.measure.attacks import Hold, held, rotation
from device.measure.liveness_cues import PATCH_PX, Parallax, colour, contrast, moire, patch_of
from device.measure.liveness_figures import (
    FLAT_TURN,
    Judged,
    Single,
    cue_figures,
    parallax_figures,
    quartiles,
    threshold_above,
    verdict,
)
from device.measure.presentations import PRINTS, RATE_HZ

# Right eye, left eye, nose tip, right and left mouth corner, in mm; the nose tip stands off by half the eyes' distance.
FLAT = np.array([[-32, -35, 0], [32, -35, 0], [0, 0, 0], [-25, 38, 0], [25, 38, 0]], float)
SOLID = FLAT - [0, 0, 1] * np.array([[0], [0], [32], [0], [0]])


def landmarks(points: NDArray[np.float64], hold: Hold, scale: float = 1.0) -> NDArray[np.float32]:
    """Five points in mm as a camera sees them, in pixels."""
    placed = points @ rotation(hold).T + [hold.x_mm, hold.y_mm, 750.0 + hold.z_mm]
    return (placed[:, :2] / placed[:, 2:] * 1000 * scale).astype(np.float32)


def parallax_of(points: NDArray[np.float64], holds: list[Hold]) -> Parallax:
    """All of these holds as one track."""
    parallax = Parallax()
    for hold in holds:
        parallax.add(landmarks(points, hold))
    return parallax


def turning(yaw_deg: float) -> list[Hold]:
    """Some three seconds of turning to both sides."""
    return held(np.random.default_rng(1), 40, 12.0, yaw_deg=yaw_deg)


def test_a_solid_face_that_turns_has_several_times_the_parallax_of_a_plane() -> None:
    flat, solid = parallax_of(FLAT, turning(28.0)), parallax_of(SOLID, turning(28.0))
    assert solid.depth > 0.19
    assert flat.depth < 0.03
    assert flat.turn == pytest.approx(solid.turn)
    assert flat.turn > FLAT_TURN


def test_a_print_turned_as_the_attack_is_is_foreshortened_by_what_the_decision_says() -> None:
    handling = PRINTS["print_turned"]
    holds = held(
        np.random.default_rng(1), 40, RATE_HZ, yaw_deg=handling.yaw_deg, pitch_deg=handling.pitch_deg
    )
    assert parallax_of(FLAT, holds).turn == pytest.approx(0.07, abs=0.02)


def test_size_place_and_a_turn_within_the_picture_are_no_parallax() -> None:
    parallax = Parallax()
    for step in range(30):
        roll = Hold(roll=0.05 * step)
        parallax.add(landmarks(FLAT, roll, scale=1 + step / 10) + np.float32(7 * step))
    assert parallax.depth < 1e-3
    assert parallax.turn < 1e-3


def test_a_face_that_holds_still_has_no_parallax_however_solid_it_is() -> None:
    parallax = parallax_of(SOLID, [Hold()] * 30)
    assert (parallax.depth, parallax.turn) == pytest.approx((0.0, 0.0), abs=1e-3)


def test_points_that_coincide_are_left_out() -> None:
    parallax = Parallax()
    parallax.add(np.zeros((5, 2), np.float32))
    assert (parallax.frames, parallax.depth, parallax.turn) == (0, 0.0, 0.0)


def test_a_grid_stands_out_of_the_spectrum_and_noise_does_not() -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(128, 10, (PATCH_PX, PATCH_PX, 3))
    grid = 8 * np.cos(2 * np.pi * 0.3 * np.arange(PATCH_PX))[np.newaxis, :, np.newaxis]
    assert moire(as_picture(noise + grid)) > moire(as_picture(noise)) + 1.0


def test_a_paler_picture_has_less_contrast_and_less_colour() -> None:
    rng = np.random.default_rng(1)
    picture = rng.uniform(40, 220, (PATCH_PX, PATCH_PX, 3))
    pale = 128 + 0.4 * (picture - 128)
    assert contrast(as_picture(pale)) < 0.6 * contrast(as_picture(picture))
    assert colour(as_picture(pale)) < 0.7 * colour(as_picture(picture))


def test_a_patch_is_the_middle_of_the_face_or_nothing() -> None:
    main = np.zeros((200, 300, 3), np.uint8)
    main[100, 150] = 255
    patch = patch_of(main, (150.0, 100.0))
    assert patch is not None
    assert patch[PATCH_PX // 2, PATCH_PX // 2].min() == 255
    assert patch_of(main, (40.0, 100.0)) is None


def as_picture(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The nearest pixels."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def judged(kind: str, group: int, depth: float, *, turn: float = 0.0, frames: int = 40) -> Judged:
    """A presentation of this depth."""
    return Judged(kind, group, frames, depth, turn, {"moire": depth, "contrast": 0.5, "colour": 0.5})


@pytest.mark.parametrize(
    ("depth", "turn", "frames", "said"),
    [
        (0.1, 0.0, 40, "live"),
        (0.1, 0.0, 19, None),
        (0.01, FLAT_TURN, 40, "flat"),
        (0.01, 0.01, 40, None),
    ],
)
def test_a_track_is_live_or_flat_or_cannot_be_told(
    depth: float, turn: float, frames: int, said: str | None
) -> None:
    assert verdict(judged("x", 1, depth, turn=turn, frames=frames), 0.1) == said


def test_the_threshold_is_the_lowest_that_few_enough_reach() -> None:
    values = [i / 100 for i in range(100)]
    assert sum(value >= threshold_above(values, 0.05) for value in values) == 5
    assert threshold_above([0.5], 0.05) > 0.5
    with pytest.raises(ValueError, match="no values"):
        threshold_above([], 0.05)


def test_flat_prints_of_the_setting_half_are_not_judged_and_all_else_is() -> None:
    figures = parallax_figures(
        [
            judged("print_held", 0, 0.05),
            judged("print_held", 1, 0.2),
            judged("replay_fine", 0, 0.2),
            judged("bona_fide", 2, 0.01),
        ]
    )
    kinds = figures["kinds"]
    assert figures["live_from"] == math.nextafter(0.05, 1)
    assert kinds["print_held"]["presentations"] == 1
    assert kinds["print_held"]["only_live_passes"]["share"] == 1.0
    assert kinds["replay_fine"]["live"] == 1


def test_a_bona_fide_that_says_nothing_is_an_error_only_where_live_is_asked_for() -> None:
    figures = parallax_figures(
        [
            judged("print_held", 0, 0.05),
            judged("bona_fide", 2, 0.01),
            judged("bona_fide", 2, 0.01, turn=1.0),
            judged("print_bent", 2, 0.01),
        ]
    )
    bona_fide, bent = figures["kinds"]["bona_fide"], figures["kinds"]["print_bent"]
    assert (bona_fide["null"], bona_fide["flat"]) == (1, 1)
    assert bona_fide["only_live_passes"]["hits"] == 2
    assert bona_fide["only_flat_is_refused"]["hits"] == 1
    assert bent["only_live_passes"]["hits"] == 0
    assert bent["only_flat_is_refused"]["hits"] == 1


def test_a_cue_is_judged_on_the_half_that_did_not_set_it() -> None:
    def single(kind: str, group: int, value: float) -> Single:
        return Single(kind, group, {"moire": value, "contrast": -value, "colour": -value})

    figures = cue_figures(
        [
            single("bona_fide", 0, 1.0),
            single("bona_fide", 1, 2.0),
            single("print", 0, 0.0),
            single("print", 1, 3.0),
            single("print", 3, 0.5),
        ],
        [],
    )
    for name, sign in (("moire", 1), ("contrast", -1), ("colour", -1)):
        assert figures[name]["threshold"] == pytest.approx(sign * 1.0)
        assert figures[name]["photos"]["bona_fide"]["hits"] == 1
        assert (figures[name]["photos"]["print"]["hits"], figures[name]["photos"]["print"]["trials"]) == (
            1,
            2,
        )


def test_quartiles_of_nothing_are_none() -> None:
    assert quartiles([]) is None
    assert quartiles([1.0, 2.0, 3.0]) == [1.5, 2.0, 2.5]
