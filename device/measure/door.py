# SPDX-License-Identifier: Apache-2.0
"""A door for the measurements: a degraded photo goes in, and what Porter would see, refuse and compare comes out.

It is made of the product's own parts with the default limits. What may surprise: a face that the limits refuse is cut
out and embedded all the same, because the measurement asks what would happen without them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from device.assembly import make_detector
from device.loaded_models import load_model
from device.measure.conditions import VIEWS
from device.measure.degrade import in_frame, resized
from device.measure.degraded_points import Sample
from device.measure.faces import SECOND_LOOK, central, read_picture
from device.measure.identification import NOW
from device.recognition.poses import FARTHEST_YAW_DEG
from device.recognition.presentation import Presentation
from device.recognition.references import parts_of
from device.records import Frame
from device.vision.quality import pose_of
from device.vision.sample import Sampler
from device.vision.views import lores_and_luma

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from device.measure.embeddings import VariantEmbeddings
    from device.options import Config
    from device.recognition.gallery import Gallery
    from device.records import Detection, Pose, Quality
    from device.vision.detect import Detector


@dataclass(frozen=True, slots=True)
class Seen:
    """A face that was found. refusal: why it does not present itself; None where it does."""

    face: Detection
    refusal: str | None
    crop: NDArray[np.uint8]
    pose: Pose
    quality: Quality


class Door:
    """The product's parts as a door has them, and one look through them at a time."""

    def __init__(self, config: Config, variant: VariantEmbeddings) -> None:
        zone = config.zone
        self._embedder = variant.variant.embedder
        self._min_quality = config.recognition.min_quality
        self._enrolment_quality = config.enrolment.min_quality
        self._presentation = Presentation(
            [(x, y) for x, y in zone.polygon],
            min_face_px=zone.min_face_px,
            max_yaw_deg=zone.max_yaw_deg,
            max_pitch_deg=zone.max_pitch_deg,
            max_roll_deg=zone.max_roll_deg,
        )
        self._frame_px = config.camera.width_px, config.camera.height_px
        models = {
            name: load_model(config, name, "detector")
            for name in {config.models.detector, *(view.detector for view in VIEWS.values() if view.detector)}
        }
        self._detectors = {name: make_detector(config, model) for name, model in models.items()}
        self._samplers = {name: Sampler(detector) for name, detector in self._detectors.items()}
        self._main = config.models.detector
        patient = msgspec.structs.replace(config.detection, score_threshold=SECOND_LOOK)
        self._patient = make_detector(
            msgspec.structs.replace(config, detection=patient), models[config.models.detector]
        )

    def subject(self, path: Path) -> tuple[Frame, Detection] | None:
        """A clean photo and its subject; None where there is no face. Raises InputError."""
        frame = read_picture(path, self._patient.size_px)
        for detector in (self._detectors[self._main], self._patient):
            faces = detector.detect(frame.lores, frame.main.shape[1])
            if faces:
                return frame, central(faces, frame)
        return None

    def look(self, photo: NDArray[np.uint8], view: str, gallery: Gallery, mine: int | None) -> Sample:
        """One search with a degraded photo. mine: the place of its subject in the gallery; None for a stranger."""
        seen = self.seen(photo, view)
        if seen is None:
            return Sample(refusal="not_found")
        refusal, quality = seen.refusal, seen.quality.overall
        if refusal is None and quality < self._min_quality:
            refusal = "low_quality"
        scores = gallery.compare(self._embedder.embed(seen.crop), NOW)
        best = int(scores.argmax())
        own = float(scores[mine]) if mine is not None else np.nan
        return Sample(refusal, float(scores[best]), own, best == mine, quality, seen.pose.yaw_deg)

    def seen(self, photo: NDArray[np.uint8], view: str, *, enrolling: bool = False) -> Seen | None:
        """The face in a degraded photo, its crop and quality; None where none is found."""
        how = VIEWS[view]
        main = in_frame(photo, *self._frame_px) if how.in_frame else photo
        face = self._face(main, self._detectors[how.detector or self._main])
        if face is None:
            return None
        first = pose_of(face.landmarks)
        refusal = self._presentation.refusal(face, first, main.shape[1], main.shape[0])
        sampler = self._samplers[how.detector or self._main]
        crop, quality, pose = sampler.sample(main, face, closer=enrolling)
        return Seen(face, refusal, crop, pose, quality)

    def refuses_reference(self, seen: Seen | None) -> str | None:
        """Why an enrolment takes no such sample: not found, not presented, turned too far, or its weakest part."""
        if seen is None:
            return "not_found"
        if seen.refusal is not None:
            return seen.refusal
        parts = parts_of(seen.quality)  # not the pose's: an enrolment asks for turned heads, up to a limit
        weakest = min(parts, key=lambda part: parts[part])
        if parts[weakest] < self._enrolment_quality:
            return weakest
        return "turned_away" if abs(seen.pose.yaw_deg) > FARTHEST_YAW_DEG else None

    def embed(self, crop: NDArray[np.uint8], *, reference: bool = False) -> NDArray[np.float32]:
        """(D,) embedding of a probe's crop, or of a reference's, which is that of its mirror image, too."""
        return self._embedder.embed_mirrored(crop) if reference else self._embedder.embed(crop)

    def _face(self, main: NDArray[np.uint8], detector: Detector) -> Detection | None:
        lores, luma = lores_and_luma(main, detector.size_px)
        faces = detector.detect(lores, main.shape[1])
        return central(faces, Frame(0, NOW, main, lores, luma)) if faces else None


def at_width(
    photo: NDArray[np.uint8], face: Detection, face_px: float
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The photo with its face box `face_px` wide, and the (5, 2) landmarks there."""
    factor = face_px / face.box.w
    landmarks: NDArray[np.float32] = ((face.landmarks + 0.5) * factor - 0.5).astype(np.float32)
    return resized(photo, factor), landmarks
