# SPDX-License-Identifier: Apache-2.0
"""A progress bar on standard error: one line that is drawn over on a terminal, four lines in a log."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Self, TextIO

if TYPE_CHECKING:
    from types import TracebackType

BAR_COLUMNS = 24
REDRAW_S = 0.1


class Progress:
    """Counts steps towards `total`. Use as a context manager, and call `step` once for each thing done."""

    def __init__(self, label: str, total: int, stream: TextIO | None = None) -> None:
        self._label = label
        self._total = max(1, total)
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._done = 0
        self._started = self._drawn = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._terminal:
            self._draw()
            self._stream.write("\n")
            self._stream.flush()

    @property
    def seconds(self) -> float:
        """Since it was made."""
        return time.monotonic() - self._started

    def step(self) -> None:
        """One more is done."""
        before, self._done = self._done, self._done + 1
        if self._terminal:
            if time.monotonic() - self._drawn >= REDRAW_S:
                self._draw()
        elif before * 4 // self._total != self._done * 4 // self._total:
            self._stream.write(f"{self._text()}\n")
            self._stream.flush()

    def _draw(self) -> None:
        filled = min(BAR_COLUMNS, self._done * BAR_COLUMNS // self._total)
        bar = "#" * filled + "-" * (BAR_COLUMNS - filled)
        self._stream.write(f"\r\x1b[K[{bar}] {self._text()}")
        self._stream.flush()
        self._drawn = time.monotonic()

    def _text(self) -> str:
        left_s = self.seconds / max(1, self._done) * max(0, self._total - self._done)
        return f"{self._label}: {self._done} of {self._total}, {clock(left_s)} left"


def clock(seconds: float) -> str:
    """Minutes and seconds, as 3:07."""
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02d}"
