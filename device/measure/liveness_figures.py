# SPDX-License-Identifier: Apache-2.0
"""From what the cues said of each presentation to error rates (ISO/IEC 30107-3). Plain numbers in, plain numbers out.

APCER: the share of attack presentations of one kind that get by; the worst kind is the figure that counts. BPCER: the
share of bona fide presentations that are refused. A cue may also say nothing; what that means is the subscriber's rule,
so the parallax is judged under both: only `live` passes, or only `flat` is refused.

Thresholds are set on one half of the photos (even groups) and judged on the other. Bona fide presentations over time
and replays are too few to be halved: they set nothing, and all of them count.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from device.measure.liveness_cues import CUES
from device.measure.metrics import wilson
from device.measure.presentations import SHORTEST

if TYPE_CHECKING:
    from collections.abc import Sequence

ALLOWED = 0.05  # the share of errors on the half of the data that sets a threshold
FLAT_KINDS = ("print_held", "print_turned")
# A head or a sheet that is turned 28 degrees to both sides is foreshortened by this much; the head then shows a depth
# of 0.2, several times the threshold that comes out (tests/unit/test_measure_liveness.py).
FLAT_TURN = 0.04


@dataclass(frozen=True, slots=True)
class Judged:
    """What the cues said of one presentation's longest track. cues: means over its frames, by CUES; may be empty."""

    kind: str
    group: int
    frames: int
    depth: float
    turn: float
    cues: dict[str, float]


@dataclass(frozen=True, slots=True)
class Single:
    """What the cues said of one frame."""

    kind: str
    group: int
    cues: dict[str, float]


def verdict(judged: Judged, live_from: float) -> str | None:
    """`live`: more parallax than a flat picture shows. `flat`: it was turned, and showed none. None: cannot tell."""
    if judged.frames < SHORTEST:
        return None
    if judged.depth >= live_from:
        return "live"
    return "flat" if judged.turn >= FLAT_TURN else None


def threshold_above(values: Sequence[float], allowed: float) -> float:
    """The lowest threshold that at most this share of `values` reaches. Raises ValueError without values."""
    if not values:
        raise ValueError("threshold_above: no values to set a threshold on")
    ranked = sorted(values, reverse=True)
    return math.nextafter(ranked[math.floor(allowed * len(ranked) + 1e-9)], math.inf)


def sets_thresholds(group: int) -> bool:
    """Whether a group is of the half that sets thresholds."""
    return group % 2 == 0


def tally(hits: int, trials: int) -> dict[str, Any]:
    """Count, share and 95 % interval (Wilson); no share where there were no trials."""
    share = hits / trials if trials else None
    return {"hits": hits, "trials": trials, "share": share, "share_95": wilson(hits, trials)}


def parallax_figures(judged: Sequence[Judged]) -> dict[str, Any]:
    """The parallax' threshold, and what it said of every kind. Raises ValueError where nothing sets the threshold."""
    setting = [
        each.depth
        for each in judged
        if each.kind in FLAT_KINDS and sets_thresholds(each.group) and each.frames >= SHORTEST
    ]
    live_from = threshold_above(setting, ALLOWED)
    kinds = {
        kind: kind_figures(
            kind,
            [e for e in judged if e.kind == kind and not (kind in FLAT_KINDS and sets_thresholds(e.group))],
            live_from,
        )
        for kind in dict.fromkeys(each.kind for each in judged)
    }
    return {"live_from": live_from, "flat_turn": FLAT_TURN, "set_on": len(setting), "kinds": kinds}


def kind_figures(kind: str, judged: Sequence[Judged], live_from: float) -> dict[str, Any]:
    """One kind's verdicts, and its errors under both rules."""
    said = [verdict(each, live_from) for each in judged]
    total, lives, flats = len(judged), said.count("live"), said.count("flat")
    long = [each for each in judged if each.frames >= SHORTEST]
    is_attack = kind != "bona_fide"
    return {
        "presentations": total,
        "live": lives,
        "flat": flats,
        "null": said.count(None),
        "too_short": total - len(long),
        "depth": quartiles([each.depth for each in long]),
        "turn": quartiles([each.turn for each in long]),
        # An attack errs where it gets by, a bona fide presentation where it does not.
        "only_live_passes": tally(lives if is_attack else total - lives, total),
        "only_flat_is_refused": tally(total - flats if is_attack else flats, total),
    }


def quartiles(values: Sequence[float]) -> list[float] | None:
    """Lower quartile, median, upper quartile; None without values."""
    return [float(value) for value in np.quantile(values, (0.25, 0.5, 0.75))] if values else None


def cue_figures(singles: Sequence[Single], judged: Sequence[Judged]) -> dict[str, Any]:
    """For each cue of one frame its threshold (BPCER ALLOWED on the setting half), and its errors by kind.

    photos: single frames of the other half; tracks: the presentations over time, by their mean over the frames.
    """
    figures = {}
    for name, (_, side) in CUES.items():
        setting = [
            side * each.cues[name]
            for each in singles
            if each.kind == "bona_fide" and sets_thresholds(each.group)
        ]
        limit = threshold_above(setting, ALLOWED)
        judging = [each for each in singles if not sets_thresholds(each.group)]
        figures[name] = {
            "threshold": side * limit,
            "set_on": len(setting),
            "photos": errors_by_kind([(each.kind, side * each.cues[name] >= limit) for each in judging]),
            "tracks": errors_by_kind(
                [(each.kind, side * each.cues[name] >= limit) for each in judged if each.cues]
            ),
        }
    return figures


def errors_by_kind(said: Sequence[tuple[str, bool]]) -> dict[str, Any]:
    """From (kind, whether it was called an attack) to each kind's errors."""
    kinds = {}
    for kind in dict.fromkeys(kind for kind, _ in said):
        called = [attack for each, attack in said if each == kind]
        wrong = sum(called) if kind == "bona_fide" else len(called) - sum(called)
        kinds[kind] = tally(wrong, len(called))
    return kinds
