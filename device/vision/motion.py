# SPDX-License-Identifier: Apache-2.0
"""The motion gate: on a still picture nothing else runs, which keeps an idle door cool and blind.

What it cannot see (someone who stands perfectly still) is not lost: while tracks run, the pipeline does not ask it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

REFERENCE_AGE_NS = 1_000_000_000


class MotionGate:
    """Compares each luma picture with one at most a second old, so that a slow walk counts as motion too."""

    def __init__(self, *, level: int, area: float, hold_ns: int) -> None:
        self._level = level
        self._area = area
        self._hold_ns = hold_ns
        self._reference: NDArray[np.int16] | None = None
        self._reference_ns = 0
        self._open_until_ns = 0

    def is_open(self, luma: NDArray[np.uint8], now_ns: int) -> bool:
        """Whether there was motion now or within the hold time. luma: (h, w) uint8. The first picture is motion."""
        present = luma.astype(np.int16)
        reference = self._reference
        moved = (
            reference is None
            or reference.shape != present.shape
            or np.count_nonzero(np.abs(present - reference) > self._level)
            >= max(1.0, self._area * present.size)
        )
        if moved or now_ns - self._reference_ns >= REFERENCE_AGE_NS:
            self._reference, self._reference_ns = present, now_ns
        if moved:
            self._open_until_ns = now_ns + self._hold_ns
        return bool(moved) or now_ns < self._open_until_ns
