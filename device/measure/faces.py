# SPDX-License-Identifier: Apache-2.0
"""From an evaluation picture to the crop of its subject, by the product's own code and no other.

A picture file is read by the camera adapter for files, so that the detector sees the same lores view as on a device;
the subject is the face nearest the middle of the picture; the crop is cut from the whole picture. Where the detector
finds nobody it is asked once more with a lower threshold: evaluation pictures are chosen to show a face. Where there is
still nobody, that is a failure to acquire.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from device.adapters.camera_files import FilesCamera
from device.adapters.clock import ManualClock
from device.errors import InputError
from device.vision.align import align
from device.vision.detect import Detector
from device.vision.quality import pose_of, quality_of

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from device.loaded_models import LoadedModel
    from device.records import Detection, Frame

SECOND_LOOK = 0.3  # the detector's threshold where nothing reached the manifest's
LARGEST_PX = 16384


@dataclass(frozen=True, slots=True)
class Found:
    """The crop of a picture's subject, (112, 112, 3) uint8 RGB, its quality, and whether it took a second look."""

    crop: NDArray[np.uint8]
    quality: float
    second_look: bool


class FaceFinder:
    """Finds the subject of a picture with a detector at the manifest's operating point."""

    def __init__(self, model: LoadedModel) -> None:
        defaults = model.manifest.detection
        if defaults is None:
            raise InputError(f"model {model.manifest.name}: expected a detector")
        self.threshold = defaults.score_threshold
        first, second = (
            Detector(model.interpreter, model.normalisation, score_threshold=score, nms_iou=defaults.nms_iou)
            for score in (defaults.score_threshold, min(SECOND_LOOK, defaults.score_threshold))
        )
        self.sha256 = model.variant.sha256
        self._detector, self._second = first, second

    def detect(self, picture: Path) -> list[Detection]:
        """Every face in a picture file, in its pixels. Raises InputError where it cannot be read."""
        return self._detect(self._detector, read_picture(picture, self._detector.size_px))

    def find(self, picture: Path) -> Found | None:
        """The subject of a picture file, None where there is no face. Raises InputError where it cannot be read."""
        frame = read_picture(picture, self._detector.size_px)
        for detector in (self._detector, self._second):
            faces = self._detect(detector, frame)
            if faces:
                face = central(faces, frame)
                crop = align(frame.main, face.landmarks)
                quality = quality_of(crop, pose_of(face.landmarks), face.box.w).overall
                return Found(crop, quality, detector is self._second)
        return None

    def _detect(self, detector: Detector, frame: Frame) -> list[Detection]:
        return detector.detect(frame.lores, frame.main.shape[1])


def read_picture(path: Path, lores_px: tuple[int, int]) -> Frame:
    """A picture file as the frame that a camera would make of it. Raises InputError."""
    camera = FilesCamera(path, ManualClock(), LARGEST_PX, LARGEST_PX, lores_px=lores_px)
    camera.open()
    try:
        frame = camera.capture(0.0)
    finally:
        camera.close()
    if frame is None:
        raise InputError(f"{path}: expected a picture, found none in the file")
    return frame


def central(faces: list[Detection], frame: Frame) -> Detection:
    """The face whose middle is nearest the picture's."""
    height, width = frame.main.shape[:2]

    def distance(face: Detection) -> float:
        x, y = face.box.centre
        return math.hypot(x - width / 2, y - height / 2)

    return min(faces, key=distance)
