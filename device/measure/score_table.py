# SPDX-License-Identifier: Apache-2.0
"""How often a score is reached: the table from which a door's threshold is chosen (recognition/operating_point.py).

What is compared is what a door compares: one picture with the template of several references of somebody, made as an
enrolment makes them. False match rates are counted down to COUNTED; below, mislabelled photos of public data weigh as
much as real false matches, so the table goes on straight, in log scale, with the slope of the last counted decade. A
normal distribution would fall faster, so that errs on the safe side. Intervals come from drawing the people anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from device.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from device.measure.embeddings import PictureSet, VariantEmbeddings

SCORES = np.round(np.arange(0.30, 0.901, 0.02), 2)
COUNTED = 1e-4
REFERENCES = 5
DRAWS = 400
SEED = 20_261_123


@dataclass(frozen=True, slots=True)
class TemplatePlan:
    """Whose photos make templates. people: by photo, as a number; owners: by template; used: photos in a template."""

    photos: Sequence[Path]
    people: NDArray[np.int64]
    owners: NDArray[np.int64]
    members: NDArray[np.int64]

    @property
    def references(self) -> list[Path]:
        """The photos that templates are made of."""
        return [self.photos[index] for index in self.members.ravel().tolist()]


def plan_templates(photos: Sequence[Path]) -> TemplatePlan:
    """Chooses REFERENCES photos of everybody who has so many; who is in a photo says its folder.

    Raises InputError where there are fewer than two such people: then nothing can be compared.
    """
    _, people, counts = np.unique(
        [str(photo.parent) for photo in photos], return_inverse=True, return_counts=True
    )
    owners = np.flatnonzero(counts >= REFERENCES)
    if owners.size < 2:
        raise InputError(f"expected at least two people with {REFERENCES} photos, found {owners.size}")
    random = np.random.Generator(np.random.PCG64(SEED))
    members = np.stack([random.permutation(np.flatnonzero(people == owner))[:REFERENCES] for owner in owners])
    return TemplatePlan(photos, people, owners, members)


def score_table(
    plan: TemplatePlan,
    pictures: PictureSet,
    variant: VariantEmbeddings,
    template: Callable[[NDArray[np.float32]], NDArray[np.float32]],
) -> dict[str, Any]:
    """One variant's table, without `data`."""
    rows = pictures.references(variant, plan.references).reshape(*plan.members.shape, -1)
    templates = np.stack([template(each[~np.isnan(each).any(axis=1)]) for each in rows])
    scores = pictures.matrix(variant, plan.photos) @ templates.T
    own = plan.people[:, np.newaxis] == plan.owners[np.newaxis]
    member = np.zeros(own.shape, np.bool_)
    member[plan.members.ravel(), np.repeat(np.arange(len(plan.owners)), REFERENCES)] = True
    seen = ~np.isnan(scores)
    impostors = Pairs.of(scores, seen & ~own, plan)
    genuine = Pairs.of(scores, seen & own & ~member, plan)
    fmr, fnmr = [], []
    for weights in draws(int(plan.people.max()) + 1):
        fmr.append(extended(impostors.reaching(weights)))
        fnmr.append(1.0 - genuine.reaching(weights))
    return {
        "references": REFERENCES,
        "comparisons": impostors.count,
        "measured_to": COUNTED,
        "score": SCORES.tolist(),
        **columns("fmr", np.array(fmr)),
        **columns("fnmr", np.array(fnmr)),
    }


@dataclass(frozen=True, slots=True)
class Pairs:
    """Comparisons of a kind. level: how many of SCORES each reaches; who, whose: the photo's and template's person."""

    level: NDArray[np.int64]
    who: NDArray[np.int64]
    whose: NDArray[np.int64]

    @classmethod
    def of(cls, scores: NDArray[np.float32], chosen: NDArray[np.bool_], plan: TemplatePlan) -> Pairs:
        """Those of a matrix that are chosen."""
        photo, template = np.nonzero(chosen)
        level = np.searchsorted(SCORES, scores[chosen], side="right")
        return cls(level, plan.people[photo], plan.owners[template])

    @property
    def count(self) -> int:
        """How many there are."""
        return self.level.size

    def reaching(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """The share that reaches each of SCORES, when everybody counts `weights` times."""
        counts = np.bincount(self.level, weights[self.who] * weights[self.whose], minlength=SCORES.size + 1)
        reached = np.cumsum(counts[::-1], dtype=np.float64)[::-1][1:]
        return np.asarray(reached / max(float(counts.sum()), 1e-9))


def draws(people: int) -> list[NDArray[np.float64]]:
    """How often everybody counts: first once, then as drawn anew (bootstrap over people, not over pictures)."""
    random = np.random.Generator(np.random.PCG64(SEED))
    drawn = [random.multinomial(people, np.full(people, 1 / people)).astype(np.float64) for _ in range(DRAWS)]
    return [np.ones(people), *drawn]


def extended(rates: NDArray[np.float64]) -> NDArray[np.float64]:
    """False match rates at SCORES: counted ones down to COUNTED, then straight on with the last decade's slope."""
    logs = np.log10(np.maximum(rates, 1e-12))
    a, b = (float(np.interp(-level, -logs, SCORES)) for level in (np.log10(COUNTED) + 1, np.log10(COUNTED)))
    onward = np.log10(COUNTED) - (SCORES - b) / max(b - a, 1e-3)
    return np.asarray(10 ** np.where(b > SCORES, logs, onward))


def columns(name: str, curves: NDArray[np.float64]) -> dict[str, list[float]]:
    """The first curve and the 95 % interval of the others, to three digits."""
    low, high = np.percentile(curves[1:], (2.5, 97.5), axis=0)
    named = {name: curves[0], f"{name}_low": low, f"{name}_high": high}
    return {key: [float(f"{value:.3g}") for value in curve] for key, curve in named.items()}
