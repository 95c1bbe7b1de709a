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

import numpy as np

from device.measure.conditions import NOMINAL_PX, VIEWS, conditions
from device.measure.degrade import FULL_SCALE_E, READ_NOISE_E
from device.measure.degraded_points import by_quality, by_yaw, point_of
from device.measure.door import Door, at_width
from device.measure.enrolment_samples import EnrolmentSamples
from device.measure.identification import enrol
from device.measure.poisoned import Poisoned
from device.recognition.gallery import Gallery

if TYPE_CHECKING:
    from collections.abc import Sequence

    from device.measure.conditions import Condition
    from device.measure.dataset import Search
    from device.measure.degraded_points import Sample
    from device.measure.embeddings import PictureSet, VariantEmbeddings
    from device.measure.progress import Progress
    from device.options import Config

SEED = 20261123
STRANGERS = 400


@dataclass(slots=True)
class Degraded:
    """One variant's result: samples of probes and strangers, one list a condition; who could not be degraded."""

    threshold: float
    conditions: Sequence[Condition]
    gate: dict[str, float]
    samples: EnrolmentSamples
    poisoned: Poisoned
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
            "enrolment": self.samples.as_json(),
            "poisoned": self.poisoned.as_json(self.threshold),
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
        "enrolment_min_quality": config.enrolment.min_quality,
        "frame_width_px": config.camera.width_px,
        "frame_height_px": config.camera.height_px,
    }
    ways = conditions()
    samples = EnrolmentSamples(zone.min_face_px)
    poisoned = gathered(searches, pictures, variant)
    result = Degraded(threshold, ways, gate, samples, poisoned, [[] for _ in ways], [[] for _ in ways])
    gallery = Gallery(enrol(searches, pictures, variant)[0])
    place = {subject.subject_id: index for index, subject in enumerate(gallery.subjects)}
    door = Door(config, variant)
    for number, search in enumerate(chosen(searches)):
        progress.step()
        mine = place.get(search.identity)
        if search.role == "probe" and mine is None:
            continue  # nobody could be enrolled: identify() tells
        found = door.subject(search.picture)
        if found is None:
            result.without_box += 1
            continue
        frame, face = found
        if search.role != "stranger":
            samples.add(door, frame.main, face, number, degrade=search.role == "enrol")
        if search.role != "probe":
            whose = search.identity if search.role == "enrol" else None
            poisoned.add(door, frame.main, face, number, whose)
        if search.role == "enrol":
            continue
        into = result.probes if search.role == "probe" else result.strangers
        for index, way in enumerate(ways):
            photo, landmarks = at_width(frame.main, face, way.face_px)
            photo = way.change(photo, landmarks, np.random.default_rng([SEED, number, index]))
            into[index].append(door.look(photo, way.view, gallery, mine if search.role == "probe" else None))
    return result


def gathered(searches: Sequence[Search], pictures: PictureSet, variant: VariantEmbeddings) -> Poisoned:
    """The clean embeddings that poisoned galleries are made of and searched with."""
    clean = {each.subject.subject_id: list(each.references) for each in enrol(searches, pictures, variant)[0]}
    rows = {search.picture: pictures.matrix(variant, [search.picture])[0] for search in searches}
    return Poisoned(
        clean,
        [(search.identity, rows[search.picture]) for search in searches if search.role == "probe"],
        [rows[search.picture] for search in searches if search.role == "stranger"],
    )


def chosen(searches: Sequence[Search]) -> list[Search]:
    """All probes, at most STRANGERS of the strangers, always the same ones, and then the photos of references."""
    probes = [search for search in searches if search.role == "probe"]
    references = [search for search in searches if search.role == "enrol"]
    strangers = [search for search in searches if search.role == "stranger"]
    order = np.random.default_rng(SEED).permutation(len(strangers))[:STRANGERS]
    return [*probes, *(strangers[index] for index in sorted(order.tolist())), *references]
