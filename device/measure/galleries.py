# SPDX-License-Identifier: Apache-2.0
"""FNIR against the size of the gallery, at FPIR 1 %.

Up to the size of the open-set table: random choices among its enrolled people, searched for with their own probes.
Beyond it: all of them, and random other people of whom the tables of pairs name two pictures or more (up to five become
references); searched for are the table's probes. The strangers are always the table's, and each gallery has its own
threshold for FPIR 1 %. What may surprise: the choices overlap, so that the spread over them says how much hangs on
the choice, not how certain the mean is; the interval is Wilson's over the distinct probes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from device.measure.dataset import Search
from device.measure.embeddings import NOBODY
from device.measure.identification import identify
from device.measure.metrics import wilson
from device.recognition.gallery import MAX_SUBJECTS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from device.measure.embeddings import PictureSet, VariantEmbeddings

SIZES = (10, 25, 53, 100, 200, 350, MAX_SUBJECTS)
DRAWS = 10
MOST_REFERENCES = 5
SEED = 20261123
FPIR = "1e-2"


@dataclass(frozen=True, slots=True)
class GallerySize:
    """One size. fnirs, thresholds, probes: of each draw; distinct: how many different probes were searched for."""

    subjects: int
    others: int
    fnirs: tuple[float, ...]
    thresholds: tuple[float, ...]
    distinct: int

    def as_json(self) -> dict[str, Any]:
        """For evaluate.json. Shares are 0 to 1."""
        mean = float(np.mean(self.fnirs))
        return {
            "subjects": self.subjects,
            "others": self.others,
            "draws": len(self.fnirs),
            "probes": self.distinct,
            "fnir": mean,
            "fnir_95": wilson(round(mean * self.distinct), self.distinct),
            "fnir_least": min(self.fnirs),
            "fnir_most": max(self.fnirs),
            "threshold": float(np.mean(self.thresholds)),
        }


def gallery_sizes(
    searches: Sequence[Search],
    pictures_of_others: Collection[Path],
    pictures: PictureSet,
    variant: VariantEmbeddings,
) -> list[GallerySize]:
    """Every size that there are people for. pictures_of_others: those of the pairs; a folder is a person."""
    enrolled = sorted({search.identity for search in searches if search.role == "enrol"})
    named = {search.identity for search in searches}
    others = fillers(pictures_of_others, named, pictures, variant)
    sizes = []
    for size in SIZES:
        if size > len(enrolled) + len(others):
            break
        rng = np.random.default_rng([SEED, size])
        drawn = list(draws(searches, enrolled, others, size, rng))
        results = [identify(chosen, pictures, variant) for chosen in drawn]
        at = [result.at[FPIR] for result in results]
        sizes.append(
            GallerySize(
                subjects=size,
                others=max(0, size - len(enrolled)),
                fnirs=tuple(a.misses / max(1, r.probes.size) for a, r in zip(at, results, strict=True)),
                thresholds=tuple(a.threshold for a in at),
                distinct=len({s.picture for chosen in drawn for s in chosen if s.role == "probe"}),
            )
        )
    return sizes


def draws(
    searches: Sequence[Search],
    enrolled: Sequence[str],
    others: dict[str, list[Search]],
    size: int,
    rng: np.random.Generator,
) -> Iterator[list[Search]]:
    """The searches of each draw; a single one where there is no choice."""
    if size == len(enrolled):
        yield list(searches)
        return
    names = sorted(others)
    for _ in range(DRAWS):
        if size < len(enrolled):
            kept = {enrolled[index] for index in rng.permutation(len(enrolled))[:size]}
            yield [s for s in searches if s.role == "stranger" or s.identity in kept]
        else:
            added = rng.permutation(len(names))[: size - len(enrolled)]
            yield [*searches, *(search for index in added for search in others[names[index]])]


def fillers(
    paths: Collection[Path], named: Collection[str], pictures: PictureSet, variant: VariantEmbeddings
) -> dict[str, list[Search]]:
    """Those of `filler_pictures` that have two pictures with a face or more, and these pictures as references."""
    seen = {
        person: [path for path in its if variant.look[pictures.keys[path]] != NOBODY]
        for person, its in filler_pictures(paths, named).items()
    }
    return {
        person: [Search(path, person, "enrol") for path in its]
        for person, its in seen.items()
        if len(its) >= 2
    }


def filler_pictures(paths: Collection[Path], named: Collection[str]) -> dict[str, list[Path]]:
    """The pictures by which people whom the open-set table does not name (`named`) can be enrolled."""
    by_person: dict[str, list[Path]] = {}
    for path in sorted(paths):
        if path.parent.name not in named:
            by_person.setdefault(path.parent.name, []).append(path)
    return {person: its[:MOST_REFERENCES] for person, its in by_person.items() if len(its) >= 2}
