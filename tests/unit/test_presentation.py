# SPDX-License-Identifier: Apache-2.0
"""Who presents themselves, and the reason for everyone who does not."""

from __future__ import annotations

import math

import pytest

from device.recognition.presentation import Presentation
from device.records import Pose
from tests.people import face

LEFT_HALF = [(0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)]
STRAIGHT = Pose(0, 0, 0)


def refusal(x: float = 100, y: float = 100, width: float = 100, pose: Pose = STRAIGHT) -> str | None:
    zone = Presentation(LEFT_HALF, min_face_px=80, max_yaw_deg=35, max_pitch_deg=30, max_roll_deg=25)
    return zone.refusal(face(x, y, width), pose, 640, 480)


def test_a_large_face_in_the_zone_that_looks_at_the_camera_presents_itself() -> None:
    assert refusal() is None


@pytest.mark.parametrize(("x", "outcome"), [(269, None), (271, "outside_zone"), (-51, "outside_zone")])
def test_the_middle_of_the_face_must_be_in_the_zone(x: float, outcome: str | None) -> None:
    assert refusal(x=x) == outcome  # its middle is 50 px further, the zone ends at 320


@pytest.mark.parametrize(("width", "outcome"), [(80, None), (79.9, "too_small")])
def test_the_face_must_be_wide_enough(width: float, outcome: str | None) -> None:
    assert refusal(width=width) == outcome


@pytest.mark.parametrize(
    ("pose", "outcome"),
    [
        (Pose(35, 30, 25), None),
        (Pose(-35, -30, -25), None),
        (Pose(35.1, 0, 0), "turned_away"),
        (Pose(-35.1, 0, 0), "turned_away"),
        (Pose(0, 30.1, 0), "turned_away"),
        (Pose(0, 0, -25.1), "turned_away"),
        (Pose(math.nan, 0, 0), "turned_away"),
    ],
)
def test_the_face_must_look_at_the_camera(pose: Pose, outcome: str | None) -> None:
    assert refusal(pose=pose) == outcome


def test_the_zone_is_judged_first() -> None:
    assert refusal(x=400, width=10, pose=Pose(90, 90, 90)) == "outside_zone"
