# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of the measurements, on plain numbers. Words as in ISO/IEC 19795-1.

A score that does not exist, because no face was found (a failure to acquire), is NaN. It is below every threshold,
and where a person was to be recognised it counts as an error whatever the threshold is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from device.geometry import Box

Z_95 = 1.959964  # the normal distribution's 97.5 % point


def wilson(hits: int, trials: int) -> tuple[float, float]:
    """95 % interval of a share by Wilson's score method, which holds near 0 and 1 and for few trials."""
    if trials == 0:
        return 0.0, 1.0
    share, z2 = hits / trials, Z_95 * Z_95
    middle = share + z2 / (2 * trials)
    reach = Z_95 * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials * trials))
    return max(0.0, (middle - reach) / (1 + z2 / trials)), min(1.0, (middle + reach) / (1 + z2 / trials))


@dataclass(frozen=True, slots=True)
class TenFold:
    """Accuracy over folds. accuracies, thresholds: one a fold; std: of the accuracies (their population's)."""

    accuracies: tuple[float, ...]
    thresholds: tuple[float, ...]

    @property
    def accuracy(self) -> float:
        """Mean over the folds."""
        return float(np.mean(self.accuracies))

    @property
    def std(self) -> float:
        """Standard deviation over the folds."""
        return float(np.std(self.accuracies))


def folded(scores: NDArray[np.float64], same: NDArray[np.bool_], folds: NDArray[np.int64]) -> TenFold:
    """LFW's protocol: for each fold the threshold that is best on all others, and its accuracy on this one.

    scores, same, folds: (N,). "Same" is said from the threshold on. A pair without a score is an error.
    """
    accuracies, thresholds = [], []
    for fold in np.unique(folds):
        here = folds == fold
        threshold = best_threshold(scores[~here], same[~here])
        with np.errstate(invalid="ignore"):
            right = (scores[here] >= threshold) == same[here]
        accuracies.append(float(np.mean(right & ~np.isnan(scores[here]))))
        thresholds.append(threshold)
    return TenFold(tuple(accuracies), tuple(thresholds))


def best_threshold(scores: NDArray[np.float64], same: NDArray[np.bool_]) -> float:
    """The threshold with the most right answers, halfway between two scores; of several equal ones the middle one."""
    there = ~np.isnan(scores)
    order = np.argsort(scores[there], kind="stable")
    ranked, genuine = scores[there][order], same[there][order]
    if ranked.size == 0:
        return 0.0
    # Right answers when the threshold lies below ranked[i]: impostors before i, genuine from i on.
    below = np.concatenate(([0], np.cumsum(~genuine)))
    above = np.concatenate((np.cumsum(genuine[::-1])[::-1], [0]))
    right = below + above
    edges = np.concatenate(([ranked[0] - 1e-6], (ranked[:-1] + ranked[1:]) / 2, [ranked[-1] + 1e-6]))
    real = np.concatenate(([True], ranked[1:] > ranked[:-1], [True]))  # no threshold between equal scores
    best = np.flatnonzero(real & (right == right[real].max()))
    return float(edges[best[len(best) // 2]])


def threshold_for(impostor_scores: NDArray[np.float64], rate: float) -> float:
    """The lowest threshold at which at most this share of `impostor_scores` reaches it (NaN never does)."""
    ranked = np.sort(impostor_scores[~np.isnan(impostor_scores)])[::-1]
    allowed = math.floor(rate * impostor_scores.size + 1e-9)
    if allowed >= ranked.size:
        return float(ranked[-1]) if ranked.size else -1.0
    return float(np.nextafter(ranked[allowed], np.inf))


def miss_count(scores: NDArray[np.float64], first: NDArray[np.bool_], threshold: float) -> int:
    """Searches of enrolled people that miss: below the threshold, without a face, or somebody else comes first."""
    with np.errstate(invalid="ignore"):
        return int(np.count_nonzero(~((scores >= threshold) & first)))


def matched(found: Sequence[Box], truth: Sequence[Box], iou: float) -> dict[int, int]:
    """Which box of `found` is which of `truth`: each at most once, best overlap first, from `iou` on."""
    overlaps = sorted(
        ((f.iou(t), i, j) for i, f in enumerate(found) for j, t in enumerate(truth)),
        key=lambda o: (-o[0], o[1], o[2]),
    )
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    for overlap, i, j in overlaps:
        if overlap < iou:
            break
        if i not in pairs and j not in taken:
            pairs[i] = j
            taken.add(j)
    return pairs


def rates(
    genuine: NDArray[np.float64], impostor: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """For plots: thresholds (every score, falling), and FMR and FNMR at each."""
    thresholds = np.unique(np.concatenate((genuine, impostor)))
    thresholds = thresholds[~np.isnan(thresholds)][::-1]
    return thresholds, share_from(impostor, thresholds), 1.0 - share_from(genuine, thresholds)


def share_from(scores: NDArray[np.float64], thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of `scores` (NaN counts as below) that reaches each threshold."""
    ranked = np.sort(scores[~np.isnan(scores)])
    return (ranked.size - np.searchsorted(ranked, thresholds, side="left")) / max(1, scores.size)
