# SPDX-License-Identifier: Apache-2.0
"""Several frames fused, as a door does it: what fusion buys the enrolled, and how it holds strangers off.

A visit is made of several pictures of one person, whose score rows are fused by the product's own code
(recognition/sightings.py), weighted by quality. The enrolled are the open-set table's, and so are their probes, in
random order cut into visits, several times over. Strangers are people whom that table does not name, of the pictures of
the pairs, one visit each. What may surprise: the frames of a real visit are far more alike than different photos of a
person, so a door gains less from fusion than this shows; and the longer the visit, the fewer strangers have the
pictures for one. The threshold for single strangers stands beside the visits' own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from device.measure.embeddings import NOBODY
from device.measure.identification import FPIRS, NOW, AtFpir, enrol
from device.measure.metrics import miss_count, threshold_for, wilson
from device.recognition.gallery import Gallery
from device.recognition.sightings import Evidence

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from device.measure.dataset import Search
    from device.measure.embeddings import PictureSet, VariantEmbeddings

FRAMES = (1, 3, 5, 10)
DRAWS = 10
SEED = 20261123
LEAST_QUALITY = 1e-3  # as Sightings.offer: a weight of 0 would leave nothing to divide by


@dataclass(frozen=True, slots=True)
class Visits:
    """Visits of one length. own: the enrolled's fused scores with themselves, first: whether nobody scored more;
    strangers: their best; distinct: pictures in the enrolled's visits. at: thresholds from these strangers; at_single:
    from single frames of the table's strangers.
    """

    frames: int
    distinct: int
    own: NDArray[np.float64]
    first: NDArray[np.bool_]
    strangers: NDArray[np.float64]
    at: dict[str, AtFpir] = field(default_factory=dict)
    at_single: dict[str, AtFpir] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """For evaluate.json. Shares are 0 to 1. The intervals of FNIR count each picture once, not each draw."""
        result: dict[str, Any] = {
            "frames": self.frames,
            "visits": self.own.size,
            "pictures": self.distinct,
            "strangers": self.strangers.size,
        }
        for suffix, points in (("", self.at), ("_single", self.at_single)):
            for name, at in points.items():
                independent = self.distinct // self.frames
                share = at.misses / max(1, self.own.size)
                result |= {
                    f"threshold{suffix}_at_fpir_{name}": at.threshold,
                    f"fnir{suffix}_at_fpir_{name}": share,
                    f"fnir{suffix}_at_fpir_{name}_95": wilson(round(share * independent), independent),
                    f"fpir{suffix}_at_fpir_{name}": at.alarms / max(1, self.strangers.size),
                    f"fpir{suffix}_at_fpir_{name}_95": wilson(at.alarms, self.strangers.size),
                }
        return result


def measure_visits(
    searches: Sequence[Search],
    pictures_of_others: Collection[Path],
    pictures: PictureSet,
    variant: VariantEmbeddings,
    single: dict[str, AtFpir],
) -> list[Visits]:
    """Visits of every length that there are pictures for. single: the thresholds for one frame."""
    gallery = Gallery(enrol(searches, pictures, variant)[0])
    place = {subject.subject_id: index for index, subject in enumerate(gallery.subjects)}
    named = {search.identity for search in searches}
    probes = by_person((s.picture, s.identity) for s in searches if s.role == "probe" and s.identity in place)
    others = by_person(
        (path, path.parent.name) for path in pictures_of_others if path.parent.name not in named
    )
    fuse = Fuser(gallery, pictures, variant)
    results = []
    for frames in FRAMES:
        rng = np.random.default_rng([SEED, frames])
        mine = [
            (place[name], visit)
            for _ in range(DRAWS)
            for name, its in fuse.seen(probes).items()
            for visit in cut(its, frames, rng)
        ]
        strange = [visit for its in fuse.seen(others).values() for visit in cut(its, frames, rng)[:1]]
        if mine and strange:
            results.append(counted(frames, mine, strange, fuse, single))
    return results


def by_person(pictures: Iterable[tuple[Path, str]]) -> dict[str, list[Path]]:
    """Each person's pictures, in a fixed order."""
    people: dict[str, list[Path]] = {}
    for path, name in sorted(pictures):
        people.setdefault(name, []).append(path)
    return people


def cut(pictures: Sequence[Path], frames: int, rng: np.random.Generator) -> list[list[Path]]:
    """One person's pictures in random order, as visits of `frames`; what is left over belongs to none."""
    order = [pictures[index] for index in rng.permutation(len(pictures))]
    return [order[start : start + frames] for start in range(0, len(order) - frames + 1, frames)]


def counted(
    frames: int,
    mine: Sequence[tuple[int, list[Path]]],
    strange: Sequence[list[Path]],
    fuse: Fuser,
    single: dict[str, AtFpir],
) -> Visits:
    """Errors at the visits' own thresholds and at those for one frame."""
    rows = np.array([fuse.fused(visit) for _, visit in mine], np.float64)
    place = np.array([index for index, _ in mine], np.int64)
    own, first = rows[np.arange(len(rows)), place], rows.argmax(axis=1) == place
    best = np.array([fuse.fused(visit).max() for visit in strange], np.float64)

    def at(threshold: float) -> AtFpir:
        return AtFpir(threshold, miss_count(own, first, threshold), int(np.count_nonzero(best >= threshold)))

    return Visits(
        frames=frames,
        distinct=len({path for _, visit in mine for path in visit}),
        own=own,
        first=first,
        strangers=best,
        at={name: at(threshold_for(best, fpir)) for name, fpir in FPIRS.items()},
        at_single={name: at(each.threshold) for name, each in single.items()},
    )


class Fuser:
    """Fuses the score rows of pictures."""

    def __init__(self, gallery: Gallery, pictures: PictureSet, variant: VariantEmbeddings) -> None:
        self._gallery, self._pictures, self._variant = gallery, pictures, variant
        self._rows: dict[Path, NDArray[np.float32]] = {}

    def seen(self, people: dict[str, list[Path]]) -> dict[str, list[Path]]:
        """`people` with the pictures in which a face was found: the others make no frame of a visit."""
        look, keys = self._variant.look, self._pictures.keys
        return {name: [path for path in its if look[keys[path]] != NOBODY] for name, its in people.items()}

    def fused(self, visit: Sequence[Path]) -> NDArray[np.float32]:
        """(subjects,) fused scores of a visit."""
        evidence = Evidence(np.zeros(len(self._gallery), np.float32))
        for path in visit:
            if path not in self._rows:
                embedding = self._pictures.matrix(self._variant, [path])[0]
                self._rows[path] = self._gallery.compare(embedding, NOW)
            quality = self._variant.quality[self._pictures.keys[path]]
            evidence.add(self._rows[path], max(quality, LEAST_QUALITY))
        return evidence.fused()
