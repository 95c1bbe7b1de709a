# SPDX-License-Identifier: Apache-2.0
"""The measurements' arithmetic, against sums done by hand."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest

from device.geometry import Box
from device.measure.metrics import (
    best_threshold,
    folded,
    matched,
    miss_count,
    rates,
    share_from,
    threshold_for,
    wilson,
)
from device.measure.progress import Progress, clock
from device.measure.report import interval, percent, table

NAN = math.nan


def scores(*values: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array(values, np.float64)


def flags(text: str) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """`10` as [True, False]."""
    return np.array([letter == "1" for letter in text])


def test_wilson_is_the_textbook_interval() -> None:
    # 8 of 10, z = 1.96: (0.8 + 0.19207) / 1.38415 -+ 1.96 * sqrt(0.016 + 0.009604) / 1.38415 = 0.7168 -+ 0.2266
    low, high = wilson(8, 10)
    assert low == pytest.approx(0.4902, abs=2e-4)
    assert high == pytest.approx(0.9433, abs=2e-4)


def test_wilson_stays_within_0_and_1_and_is_never_empty() -> None:
    assert wilson(0, 10)[0] == 0.0
    assert wilson(0, 10)[1] == pytest.approx(0.2775, abs=2e-4)  # z^2 / (n + z^2)
    assert wilson(10, 10)[1] == pytest.approx(1.0)
    assert wilson(0, 0) == (0.0, 1.0)


def test_the_best_threshold_lies_halfway_between_the_last_impostor_and_the_first_match() -> None:
    assert best_threshold(scores(0.1, 0.3, 0.7, 0.9), flags("0011")) == pytest.approx(0.5)


def test_of_equally_good_thresholds_the_middle_one_is_taken() -> None:
    # Impostors 0.2 and 0.6, matches 0.4 and 0.8: thresholds 0.3 and 0.7 and no other give 3 right answers of 4.
    assert best_threshold(scores(0.2, 0.4, 0.6, 0.8), flags("0101")) == pytest.approx(0.7)


def test_no_threshold_lies_between_equal_scores() -> None:
    # Two matches and an impostor share 0.5; whoever splits them would count 3 right answers, which nobody can reach.
    assert best_threshold(scores(0.5, 0.5, 0.5), flags("011")) == pytest.approx(0.5, abs=1e-5)


def test_each_fold_is_scored_at_the_threshold_of_the_others() -> None:
    #                 fold 1: 0.9 same, 0.4 different   fold 2: 0.6 same, 0.2 different
    result = folded(scores(0.9, 0.4, 0.6, 0.2), flags("1010"), np.array([1, 1, 2, 2]))
    # Fold 2 sets (0.2 + 0.6) / 2 = 0.4: in fold 1 the 0.4 of two different people reaches it. Fold 1 sets 0.65: the
    # match of 0.6 in fold 2 does not.
    assert result.thresholds == pytest.approx((0.4, 0.65))
    assert result.accuracies == (0.5, 0.5)
    assert (result.accuracy, result.std) == (0.5, 0.0)


def test_std_is_that_of_the_folds_accuracies() -> None:
    result = folded(scores(0.9, 0.1, 0.3, 0.2), flags("1010"), np.array([1, 1, 2, 2]))
    assert result.accuracies == (1.0, 0.5)  # at 0.25 and at 0.5
    assert result.std == pytest.approx(0.25)


@pytest.mark.parametrize("same", ["11", "00"])
def test_a_pair_without_a_face_is_an_error_whatever_it_shows(same: str) -> None:
    result = folded(scores(NAN, NAN, 0.9, 0.1, 0.8, 0.2), flags(same + "1010"), np.array([1, 1, 2, 2, 3, 3]))
    assert result.accuracies == (0.0, 1.0, 1.0)


def test_a_threshold_for_a_rate_lets_just_so_many_impostors_through() -> None:
    strangers = scores(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, NAN)
    threshold = threshold_for(strangers, 0.2)  # 2 of 10: 0.9 and 0.8
    assert 0.7 < threshold < 0.7001
    assert np.count_nonzero(strangers >= threshold) == 2
    assert threshold_for(strangers, 0.0) == pytest.approx(0.9, abs=1e-6)
    assert threshold_for(strangers, 0.05) > 0.9  # half a stranger is none


def test_equal_scores_of_strangers_never_exceed_the_rate() -> None:
    assert (
        np.count_nonzero(scores(0.5, 0.5, 0.5, 0.1) >= threshold_for(scores(0.5, 0.5, 0.5, 0.1), 0.25)) == 0
    )


def test_a_search_misses_below_the_threshold_behind_another_and_without_a_face() -> None:
    assert miss_count(scores(0.9, 0.4, 0.8, NAN, 0.5), flags("11011"), 0.5) == 3


def test_boxes_are_matched_best_overlap_first_and_once_each() -> None:
    truth = [Box(0, 0, 10, 10), Box(100, 0, 10, 10)]
    found = [Box(2, 0, 10, 10), Box(1, 0, 10, 10), Box(106, 0, 10, 10)]
    # IoU with the first label: 80/120 and 90/110, so the second detection has it; the third: 40/160 is too little.
    assert matched(found, truth, 0.4) == {1: 0}
    assert matched(found, truth, 0.25) == {1: 0, 2: 1}
    assert matched([], truth, 0.4) == {}


def test_curves_count_who_reaches_each_score() -> None:
    thresholds, fmr, fnmr = rates(scores(0.8, 0.4, NAN), scores(0.5, 0.1))
    assert thresholds.tolist() == [0.8, 0.5, 0.4, 0.1]
    assert fmr.tolist() == [0.0, 0.5, 0.5, 1.0]
    assert fnmr.tolist() == pytest.approx([2 / 3, 2 / 3, 1 / 3, 1 / 3])  # who has no face is never matched
    assert share_from(scores(0.5, 0.5), scores(0.5)).tolist() == [1.0]


def test_a_table_lines_up_its_columns() -> None:
    text = table(("variant", "share"), [("cpu", percent(0.9943)), ("float", percent(1.0, 1))])
    assert text.splitlines() == [
        "variant    share",
        "-------  -------",
        "cpu      99.43 %",
        "float    100.0 %",
    ]
    assert interval((0.5, 0.25)) == "50.00-25.00"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_progress_writes_four_lines_into_a_log_and_draws_over_one_on_a_terminal() -> None:
    log, terminal = io.StringIO(), Terminal()
    for stream in (log, terminal):
        with Progress("faces", 8, stream) as progress:
            for _ in range(8):
                progress.step()
    assert [line.split(",")[0] for line in log.getvalue().splitlines()] == [
        f"faces: {done} of 8" for done in (2, 4, 6, 8)
    ]
    assert terminal.getvalue().count("\n") == 1
    assert "[########################] faces: 8 of 8" in terminal.getvalue()
    assert clock(187.4) == "3:07"
