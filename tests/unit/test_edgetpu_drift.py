# SPDX-License-Identifier: Apache-2.0
"""Slow is what takes twice as long as at its best for a minute; it ends when it is clearly better, not at the line."""

from __future__ import annotations

from device.edgetpu_drift import BATCH, Drift

S = 1_000_000_000


class Clocked:
    """Batches of inferences that all took the same, ten seconds apart."""

    def __init__(self) -> None:
        self.drift = Drift()
        self.now_ns = self.count = 0

    def batches(self, took_ms: float, number: int) -> bool:
        for _ in range(number):
            self.now_ns += 10 * S
            self.count += BATCH
            self.drift.look(self.now_ns, self.count, [took_ms / 1e3] * BATCH)
        return self.drift.slow


def test_steady_times_are_not_slow_whatever_they_are() -> None:
    assert not Clocked().batches(80, 100)


def test_twice_as_long_for_a_minute_is_slow_and_for_less_is_not() -> None:
    times = Clocked()
    times.batches(5, 3)
    assert not times.batches(10.5, 6)
    assert times.batches(10.5, 1)


def test_one_better_batch_begins_the_minute_again() -> None:
    times = Clocked()
    times.batches(5, 3)
    times.batches(11, 6)
    times.batches(6, 1)
    assert not times.batches(11, 6)


def test_it_ends_below_one_and_a_half_times_and_not_between() -> None:
    times = Clocked()
    times.batches(5, 3)
    assert times.batches(11, 8)
    assert times.batches(8, 20)
    assert times.batches(7, 1)
    assert not times.batches(7, 1)


def test_a_few_long_ones_do_not_move_the_median() -> None:
    drift = Drift()
    for number in range(1, 50):
        took = [0.005] * (BATCH - 10) + [1.0] * 10
        assert not drift.look(number * 10 * S, number * BATCH, took)


def test_where_nothing_runs_nothing_is_judged() -> None:
    times = Clocked()
    times.batches(5, 3)
    times.batches(11, 2)
    for _ in range(100):
        times.now_ns += 10 * S
        assert not times.drift.look(times.now_ns, times.count, [0.011] * BATCH)


def test_a_hot_start_is_compared_with_the_best_since() -> None:
    times = Clocked()
    times.batches(12, 10)
    times.batches(5, 2)
    assert times.batches(12, 8)
