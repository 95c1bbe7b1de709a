# SPDX-License-Identifier: Apache-2.0
"""Poisoned galleries: what bad references do, with and without the refusal at enrolment.

The field's known failure (blakeblackshear/frigate#23450: blurred references, 92 to 100 % false matches). Here all or a
part of everybody's references are degraded one way, and the gallery is searched with the clean probes, with all clean
strangers, and with chosen strangers who are degraded the same way: at a door bad light and motion befall both.
"Refusing" leaves out what the door's enrolment refuses. What may surprise: a photo is the whole picture here, so that
the detector finds even a tiny face; in a door's wide view most of these would not be found at all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from device.measure.conditions import Condition, light_of, motion_of, unchanged
from device.measure.degraded_points import Sample, alarms_of, misses_of
from device.measure.door import at_width
from device.measure.enrolment_samples import defocus_of, gain_of
from device.measure.identification import CONSENT, NOW
from device.ports import EnrolledReferences
from device.recognition.gallery import Gallery
from device.records import Subject

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from device.measure.door import Door
    from device.records import Detection

SEED = 20261125
VIEW = "close"
PARTLY = 2  # of a subject's references, where not all are bad
POISONS = (
    Condition("motion", 0.3, motion_of(0.3), VIEW),
    Condition("defocus", 0.08, defocus_of(0.08), VIEW),
    Condition("width", 20, unchanged, VIEW, 20),
    Condition("light", 0.02, light_of(0.02), VIEW),
    Condition("gain", 0.02, gain_of(0.02), VIEW),
)

Rows = list[tuple[str, "NDArray[np.float32]"]]


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference of a subject, clean or degraded, and why an enrolment refuses it; None: it is taken."""

    identity: str
    embedding: NDArray[np.float32]
    refusal: str | None


@dataclass(slots=True)
class Poisoned:
    """Embeddings, gathered photo by photo: references and strangers degraded in each way, and all the clean ones."""

    clean: dict[str, list[NDArray[np.float32]]]
    probes: Rows
    strangers: list[NDArray[np.float32]]
    bad: dict[str, list[Reference]] = field(default_factory=dict)
    bad_strangers: dict[str, list[NDArray[np.float32]]] = field(default_factory=dict)

    def add(
        self, door: Door, photo: NDArray[np.uint8], face: Detection, seed: int, identity: str | None
    ) -> None:
        """A clean photo and its face, degraded every way. identity: whose reference; None: a stranger's."""
        for index, way in enumerate(POISONS):
            scaled, landmarks = at_width(photo, face, way.face_px)
            worse = way.change(scaled, landmarks, np.random.default_rng([SEED, seed, index]))
            seen = door.seen(worse, way.view, enrolling=identity is not None)
            if seen is None:
                continue
            row = door.embed(seen.crop, reference=identity is not None)
            if identity is None:
                self.bad_strangers.setdefault(way.curve, []).append(row)
            else:
                known = Reference(identity, row, door.refuses_reference(seen))
                self.bad.setdefault(way.curve, []).append(known)

    def as_json(self, threshold: float) -> list[dict[str, Any]]:
        """For evaluate.json, a line a gallery. Shares are 0 to 1."""
        lines = []
        for way in POISONS:
            crowd = self.bad_strangers.get(way.curve, [])
            for mixed in (False, True):
                for refusing in (False, True):
                    references = self._references(way.curve, mixed=mixed, refusing=refusing)
                    figures = searched(references, self.probes, self.strangers, crowd, threshold)
                    lines.append(
                        {
                            "poison": way.curve,
                            "level": way.level,
                            "bad_references": PARTLY if mixed else "all",
                            "refusing": refusing,
                            **figures,
                        }
                    )
            clean = searched(self.clean, self.probes, self.strangers, crowd, threshold)
            lines.append(
                {"poison": way.curve, "level": way.level, "bad_references": 0, "refusing": False, **clean}
            )
        return lines

    def _references(self, curve: str, *, mixed: bool, refusing: bool) -> dict[str, list[NDArray[np.float32]]]:
        """Whose references a gallery holds: all bad ones, or PARTLY bad ones beside the other clean ones."""
        held: dict[str, list[NDArray[np.float32]]] = {}
        if mixed:
            held = {identity: rows[PARTLY:] for identity, rows in self.clean.items()}
        taken: dict[str, int] = {}
        for each in self.bad.get(curve, []):
            taken[each.identity] = taken.get(each.identity, 0) + 1
            if (mixed and taken[each.identity] > PARTLY) or (refusing and each.refusal is not None):
                continue
            held.setdefault(each.identity, []).append(each.embedding)
        return {identity: rows for identity, rows in held.items() if rows}


def searched(
    references: Mapping[str, Sequence[NDArray[np.float32]]],
    probes: Rows,
    strangers: Sequence[NDArray[np.float32]],
    crowd: Sequence[NDArray[np.float32]],
    threshold: float,
) -> dict[str, Any]:
    """One gallery searched with everybody. Probes of subjects who are not in it are not searched for."""
    enrolled = [
        EnrolledReferences(Subject(name, name, name, CONSENT, len(rows)), np.stack(rows))
        for name, rows in sorted(references.items())
    ]
    gallery = Gallery(enrolled)
    place = {subject.subject_id: index for index, subject in enumerate(gallery.subjects)}
    mine = [sample(gallery, row, place[name]) for name, row in probes if name in place]
    return {
        "subjects": len(gallery),
        "references": sum(len(each.references) for each in enrolled),
        **misses_of(mine, threshold, ""),
        **alarms_of([sample(gallery, row, None) for row in strangers], threshold, ""),
        **alarms_of([sample(gallery, row, None) for row in crowd], threshold, "bad_"),
    }


def sample(gallery: Gallery, row: NDArray[np.float32], mine: int | None) -> Sample:
    """One search; in an empty gallery, or where no face was found, nobody is found."""
    if not len(gallery) or np.isnan(row).any():
        return Sample("not_found")
    scores = gallery.compare(row, NOW)
    best = int(scores.argmax())
    own = float(scores[mine]) if mine is not None else np.nan
    return Sample(None, float(scores[best]), own, best == mine)
