# SPDX-License-Identifier: Apache-2.0
"""Open-set identification, the product's own task: is this one of the enrolled, and which; or a stranger?

The gallery is the product's, with a mean template of each subject's references, which are embedded together with their
mirror images as an enrolment does it; a probe is not. A threshold is set by the strangers
(FPIR: the share of them who reach it with anybody), and the enrolled are then searched at it (FNIR: the share who do
not reach it, or behind whom somebody else comes first). Every search is a single picture: the fusion over frames
and the margin that a device adds are not in these figures.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from device.errors import InputError
from device.measure.metrics import miss_count, threshold_for, wilson
from device.ports import EnrolledReferences
from device.recognition.gallery import MAX_SUBJECTS, Gallery
from device.records import Consent, Stamp, Subject

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from device.measure.dataset import Search
    from device.measure.embeddings import PictureSet, VariantEmbeddings

FPIRS = {"1e-2": 1e-2, "1e-3": 1e-3}
NOW = Stamp(0, 0, synced=True)
# The records below live for this measurement, in memory: evaluation pictures are nobody's enrolment.
CONSENT = Consent("evaluation", "evaluation", "0" * 64, 0, 1, "porter evaluate")


# LFW photos of the open-set trial that show, to the eye, somebody else than the other photos under that name. They are
# counted like all others, and named.
WRONG_LABELS = frozenset({"Mahmoud_Abbas_0012"})


@dataclass(frozen=True, slots=True)
class AtFpir:
    """What happens at the threshold of one FPIR."""

    threshold: float
    misses: int
    alarms: int


@dataclass(frozen=True, slots=True)
class Identification:
    """One variant's result. NaN: no face.

    probes: the scores of the enrolled with themselves, `first`: whether nobody scored more; strangers: their best.
    """

    gallery: int
    references: int
    probes: NDArray[np.float64]
    first: NDArray[np.bool_]
    strangers: NDArray[np.float64]
    left_out: list[str]
    at: dict[str, AtFpir] = field(default_factory=dict)
    wrong_labels: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """For evaluate.json. Shares are 0 to 1."""
        count = self.probes.size
        result: dict[str, Any] = {
            "gallery": self.gallery,
            "probes": count,
            "strangers": self.strangers.size,
            "references": self.references,
            "references_mirrored": True,
            "rank_1": float(np.mean(self.first)) if count else 0.0,
            "subjects_left_out": self.left_out,
            "wrong_labels": self.wrong_labels,
        }
        for name, at in self.at.items():
            result |= {
                f"fnir_at_fpir_{name}": at.misses / count if count else 1.0,
                f"fnir_at_fpir_{name}_95": wilson(at.misses, count),
                f"threshold_at_fpir_{name}": at.threshold,
                f"misses_at_fpir_{name}": at.misses,
                f"alarms_at_fpir_{name}": at.alarms,
            }
        return result


def identify(searches: Sequence[Search], pictures: PictureSet, variant: VariantEmbeddings) -> Identification:
    """Enrols, searches and counts. Raises InputError for more subjects than a gallery holds, or none."""
    enrolled, left_out = enrol(searches, pictures, variant)
    if not 0 < len(enrolled) <= MAX_SUBJECTS:
        raise InputError(
            f"identification: expected 1 to {MAX_SUBJECTS} enrolled people, found {len(enrolled)}"
        )
    gallery = Gallery(enrolled)
    place = {subject.subject_id: index for index, subject in enumerate(gallery.subjects)}
    # A probe of somebody without one usable reference is a failure to enrol, not to identify: it is left out and told.
    probes = [search for search in searches if search.role == "probe" and search.identity in place]
    strangers = [search for search in searches if search.role == "stranger"]
    rows = search_rows(gallery, probes, pictures, variant)
    mine = np.array([place[search.identity] for search in probes], np.int64)
    own = np.take_along_axis(rows, mine[:, np.newaxis], axis=1)[:, 0]
    first = (rows.argmax(axis=1) == mine) & ~np.isnan(own)
    best = search_rows(gallery, strangers, pictures, variant).max(axis=1)
    at = {}
    for name, fpir in FPIRS.items():
        threshold = threshold_for(best, fpir)
        with np.errstate(invalid="ignore"):
            alarms = int(np.count_nonzero(best >= threshold))
        at[name] = AtFpir(threshold, miss_count(own, first, threshold), alarms)
    references = sum(len(each.references) for each in enrolled)
    wrong = sorted(name for search in probes if (name := search.picture.stem) in WRONG_LABELS)
    return Identification(len(gallery), references, own, first, best, left_out, at, wrong)


def enrol(
    searches: Sequence[Search], pictures: PictureSet, variant: VariantEmbeddings
) -> tuple[list[EnrolledReferences], list[str]]:
    """Subjects and references, and the identities that have no usable one; pictures without a face drop out."""
    by_identity: dict[str, list[Search]] = {}
    for search in searches:
        if search.role == "enrol":
            by_identity.setdefault(search.identity, []).append(search)
    enrolled, left_out = [], []
    for identity, its in sorted(by_identity.items()):
        rows = pictures.references(variant, (search.picture for search in its))
        rows = rows[~np.isnan(rows).any(axis=1)]
        if len(rows) == 0:
            left_out.append(identity)
            continue
        enrolled.append(EnrolledReferences(Subject(identity, identity, identity, CONSENT, len(rows)), rows))
    return enrolled, left_out


def search_rows(
    gallery: Gallery, searches: Sequence[Search], pictures: PictureSet, variant: VariantEmbeddings
) -> NDArray[np.float64]:
    """(N, subjects) scores; a row of NaN where no face was found."""
    rows = [
        np.full(len(gallery), np.nan) if np.isnan(embedding).any() else gallery.compare(embedding, NOW)
        for embedding in pictures.matrix(variant, (search.picture for search in searches))
    ]
    return np.array(rows, np.float64).reshape(len(searches), len(gallery))
