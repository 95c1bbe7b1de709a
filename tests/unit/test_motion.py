# SPDX-License-Identifier: Apache-2.0
"""The motion gate: what opens it, how long it stays open, and that a slow walk is not a still picture."""

from __future__ import annotations

import numpy as np
import pytest

from device.vision.motion import MotionGate
from tests.people import NS

STILL = np.full((40, 80), 100, np.uint8)  # 3,200 pixels: 16 of them are the share of 0.005


def gate(*, area: float = 0.005, hold_s: float = 2.0) -> MotionGate:
    return MotionGate(level=12, area=area, hold_ns=round(hold_s * NS))


def changed(pixels: int, by: int) -> np.ndarray:
    picture = STILL.copy()
    picture.reshape(-1)[:pixels] = 100 + by
    return picture


def settled(**options: float) -> MotionGate:
    """A gate that has seen nothing move for ten seconds."""
    made = gate(**options)
    for second in range(11):
        made.is_open(STILL, second * NS)
    return made


def test_the_first_picture_is_motion() -> None:
    assert gate().is_open(STILL, 0)


def test_a_still_picture_closes_the_gate_after_the_hold_time() -> None:
    made = gate(hold_s=2.0)
    assert [made.is_open(STILL, int(t * NS)) for t in (0, 1.0, 1.999, 2.0, 5.0)] == [
        True,
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("pixels", "by", "opens"),
    [(16, 13, True), (16, -13, True), (15, 13, False), (3200, 12, False), (3200, 13, True)],
)
def test_enough_pixels_must_change_by_more_than_the_level(pixels: int, by: int, opens: bool) -> None:
    assert settled().is_open(changed(pixels, by), 11 * NS) is opens


def test_black_to_white_does_not_wrap_around() -> None:
    made = settled()
    assert made.is_open(np.zeros_like(STILL), 11 * NS)
    assert made.is_open(np.full_like(STILL, 255), 20 * NS)


def test_an_area_of_nothing_still_needs_one_pixel() -> None:
    assert not settled(area=0.0).is_open(STILL, 11 * NS)
    assert settled(area=0.0).is_open(changed(1, 50), 11 * NS)


def test_a_change_too_slow_for_two_neighbouring_frames_is_seen_within_a_second() -> None:
    made = settled(hold_s=0.0)
    # Two levels a frame at 10 Hz: never more than the level between frames, 20 within a second.
    opened = [made.is_open(changed(3200, 2 * k), int((11 + k / 10) * NS)) for k in range(20)]
    assert any(opened)
    assert not opened[3]


def test_daylight_that_comes_over_a_minute_opens_nothing() -> None:
    made = settled(hold_s=0.0)
    assert not any(made.is_open(changed(3200, k // 10), int((11 + k / 10) * NS)) for k in range(600))


def test_a_picture_of_another_size_is_motion() -> None:
    assert settled().is_open(STILL[:30], 11 * NS)
