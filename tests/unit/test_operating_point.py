# SPDX-License-Identifier: Apache-2.0
"""The threshold from a target, a gallery's size and a measured table; and what is then to be expected."""

from __future__ import annotations

from statistics import NormalDist

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.recognition.operating_point import (
    SEARCHES_A_VISIT,
    OperatingPoint,
    ScoreTable,
    rate_at,
    score_at,
    share_at,
)

# A tenth as many false matches for each 0.1 of score.
TABLE = ScoreTable(
    data="a test",
    references=5,
    comparisons=1_000_000,
    measured_to=1e-4,
    score=[0.3, 0.4, 0.5, 0.6],
    fmr=[1e-2, 1e-3, 1e-4, 1e-5],
    fmr_low=[0.5e-2, 0.5e-3, 0.5e-4, 0.5e-5],
    fmr_high=[2e-2, 2e-3, 2e-4, 2e-5],
    fnmr=[0.0, 0.01, 0.02, 0.05],
    fnmr_low=[0.0, 0.0, 0.01, 0.03],
    fnmr_high=[0.01, 0.02, 0.04, 0.08],
)


def point(target_fpir: float = 1e-4, min_frames: int = 3, fixed: float | None = None) -> OperatingPoint:
    return OperatingPoint(TABLE, target_fpir, min_frames, fixed)


def test_one_subject_is_matched_from_the_score_whose_fmr_is_the_target() -> None:
    assert point(1e-4).threshold(1) == pytest.approx(0.5, abs=1e-4)


def test_ten_times_the_subjects_need_a_tenth_of_the_fmr() -> None:
    assert point(1e-3).threshold(10) == pytest.approx(0.5, abs=1e-3)
    assert point(1e-4).threshold(10) == pytest.approx(0.6, abs=1e-3)


def test_an_empty_gallery_has_the_threshold_of_one_subject() -> None:
    assert point().threshold(0) == point().threshold(1)


def test_beyond_the_table_its_last_slope_goes_on_and_ends_at_one() -> None:
    assert point(1e-4).threshold(100) == pytest.approx(0.7, abs=1e-3)
    assert point(1e-6).threshold(500) <= 1.0


def test_below_the_table_its_first_score_is_the_least() -> None:
    assert score_at(TABLE, 0.5) == 0.3


def test_a_fixed_threshold_is_taken_and_judged_by_the_table() -> None:
    expected = point(fixed=0.45).expected(100)
    assert expected is not None
    assert expected.threshold == 0.45
    assert expected.fmr == pytest.approx(10**-3.5)
    assert expected.fpir == pytest.approx(1 - (1 - 10**-3.5) ** 100)


def test_without_a_table_a_fixed_threshold_is_all_there_is_and_nothing_is_expected() -> None:
    bare = OperatingPoint(None, 1e-4, 3, fixed=0.5)
    assert (bare.threshold(9), bare.fmr(0.5), bare.expected(9)) == (0.5, None, None)
    with pytest.raises(ValueError, match="no score table"):
        OperatingPoint(None, 1e-4, 3).threshold(9)


@given(subjects=st.integers(1, 500), target=st.floats(1e-6, 0.05), frames=st.integers(1, 30))
def test_what_is_expected_is_the_target_wherever_the_table_reaches(
    subjects: int, target: float, frames: int
) -> None:
    expected = point(target, frames).expected(subjects)
    assert expected is not None
    if 0.3 < expected.threshold < 1.0:
        assert expected.fpir == pytest.approx(target, rel=1e-6)
    assert expected.fpir_95[0] <= expected.fpir <= expected.fpir_95[1]
    assert expected.fnir_95[0] <= expected.fnir <= expected.fnir_95[1]
    assert expected.counted == (expected.fmr >= 1e-4)


@given(few=st.integers(1, 499), more=st.integers(1, 100))
def test_more_subjects_never_lower_the_threshold(few: int, more: int) -> None:
    assert point().threshold(min(500, few + more)) >= point().threshold(few)


@given(score=st.floats(-1, 1))
def test_rates_fall_and_shares_rise_with_the_score(score: float) -> None:
    assert rate_at(TABLE.score, TABLE.fmr, score) >= rate_at(TABLE.score, TABLE.fmr, score + 0.01)
    assert 0.0 <= share_at(TABLE.score, TABLE.fnmr, score) <= share_at(TABLE.score, TABLE.fnmr, score + 0.01)


@pytest.mark.parametrize(
    ("column", "values"), [("fmr", [1e-2, 1e-3, 1e-4]), ("score", [0.3, 0.4, 0.4, 0.6]), ("fnmr", [0.0])]
)
def test_a_table_that_is_none_is_refused(column: str, values: list[float]) -> None:
    body = msgspec.to_builtins(TABLE) | {column: values}
    with pytest.raises(msgspec.ValidationError, match="expected"):
        msgspec.convert(body, ScoreTable)


@pytest.mark.parametrize("min_frames", [1, 2, 3, 5])
@pytest.mark.parametrize("alike", [0.84, 0.91, 0.97])
def test_a_visit_is_worth_no_more_searches_than_stated(min_frames: int, alike: float) -> None:
    """A stranger's score in frame k is a share that is theirs and a share that is the frame's.

    The chance that a running mean of `min_frames` to 30 frames reaches a score that one frame in 100,000 reaches is
    found by drawing strangers who come near it more often than they would, and weighing them down again.
    """
    random = np.random.Generator(np.random.PCG64(1))
    rare, visits, frames = 1e-5, 60_000, 30
    score = NormalDist().inv_cdf(1 - rare)
    near = score * np.sqrt(alike)
    theirs = random.normal(near, 1.0, visits)
    weight = np.exp(-near * theirs + near * near / 2)
    own = random.normal(size=(visits, frames)) * np.sqrt(1 - alike)
    means = np.sqrt(alike) * theirs + (np.cumsum(own, axis=1) / np.arange(1, frames + 1))[
        :, min_frames - 1 :
    ].max(axis=1)
    searches = float((weight * (means >= score)).mean()) / rare
    assert searches <= SEARCHES_A_VISIT.get(min_frames, 1.0) * 1.06
