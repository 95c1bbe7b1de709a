# SPDX-License-Identifier: Apache-2.0
"""The score from which a subject matches, chosen by how often a stranger may pass at this door, not by hand.

A stranger's visit is a search among all subjects, so with N of them it goes wrong about N times as often as one
comparison does: the more people are enrolled, the higher the threshold. What a score is worth comes from the
embedder's manifest, where the distribution that was measured stands as a table. Reasons and checks:
docs/decisions/0021-operating-point.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from device.records import Expected

if TYPE_CHECKING:
    from collections.abc import Sequence

Rate = Annotated[float, Meta(gt=0, le=1)]
Share = Annotated[float, Meta(ge=0, le=1)]

# How many single-picture searches a stranger's visit is worth at most, decided over `min_frames` fused samples or
# more. Pictures of one visit are alike (correlation of their scores 0.84 to 0.97), so a hundred looks are hardly more
# than one, and from three fused samples on no more than one (tests/unit/test_operating_point.py simulates it).
SEARCHES_A_VISIT = {1: 1.4, 2: 1.15}


class ScoreTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often a score is reached, by one picture against the template of `references` pictures of one person.

    score: rising. fmr: share of comparisons with other people's templates that reach it; fnmr: share of comparisons
    with the person's own that do not. *_low, *_high: 95 % intervals over people. fmr below `measured_to` was not
    counted: it is the straight continuation, in log scale, of the last decade that was.
    """

    data: Annotated[str, Meta(min_length=1)]
    references: Annotated[int, Meta(ge=1)]
    comparisons: Annotated[int, Meta(ge=1)]
    measured_to: Rate
    score: Annotated[list[Annotated[float, Meta(ge=-1, le=1)]], Meta(min_length=2)]
    fmr: list[Rate]
    fmr_low: list[Rate]
    fmr_high: list[Rate]
    fnmr: list[Share]
    fnmr_low: list[Share]
    fnmr_high: list[Share]

    def __post_init__(self) -> None:
        """Refuses a table that is none; msgspec turns the ValueError into its ValidationError."""
        for name in ("fmr", "fmr_low", "fmr_high", "fnmr", "fnmr_low", "fnmr_high"):
            if len(getattr(self, name)) != len(self.score):
                raise ValueError(f"{name}: expected {len(self.score)} numbers, one a score")
        rising = self.score == sorted(set(self.score))
        if not rising or any(a <= b for a, b in zip(self.fmr, self.fmr[1:], strict=False)):
            raise ValueError("expected scores that rise and an fmr that falls with them")


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """target_fpir: how many of a door's stranger visits may end in a match, 0 to 1. min_frames: fused at least.

    fixed: a threshold that the operator insists on; then table and target choose nothing. One of table and fixed is
    there.
    """

    table: ScoreTable | None
    target_fpir: float
    min_frames: int
    fixed: float | None = None

    def threshold(self, subjects: int) -> float:
        """The score from which one of `subjects` matches, -1 to 1. For an empty gallery that of one subject."""
        if self.fixed is not None:
            return self.fixed
        if self.table is None:
            raise ValueError("no score table and no fixed threshold")
        searches = max(1, subjects) * self._searches_a_visit
        return score_at(self.table, 1.0 - (1.0 - self.target_fpir) ** (1.0 / searches))

    def fmr(self, threshold: float) -> float | None:
        """The false match rate per comparison at a threshold; None where nobody measured it."""
        return None if self.table is None else rate_at(self.table.score, self.table.fmr, threshold)

    def expected(self, subjects: int) -> Expected | None:
        """What to expect of a gallery of so many; None without a measured table."""
        table, threshold = self.table, self.threshold(subjects)
        if table is None:
            return None
        fmr, low, high = (
            rate_at(table.score, column, threshold) for column in (table.fmr, table.fmr_low, table.fmr_high)
        )
        return Expected(
            threshold=threshold,
            subjects=subjects,
            fmr=fmr,
            fmr_95=(low, high),
            fpir=self._fpir(fmr, subjects),
            fpir_95=(self._fpir(low, subjects), self._fpir(high, subjects)),
            fnir=share_at(table.score, table.fnmr, threshold),
            fnir_95=(
                share_at(table.score, table.fnmr_low, threshold),
                share_at(table.score, table.fnmr_high, threshold),
            ),
            counted=fmr >= table.measured_to,
        )

    @property
    def _searches_a_visit(self) -> float:
        return SEARCHES_A_VISIT.get(self.min_frames, 1.0)

    def _fpir(self, fmr: float, subjects: int) -> float:
        return -math.expm1(subjects * self._searches_a_visit * math.log1p(-min(fmr, 1.0 - 1e-12)))


def rate_at(scores: Sequence[float], rates: Sequence[float], score: float) -> float:
    """A rate between two scores of the table, straight in log scale; beyond its ends that of the end's slope."""
    index = segment(scores, score)
    low, high = math.log(rates[index]), math.log(rates[index + 1])
    part = (score - scores[index]) / (scores[index + 1] - scores[index])
    return min(1.0, math.exp(low + part * (high - low)))


def share_at(scores: Sequence[float], shares: Sequence[float], score: float) -> float:
    """A share between two scores of the table, straight; beyond its ends that of the end."""
    index = segment(scores, score)
    part = min(1.0, max(0.0, (score - scores[index]) / (scores[index + 1] - scores[index])))
    return shares[index] + part * (shares[index + 1] - shares[index])


def score_at(table: ScoreTable, fmr: float) -> float:
    """The score whose false match rate is `fmr`; at least the table's first, at most 1."""
    if fmr >= table.fmr[0]:
        return table.score[0]
    index = next((i for i, rate in enumerate(table.fmr[1:]) if rate <= fmr), len(table.fmr) - 2)
    low, high = math.log(table.fmr[index]), math.log(table.fmr[index + 1])
    part = (math.log(fmr) - low) / (high - low)
    return min(1.0, table.score[index] + part * (table.score[index + 1] - table.score[index]))


def segment(scores: Sequence[float], score: float) -> int:
    """The index of the last score of the table that is not above `score`, but not the very last."""
    below = sum(each <= score for each in scores)
    return min(max(below - 1, 0), len(scores) - 2)
