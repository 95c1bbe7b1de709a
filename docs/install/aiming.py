# SPDX-License-Identifier: Apache-2.0
"""How far away a face may be, by camera: the table of docs/install.md, from fields of view and what was measured.

A pinhole model, so for the middle of the picture; a wide lens shows faces at its rim smaller or larger. No camera was
measured: fields of view are their makers' (docs/hardware.md names the sources).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

# Measured: the default detector's box is 2.14 times as wide as the eyes are apart, the median of 551 of 1,500 LFW
# photos, those turned at most 10 degrees by `pose_of` (90 % lie between 2.01 and 2.28). Eyes of adults are 63 mm apart
# on average, between 50 and 75 mm nearly always (Dodgson 2004, doi.org/10.1117/12.529999).
BOX_PER_EYES = 2.14
EYES_M = 0.063
FACE_M = BOX_PER_EYES * EYES_M
# Shares of the picture's width from which a detector is sure of a face: 96 and 48 of 1280 px (docs/accuracy.md).
DEFAULT_SHARE = 96 / 1280
LARGE_SHARE = 48 / 1280
SHAPE = 720 / 1280


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera at a size of the main stream. field_deg: of the picture's width, as it comes to be at that size."""

    name: str
    field_deg: float

    @property
    def width_at_1_m(self) -> float:
        """How much the picture's width shows at a distance of 1 m, in metres."""
        return 2 * math.tan(math.radians(self.field_deg) / 2)

    def farthest_m(self, share: float) -> float:
        """Where an average face fills `share` of the picture's width."""
        return FACE_M / (share * self.width_at_1_m)

    def nearest_m(self, span_m: float) -> float:
        """From where on the picture's height shows `span_m`."""
        return span_m / (self.width_at_1_m * SHAPE)


def cropped(field_deg: float, used_px: int, sensor_px: int) -> float:
    """The field of the sensor's middle `used_px` columns, where all `sensor_px` of them have `field_deg`."""
    return 2 * math.degrees(math.atan(math.tan(math.radians(field_deg) / 2) * used_px / sensor_px))


def of_lens(focal_mm: float, sensor_mm: float) -> float:
    """The field of a lens before a sensor of that width."""
    return 2 * math.degrees(math.atan(sensor_mm / 2 / focal_mm))


def of_diagonal(diagonal_deg: float) -> float:
    """The field of a 16:9 picture's width, from that of its diagonal."""
    return 2 * math.degrees(math.atan(math.tan(math.radians(diagonal_deg) / 2) / math.hypot(1, SHAPE)))


# At 1280x720 libcamera takes a mode of the Camera Module 3's sensor that shows its middle two thirds (1536x864, twice
# binned) and from 1920x1080 on one that shows all of it (raspberrypi/rpicam-apps#570, #630); of the HQ camera's one of
# the full width (2028x1080).
CAMERAS = (
    Camera("Camera Module 3, 1280x720 (default)", cropped(66.0, 2 * 1536, 4608)),
    Camera("Camera Module 3, 1920x1080", 66.0),
    Camera("Camera Module 3 Wide, 1280x720", cropped(102.0, 2 * 1536, 4608)),
    Camera("Camera Module 3 Wide, 1920x1080", 102.0),
    Camera("HQ Camera and 6 mm lens, 1280x720", of_lens(6.0, 6.287)),
    Camera("USB camera, 60° diagonal, 1280x720", of_diagonal(60.0)),
    Camera("USB camera, 78° diagonal, 1280x720", of_diagonal(78.0)),
)


def steepest_m(above_m: float, degrees: float) -> float:
    """From which distance on a camera that hangs `above_m` over a face looks down on it by at most `degrees`."""
    return above_m / math.tan(math.radians(degrees))


def distances() -> str:
    """The table of distances, as docs/install.md has it."""
    lines = [
        "| camera and main stream | field | shows at 1 m | a face is found up to | with `yunet-640x480` |",
        "|---|---|---|---|---|",
    ]
    for camera in CAMERAS:
        width = camera.width_at_1_m
        lines.append(
            f"| {camera.name} | {camera.field_deg:.0f}° | {width:.2f} x {width * SHAPE:.2f} m "
            f"| **{camera.farthest_m(DEFAULT_SHARE):.1f} m** | {camera.farthest_m(LARGE_SHARE):.1f} m |"
        )
    return "\n".join(lines) + "\n"


def heights() -> str:
    """The table of heights, as docs/install.md has it."""
    lines = [
        "| the camera hangs above (or below) the face by | good from (15°) | works from (30°) |",
        "|---|---|---|",
    ]
    lines += [
        f"| {above:.1f} m | {steepest_m(above, 15):.1f} m | {steepest_m(above, 30):.1f} m |"
        for above in (0.2, 0.4, 0.6, 0.8, 1.0)
    ]
    return "\n".join(lines) + "\n"
