# SPDX-License-Identifier: Apache-2.0
"""From single searches to the figures of a condition. Counting only.

A search is a miss when its subject is not found, or below the threshold, or behind somebody else. It is mistaken when
somebody else reaches the threshold before its subject: a wrong name, which is worse than none.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from device.measure.metrics import wilson

if TYPE_CHECKING:
    from collections.abc import Sequence

YAW_EDGES_DEG = (0, 10, 20, 30, 40, 90)
QUALITY_EDGES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True, slots=True)
class Sample:
    """One search. refusal: why the door would not have embedded it; None where it would.

    best: the highest score; own: the subject's (NaN for a stranger); all NaN where no face was found.
    """

    refusal: str | None
    best: float = math.nan
    own: float = math.nan
    first: bool = False
    quality: float = math.nan
    yaw_deg: float = math.nan

    def missed(self, threshold: float) -> bool:
        """Whether an enrolled person is not recognised."""
        return not (self.first and self.own >= threshold)

    def mistaken(self, threshold: float) -> bool:
        """Whether an enrolled person is taken for another."""
        return not self.first and self.best >= threshold


def point_of(probes: Sequence[Sample], strangers: Sequence[Sample], threshold: float) -> dict[str, Any]:
    """One condition's figures. Shares are 0 to 1; refused: how many for which reason, faces not found included."""
    taken = [sample for sample in probes if sample.refusal is None]
    let_in = [sample for sample in strangers if sample.refusal is None]
    return {
        **misses_of(probes, threshold, ""),
        "not_found": sum(sample.refusal == "not_found" for sample in probes),
        "refused": dict(sorted(Counter(s.refusal for s in probes if s.refusal is not None).items())),
        "refused_share_95": wilson(len(probes) - len(taken), len(probes)),
        **misses_of(taken, threshold, "accepted_"),
        **alarms_of(strangers, threshold, ""),
        **alarms_of(let_in, threshold, "accepted_"),
    }


def misses_of(samples: Sequence[Sample], threshold: float, prefix: str) -> dict[str, Any]:
    """Misses and mistakes of enrolled people; fnir: None where there is nobody."""
    count = len(samples)
    misses = sum(sample.missed(threshold) for sample in samples)
    return {
        f"{prefix}probes": count,
        f"{prefix}misses": misses,
        f"{prefix}fnir": misses / count if count else None,
        f"{prefix}fnir_95": wilson(misses, count),
        f"{prefix}mistaken": sum(sample.mistaken(threshold) for sample in samples),
    }


def alarms_of(samples: Sequence[Sample], threshold: float, prefix: str) -> dict[str, Any]:
    """Strangers who are taken for somebody; fpir: None where there is nobody."""
    count = len(samples)
    alarms = sum(sample.best >= threshold for sample in samples)
    return {
        f"{prefix}strangers": count,
        f"{prefix}alarms": alarms,
        f"{prefix}fpir": alarms / count if count else None,
        f"{prefix}fpir_95": wilson(alarms, count),
    }


def by_yaw(samples: Sequence[Sample], threshold: float) -> list[dict[str, Any]]:
    """Found probes by how far they look aside, in degrees; the last bin takes its upper edge as well."""
    return [
        {
            "from_deg": low,
            "to_deg": high,
            **misses_of([s for s in samples if inside(abs(s.yaw_deg), low, high, 90)], threshold, ""),
        }
        for low, high in pairwise(YAW_EDGES_DEG)
    ]


def by_quality(samples: Sequence[Sample], threshold: float) -> list[dict[str, Any]]:
    """Found probes by sample quality; the last bin takes its upper edge as well."""
    return [
        {
            "from": low,
            "to": high,
            **misses_of([s for s in samples if inside(s.quality, low, high, 1.0)], threshold, ""),
        }
        for low, high in pairwise(QUALITY_EDGES)
    ]


def inside(value: float, low: float, high: float, last: float) -> bool:
    """Whether `value` is in the bin from `low` to below `high`, or at `last`, the end of the last bin."""
    return low <= value < high or value == high == last
