# SPDX-License-Identifier: Apache-2.0
"""Tables for people and JSON files for programs."""

from __future__ import annotations

import json
import os
import platform
from typing import TYPE_CHECKING, Any

from device import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns lined up, the first to the left, the others to the right; a rule under the header."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]

    def line(row: Sequence[str]) -> str:
        first, *others = (
            text.rjust(width) if column else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        return "  ".join((first, *others)).rstrip()

    return "\n".join((line(header), "  ".join("-" * width for width in widths), *map(line, rows)))


def percent(share: float, digits: int = 2) -> str:
    """0.9943 as 99.43 %."""
    return f"{100 * share:.{digits}f} %"


def interval(bounds: Sequence[float]) -> str:
    """A 95 % interval of a share, in percent."""
    low, high = bounds
    return f"{100 * low:.2f}-{100 * high:.2f}"


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "porter": __version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "system": platform.system(),
    }


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes `content`, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    part.replace(path)
