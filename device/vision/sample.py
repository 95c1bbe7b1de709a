# SPDX-License-Identifier: Apache-2.0
"""From a face that presents itself to a sample: the crop, its quality and its pose; for an enrolment by a closer look.

In a wide view the detector sees a face at the door 25 px wide. It finds it, but gives it the landmarks of a face that
looks ahead: heads turned by 60 degrees were read as 35. So before a reference is made the detector looks again at the
part of the main stream around the face alone, where it sees every pixel, and reads 50. That is one inference more, and
at recognition it gains nothing (decision 0016). The box stays the first look's: what was large enough still is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from device.geometry import Box
from device.records import Pose
from device.vision.align import align
from device.vision.quality import pose_of, quality_of
from device.vision.views import fitted, scaled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from device.records import Detection, Quality
    from device.vision.detect import Detector

AROUND = 2.5  # the part's width, in widths of the face
SAME_FACE_IOU = 0.3
# From near by the detector is surer of a face that looks ahead than of a profile whose landmarks it puts where those of
# a face that looks ahead would be (decision 0024).
SURE = 0.89
NOWHERE = Pose(90.0, 90.0, 90.0)


class Sampler:
    """detector: looks closer, on the thread of its interpreter; None: nothing does."""

    def __init__(self, detector: Detector | None = None) -> None:
        self._detector = detector
        self._looked = False

    def sample(
        self, main: NDArray[np.uint8], face: Detection, *, closer: bool
    ) -> tuple[NDArray[np.uint8], Quality, Pose]:
        """The crop ((112, 112, 3) uint8 RGB) of `face` in `main` ((H, W, 3) uint8 RGB), its quality and its pose.

        Where a closer look finds no face or is not sure of it, the pose looks nowhere (90 degrees); the quality is 0.
        """
        landmarks = self.landmarks(main, face) if closer else face.landmarks
        pose = NOWHERE if landmarks is None else pose_of(landmarks)
        crop = align(main, face.landmarks if landmarks is None else landmarks)
        return crop, quality_of(crop, pose, face.box.w), pose

    def dropped(self) -> None:
        """The detector's tensors are gone, and whatever face was in them."""
        self._looked = False

    def forget(self) -> None:
        """Shows the detector a black picture, where it looked closer last: its tensors hold a face until then."""
        if self._looked and self._detector is not None:
            width, height = self._detector.size_px
            self._detector.detect(np.zeros((height, width, 3), np.uint8), width)
            self._looked = False

    def landmarks(self, main: NDArray[np.uint8], face: Detection) -> NDArray[np.float32] | None:
        """(5, 2) landmarks of `face` in pixels of `main`, from a closer look; None where it is sure of none."""
        if self._detector is None:
            return face.landmarks
        part, left, top = part_around(main, face.box, self._detector.size_px)
        if part.size == 0:
            return None
        self._looked = True
        picture = Image.fromarray(part)
        seen = np.asarray(scaled(picture, fitted(picture.size, self._detector.size_px)))
        here = Box(face.box.x - left, face.box.y - top, face.box.w, face.box.h)
        faces = self._detector.detect(seen, part.shape[1])
        best = max(faces, key=lambda found: found.box.iou(here), default=None)
        if best is None or best.box.iou(here) < SAME_FACE_IOU or best.score < SURE:
            return None
        return best.landmarks + np.array([left, top], np.float32)


def part_around(
    main: NDArray[np.uint8], box: Box, shape_px: tuple[int, int]
) -> tuple[NDArray[np.uint8], int, int]:
    """The part of `main` around `box`, of the shape of the detector's input, moved inwards at the edges; left, top."""
    x, y = box.centre
    width = AROUND * box.w
    columns = min(main.shape[1], round(width))
    rows = min(main.shape[0], round(width * shape_px[1] / shape_px[0]))
    left = min(max(0, round(x - columns / 2)), main.shape[1] - columns)
    top = min(max(0, round(y - rows / 2)), main.shape[0] - rows)
    return main[top : top + rows, left : left + columns], left, top
