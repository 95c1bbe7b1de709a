# SPDX-License-Identifier: Apache-2.0
"""Who presents themselves: inside the zone, large enough, facing the camera. Everyone else ends at the detector.

This is the line between a passer-by and a capture subject, so nothing is cropped or embedded before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from device.geometry import Point, polygon_contains

if TYPE_CHECKING:
    from device.records import Detection, Pose

Refusal = Literal["outside_zone", "too_small", "turned_away"]


class Presentation:
    """The presentation zone and its limits. polygon: corners as shares of the picture's width and height."""

    def __init__(
        self,
        polygon: list[Point],
        *,
        min_face_px: float,
        max_yaw_deg: float,
        max_pitch_deg: float,
        max_roll_deg: float,
    ) -> None:
        self._polygon = polygon
        self._min_face_px = min_face_px
        self._max_yaw_deg = max_yaw_deg
        self._max_pitch_deg = max_pitch_deg
        self._max_roll_deg = max_roll_deg

    def refusal(self, detection: Detection, pose: Pose, width_px: int, height_px: int) -> Refusal | None:
        """Why this face does not present itself in a picture of this size, or None where it does."""
        x, y = detection.box.centre
        if not polygon_contains(self._polygon, (x / width_px, y / height_px)):
            return "outside_zone"
        if detection.box.w < self._min_face_px:
            return "too_small"
        facing = (
            abs(pose.yaw_deg) <= self._max_yaw_deg
            and abs(pose.pitch_deg) <= self._max_pitch_deg
            and abs(pose.roll_deg) <= self._max_roll_deg
        )
        return None if facing else "turned_away"  # a pose that is no number is not facing the camera
