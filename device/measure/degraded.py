# SPDX-License-Identifier: Apache-2.0
"""Identification under bad conditions: what is missed, what is refused, what is guessed wrong.

The gallery is enrolled from clean pictures; probes and a fixed random choice of strangers are degraded (degrade.py) and
go through the product's own detection at its own threshold, presentation, alignment, quality and embedding. Each photo
is scaled so that its face box, as the detector finds it in the clean photo, is so many pixels wide.

The threshold is the one for FPIR 1 % on clean pictures, and stays: a door does not know that it got dark. So the FPIR
under each condition is measured beside its FNIR. "All" compares whatever is found, gate or not; a face that is not
found is a miss. "Accepted" is what the default limits (zone and min_quality) let through to the embedder.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from device.assembly import load_model, make_detector
from device.measure.conditions import NOMINAL_PX, VIEWS, conditions
from device.measure.degrade import FULL_SCALE_E, READ_NOISE_E, in_frame, resized
from device.measure.degraded_points import Sample, by_quality, by_yaw, point_of
from device.measure.faces import SECOND_LOOK, central, read_picture
from device.measure.identification import NOW, enrol
from device.recognition.gallery import Gallery
from device.recognition.presentation import Presentation
from device.records import Frame
from device.vision.align import align
from device.vision.quality import pose_of, quality_of
from device.vision.views import lores_and_luma

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from device.measure.conditions import Condition
    from device.measure.dataset import Search
    from device.measure.embeddings import PictureSet, VariantEmbeddings
    from device.measure.progress import Progress
    from device.options import Config
    from device.records import Detection
    from device.vision.detect import Detector

SEED = 20261123
STRANGERS = 400


class Door:
    """The product's parts as a door has them, and one look through them at a time."""

    def __init__(self, config: Config, variant: VariantEmbeddings) -> None:
        zone = config.zone
        self._embedder = variant.variant.embedder
        self._min_quality = config.recognition.min_quality
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
        how = VIEWS[view]
        main = in_frame(photo, *self._frame_px) if how.in_frame else photo
        face = self._face(main, self._detectors[how.detector or self._main])
        if face is None:
            return Sample(refusal="not_found")
        pose = pose_of(face.landmarks)
        refusal: str | None = self._presentation.refusal(face, pose, main.shape[1], main.shape[0])
        crop = align(main, face.landmarks)
        quality = quality_of(crop, pose, face.box.w).overall
        if refusal is None and quality < self._min_quality:
            refusal = "low_quality"
        scores = gallery.compare(self._embedder.embed(crop), NOW)
        best = int(scores.argmax())
        own = float(scores[mine]) if mine is not None else np.nan
        return Sample(refusal, float(scores[best]), own, best == mine, quality, pose.yaw_deg)

    def _face(self, main: NDArray[np.uint8], detector: Detector) -> Detection | None:
        lores, luma = lores_and_luma(main, detector.size_px)
        faces = detector.detect(lores, main.shape[1])
        return central(faces, Frame(0, NOW, main, lores, luma)) if faces else None


@dataclass(slots=True)
class Degraded:
    """One variant's result: samples of probes and strangers, one list a condition; who could not be degraded."""

    threshold: float
    conditions: Sequence[Condition]
    gate: dict[str, float]
    probes: list[list[Sample]] = field(default_factory=list)
    strangers: list[list[Sample]] = field(default_factory=list)
    without_box: int = 0

    def as_json(self) -> dict[str, Any]:
        """For evaluate.json. Shares are 0 to 1."""
        curves: dict[str, list[dict[str, Any]]] = {}
        for condition, probes, strangers in zip(self.conditions, self.probes, self.strangers, strict=True):
            point = point_of(probes, strangers, self.threshold)
            curves.setdefault(condition.curve, []).append({"level": condition.level, **point})
        seen = [
            sample
            for condition, samples in zip(self.conditions, self.probes, strict=True)
            for sample in samples
            if VIEWS[condition.view].in_frame
        ]
        clean = next(
            samples
            for condition, samples in zip(self.conditions, self.probes, strict=True)
            if condition.curve == "none"
        )
        return {
            "threshold": self.threshold,
            "face_px": NOMINAL_PX,
            "seed": SEED,
            "full_scale_e": FULL_SCALE_E,
            "read_noise_e": READ_NOISE_E,
            "without_box": self.without_box,
            "gate": self.gate,
            "curves": curves,
            "yaw": by_yaw(clean, self.threshold),
            "quality": by_quality(seen, self.threshold),
        }


def measure_degraded(
    searches: Sequence[Search],
    pictures: PictureSet,
    variant: VariantEmbeddings,
    config: Config,
    threshold: float,
    progress: Progress,
) -> Degraded:
    """Degrades every probe and the chosen strangers in every way. Raises InputError."""
    zone = config.zone
    gate = {
        "min_face_px": zone.min_face_px,
        "max_yaw_deg": zone.max_yaw_deg,
        "max_pitch_deg": zone.max_pitch_deg,
        "max_roll_deg": zone.max_roll_deg,
        "min_quality": config.recognition.min_quality,
        "frame_width_px": config.camera.width_px,
        "frame_height_px": config.camera.height_px,
    }
    ways = conditions()
    result = Degraded(threshold, ways, gate, [[] for _ in ways], [[] for _ in ways])
    gallery = Gallery(enrol(searches, pictures, variant)[0])
    place = {subject.subject_id: index for index, subject in enumerate(gallery.subjects)}
    door = Door(config, variant)
    for number, search in enumerate(chosen(searches)):
        progress.step()
        mine = place.get(search.identity)
        if search.role == "probe" and mine is None:
            continue  # nobody could be enrolled: identify() tells
        into = result.probes if search.role == "probe" else result.strangers
        found = door.subject(search.picture)
        if found is None:
            result.without_box += 1
            continue
        frame, face = found
        for index, way in enumerate(ways):
            photo, landmarks = at_width(frame.main, face, way.face_px)
            photo = way.change(photo, landmarks, np.random.default_rng([SEED, number, index]))
            into[index].append(door.look(photo, way.view, gallery, mine if search.role == "probe" else None))
    return result


def chosen(searches: Sequence[Search]) -> list[Search]:
    """All probes, and at most STRANGERS of the strangers, always the same ones."""
    probes = [search for search in searches if search.role == "probe"]
    strangers = [search for search in searches if search.role == "stranger"]
    order = np.random.default_rng(SEED).permutation(len(strangers))[:STRANGERS]
    return probes + [strangers[index] for index in sorted(order.tolist())]


def at_width(
    photo: NDArray[np.uint8], face: Detection, face_px: float
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The photo with its face box `face_px` wide, and the (5, 2) landmarks there."""
    factor = face_px / face.box.w
    landmarks: NDArray[np.float32] = ((face.landmarks + 0.5) * factor - 0.5).astype(np.float32)
    return resized(photo, factor), landmarks
