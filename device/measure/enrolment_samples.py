# SPDX-License-Identifier: Apache-2.0
"""What an enrolment takes: good samples nearly all, samples beyond the stated limits none.

Good are the open-set table's photos of enrolled people as they are, where the face looks at the camera (FRONTAL_DEG, as
the landmarks of the clean photo tell) and is as wide as the zone asks for; none was sorted out for being blurred. Bad
are those of role enrol among them, degraded to a limit and beyond; a face that is not found cannot be taken either, and
is counted beside. The gate is the product's: presentation, then `enrolment.min_quality`. What may surprise: a head is
turned aside by geometry (turned.py), because photos of profiles with a measured angle are not in the data; and JPEG is
no limit, because a camera's frames reach Porter uncompressed: it is told beside the others.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from device.measure.conditions import NOMINAL_PX, Condition, jpeg_of, light_of, unchanged
from device.measure.degrade import darkened, defocused, moved
from device.measure.door import at_width
from device.measure.metrics import wilson
from device.measure.turned import turned
from device.vision.quality import pose_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from device.measure.conditions import Change
    from device.measure.door import Door
    from device.records import Detection

SEED = 20261124
FRONTAL_DEG = 20.0
LINES = ((1, 0), (0, 1), (1, 1), (1, -1))  # of motion: level, upright, falling, rising
# From the first of these levels on a sample must be refused. Shares are of the face's width; yaw is in degrees.
WIDTHS_PX = (60, 48, 32)
MOTION = (0.2, 0.3)
DEFOCUS = (0.04, 0.06)
LIGHT = (0.02, 0.01)
YAW_DEG = (60, 75)
NO_LIMIT = {"jpeg": (10, 5)}


def bad_samples() -> list[Condition]:
    """Every level, from the limit on, and motion along every line."""
    by_detector = {"": "door", "_door_large": "door_large"}
    return [
        *(
            Condition(f"width{n}", w, unchanged, view, w)
            for n, view in by_detector.items()
            for w in WIDTHS_PX
        ),
        *(Condition("motion", share, motion_along(share, along)) for share in MOTION for along in LINES),
        *(Condition("defocus", share, defocus_of(share)) for share in DEFOCUS),
        *(Condition("light", share, light_of(share)) for share in LIGHT),
        *(Condition("gain", share, gain_of(share)) for share in LIGHT),
        *(Condition(f"yaw{n}", deg, yaw_of(deg), view) for n, view in by_detector.items() for deg in YAW_DEG),
        *(Condition("jpeg", quality, jpeg_of(quality)) for quality in NO_LIMIT["jpeg"]),
    ]


def motion_along(share: float, along: tuple[int, int]) -> Change:
    """Motion over this share of the face's width, along a line."""
    return lambda photo, _landmarks, _rng: moved(photo, share * NOMINAL_PX, along)


def defocus_of(share: float) -> Change:
    """A Gaussian whose standard deviation is this share of the face's width."""
    return lambda photo, _landmarks, _rng: defocused(photo, share * NOMINAL_PX)


def gain_of(share: float) -> Change:
    """This share of the photo's light, turned up to the photo's brightness again."""
    return lambda photo, _landmarks, rng: darkened(photo, share, rng, 1 / share)


def yaw_of(degrees: float) -> Change:
    """Turned aside, to the side to which it looks anyway."""
    return lambda photo, landmarks, _rng: turned(
        photo, landmarks, math.copysign(degrees, pose_of(landmarks).yaw_deg)
    )


@dataclass(slots=True)
class EnrolmentSamples:
    """Counts as they come: why each sample was refused; None: taken."""

    min_face_px: float
    ways: list[Condition] = field(default_factory=bad_samples)
    good: list[str | None] = field(default_factory=list)
    bad: dict[tuple[str, float], list[str | None]] = field(default_factory=dict)

    def add(self, door: Door, photo: NDArray[np.uint8], face: Detection, seed: int, *, degrade: bool) -> None:
        """A clean photo and its face: as it is where that is good, and degraded in every way where that is asked."""
        pose = pose_of(face.landmarks)
        worst = max(abs(pose.yaw_deg), abs(pose.pitch_deg), abs(pose.roll_deg))
        if worst > FRONTAL_DEG or face.box.w < self.min_face_px:
            return
        self.good.append(door.refuses_reference(door.seen(photo, "door", enrolling=True)))
        for index, way in enumerate(self.ways if degrade else ()):
            scaled, landmarks = at_width(photo, face, way.face_px)
            worse = way.change(scaled, landmarks, np.random.default_rng([SEED, seed, index]))
            why = door.refuses_reference(door.seen(worse, way.view, enrolling=True))
            self.bad.setdefault((way.curve, float(way.level)), []).append(why)

    def as_json(self) -> dict[str, Any]:
        """For evaluate.json. Shares are 0 to 1."""
        levels = [{"curve": curve, "level": level, **counts(why)} for (curve, level), why in self.bad.items()]
        beyond = [why for (curve, _), each in self.bad.items() if curve not in NO_LIMIT for why in each]
        return {
            "frontal_deg": FRONTAL_DEG,
            "good": counts(self.good),
            "beyond": counts(beyond),
            "levels": levels,
        }


def counts(refusals: Sequence[str | None]) -> dict[str, Any]:
    """Samples, how many were taken, the share refused with its interval, and how many for which reason."""
    refused = [why for why in refusals if why is not None]
    return {
        "samples": len(refusals),
        "taken": len(refusals) - len(refused),
        "refused": len(refused) / len(refusals) if refusals else None,
        "refused_95": wilson(len(refused), len(refusals)),
        "reasons": dict(sorted(Counter(refused).items())),
    }
