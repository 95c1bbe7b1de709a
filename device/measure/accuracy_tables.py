# SPDX-License-Identifier: Apache-2.0
"""Markdown tables, and shares with their intervals, for docs/accuracy.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from device.measure.metrics import wilson
from device.measure.report import interval, percent

if TYPE_CHECKING:
    from collections.abc import Sequence


def md_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table: header, rule, rows."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def percents(share: float) -> str:
    """0.0016 as 0.16 %."""
    return percent(share)


def rate(share: float | None, bounds: Sequence[float]) -> str:
    """A share with its 95 % interval, in percent; a dash where there was nobody."""
    return "-" if share is None else f"{percent(share)} ({interval(bounds)})"


def counted(share: float, trials: int) -> str:
    """A share of so many trials, with the interval that follows."""
    return rate(share, wilson(round(share * trials), trials))


def wrapped(text: str) -> str:
    """A paragraph in lines of at most 120 characters."""
    lines: list[str] = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > 120:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".lstrip()
    return "\n".join(lines)
