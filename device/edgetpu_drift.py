# SPDX-License-Identifier: Apache-2.0
"""Notices a model that has become slow on the Edge TPU: the only sign of heat where there is no sensor.

Medians of 64 inferences each are compared with the lowest such median since the process began. Numbers in, a decision
out. The figures are chosen, not measured: nothing here has run on an Edge TPU. A stick that has moved to a USB 2 port,
or shares its bus with a busy camera, looks the same.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

BATCH = 64
SLOW, FAST_AGAIN = 2.0, 1.5  # times the lowest median
SUSTAINED_NS = 60_000_000_000
CALM = 2  # so many batches in a row end it


class Drift:
    """One model's inference times. slow: whether they have been long for a minute, and were not well since."""

    def __init__(self) -> None:
        self.slow = False
        self.best_s: float | None = None
        self.median_s: float | None = None
        self._counted = 0
        self._slow_since_ns: int | None = None
        self._calm = 0

    def look(self, now_ns: int, count: int, took_s: Sequence[float]) -> bool:
        """count: inferences so far; took_s: how long the last of them took, at least BATCH. Returns `slow`."""
        if count < self._counted:  # another interpreter counts from the beginning
            self._counted = 0
        if count - self._counted < BATCH or len(took_s) < BATCH:
            return self.slow
        self._counted = count
        self.median_s = median(took_s[-BATCH:])
        self.best_s = self.median_s if self.best_s is None else min(self.best_s, self.median_s)
        self._judge(now_ns, self.median_s / self.best_s if self.best_s > 0 else 1.0)
        return self.slow

    def _judge(self, now_ns: int, ratio: float) -> None:
        if ratio <= SLOW:
            self._slow_since_ns = None
        elif self._slow_since_ns is None:
            self._slow_since_ns = now_ns
        elif now_ns - self._slow_since_ns >= SUSTAINED_NS:
            self.slow = True
        self._calm = self._calm + 1 if ratio < FAST_AGAIN else 0
        if self._calm >= CALM:
            self.slow = False
