# SPDX-License-Identifier: Apache-2.0
"""Verification: are these two pictures of one person? LFW's protocol, and what low false match rates cost.

The ten folds give the accuracy. 3,000 impostor pairs say nothing below an FMR of about 1e-3, so the thresholds for
lower rates come from all pairs of different people among the pictures; who is in a picture says its folder.

The protocol compares two pictures embedded alike. At a door one of the two is a reference, embedded together with its
mirror image, and only the other is a plain probe: that is measured as well, with each picture of a pair once as the
reference and once as the probe, and the mean of both scores.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from device.measure.embeddings import NOBODY
from device.measure.metrics import TenFold, folded, share_from, wilson

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from device.measure.dataset import Pair
    from device.measure.embeddings import PictureSet, VariantEmbeddings

RATES = (1e-3, 1e-4, 1e-5)
BINS = 40_000  # of the impostor scores' histogram from -1 to 1: a threshold is exact to 5e-5
BLOCK = 512


@dataclass(frozen=True, slots=True)
class Verification:
    """One variant's result. genuine, impostor: scores of the pairs, NaN where a face was not found.

    at_the_door: the folds where one picture of a pair is a reference, as an enrolment embeds it.
    """

    folds: TenFold
    at_the_door: TenFold
    pairs: int
    fta_pairs: int
    genuine: NDArray[np.float64]
    impostor: NDArray[np.float64]
    thresholds: dict[str, float] = field(default_factory=dict)
    impostor_pairs: int = 0

    def as_json(self) -> dict[str, Any]:
        """For evaluate.json. Shares are 0 to 1."""
        right = round(self.folds.accuracy * self.pairs)
        tmr = {
            rate: float(share_from(self.genuine, np.array([threshold]))[0])
            for rate, threshold in self.thresholds.items()
        }
        return {
            "accuracy": self.folds.accuracy,
            "std": self.folds.std,
            "pairs": self.pairs,
            "accuracy_95": wilson(right, self.pairs),
            "as_at_the_door": {
                "accuracy": self.at_the_door.accuracy,
                "std": self.at_the_door.std,
                "accuracy_95": wilson(round(self.at_the_door.accuracy * self.pairs), self.pairs),
            },
            "folds": len(self.folds.accuracies),
            "thresholds": self.folds.thresholds,
            "pairs_without_face": self.fta_pairs,
            "threshold_at_fmr": self.thresholds,
            "tmr_at_fmr": tmr,
            "impostor_pairs": self.impostor_pairs,
        }


def verify(pairs: Sequence[Pair], pictures: PictureSet, variant: VariantEmbeddings) -> Verification:
    """Scores the pairs whose pictures could be read; all of them were embedded as references, too."""
    firsts, seconds = [pair.first for pair in pairs], [pair.second for pair in pairs]
    first, second = (pictures.matrix(variant, paths).astype(np.float64) for paths in (firsts, seconds))
    one, other = (pictures.references(variant, paths).astype(np.float64) for paths in (firsts, seconds))
    scores = np.einsum("ij,ij->i", first, second)
    door = (np.einsum("ij,ij->i", one, second) + np.einsum("ij,ij->i", first, other)) / 2
    same = np.array([pair.same for pair in pairs])
    folds = np.array([pair.fold for pair in pairs])
    seen = sorted({path for pair in pairs for path in (pair.first, pair.second)})
    thresholds, count = impostor_thresholds(seen, pictures, variant)
    return Verification(
        folds=folded(scores, same, folds),
        at_the_door=folded(door, same, folds),
        pairs=len(pairs),
        fta_pairs=int(np.isnan(scores).sum()),
        genuine=scores[same],
        impostor=scores[~same],
        thresholds=thresholds,
        impostor_pairs=count,
    )


def impostor_thresholds(
    paths: Sequence[Path], pictures: PictureSet, variant: VariantEmbeddings
) -> tuple[dict[str, float], int]:
    """The score from which each of RATES is kept by all pairs of different people, and the number of such pairs.

    A rate is left out where fewer than ten false matches would stand behind it.
    """
    paths = [path for path in paths if variant.look[pictures.keys[path]] != NOBODY]
    if not paths:
        return {}, 0
    rows = pictures.matrix(variant, paths)
    _, person = np.unique([str(path.parent) for path in paths], return_inverse=True)
    counts = np.zeros(BINS, np.int64)
    for start in range(0, len(paths), BLOCK):
        scores = rows[start : start + BLOCK] @ rows[start:].T
        later = (
            np.arange(start, len(paths))[np.newaxis] > np.arange(start, start + len(scores))[:, np.newaxis]
        )
        others = person[start : start + BLOCK, np.newaxis] != person[np.newaxis, start:]
        level = np.clip((scores[later & others] + 1) * (BINS / 2), 0, BINS - 1).astype(np.int64)
        counts += np.bincount(level, minlength=BINS)
    total = int(counts.sum())
    from_here = np.cumsum(counts[::-1])[::-1]  # pairs in this bin or above
    thresholds = {}
    for rate in RATES:
        if rate * total >= 10:
            lowest = int(np.argmax(from_here <= rate * total))
            thresholds[f"{rate:.0e}".replace("e-0", "e-")] = lowest * 2 / BINS - 1
    return thresholds, total
