# SPDX-License-Identifier: Apache-2.0
"""A drawn face, turned: its marks go where a head's would, and what is behind it stays."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from device.measure.turned import turned
from device.vision.quality import pose_of

LANDMARKS = np.array([[80, 100], [120, 100], [100, 122.8], [84, 146], [116, 146]], np.float32)
COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [255, 0, 255]])
SKIN, WALL = (200, 160, 140), (90, 90, 90)


def drawn() -> NDArray[np.uint8]:
    """A wall, skin over the head, and a spot of its own colour on each landmark."""
    picture = np.full((240, 200, 3), WALL, np.uint8)
    picture[40:190, 50:150] = SKIN
    for (x, y), colour in zip(LANDMARKS.tolist(), COLOURS, strict=True):
        picture[int(y) - 3 : int(y) + 4, int(x) - 3 : int(x) + 4] = colour
    return picture


def spots(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(5, 2) where the coloured spots are now."""
    found = []
    for colour in COLOURS:
        rows, columns = np.nonzero(np.abs(picture.astype(int) - colour).sum(axis=2) < 60)
        found.append((columns.mean(), rows.mean()))
    return np.array(found, np.float32)


def test_a_head_that_is_not_turned_keeps_its_marks() -> None:
    assert spots(turned(drawn(), LANDMARKS, 0.0)) == pytest.approx(LANDMARKS, abs=1.0)


@pytest.mark.parametrize("yaw", [-40, -25, 25, 40])
def test_the_pose_read_from_the_turned_marks_is_about_the_angle(yaw: float) -> None:
    pose = pose_of(spots(turned(drawn(), LANDMARKS, yaw)))
    assert pose.yaw_deg == pytest.approx(yaw, abs=8)
    assert abs(pose.pitch_deg) < 15


def test_the_wall_behind_the_head_stays() -> None:
    there = turned(drawn(), LANDMARKS, 60.0)
    assert there.shape == (240, 200, 3)
    assert (there[:30] == WALL).all()
    assert (there[:, :40] == WALL).all()


def test_a_tilted_head_turns_about_its_own_axis() -> None:
    picture = np.rot90(drawn()).copy()  # a quarter to the left: what was at (x, y) is at (y, 199 - x)
    across = np.stack((LANDMARKS[:, 1], 199 - LANDMARKS[:, 0]), axis=1)
    upright = spots(turned(drawn(), LANDMARKS, 25.0))
    assert spots(turned(picture, across, 25.0)) == pytest.approx(
        np.stack((upright[:, 1], 199 - upright[:, 0]), axis=1), abs=1.5
    )
