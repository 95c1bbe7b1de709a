# SPDX-License-Identifier: Apache-2.0
"""Tables for people and JSON files for programs, and the command that makes a page of one."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device import __version__
from device.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


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


def positive(text: str) -> int:
    """An argument that is a whole number from 1 on."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, got {text}")
    return value


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


def page_command(
    module: str,
    numbers: str,
    page: str,
    write: Callable[[Path, Path], Sequence[Path]],
    argv: Sequence[str] | None,
) -> int:
    """The command of a module that makes a page from numbers: 0, or 2 where none can be made.

    numbers, page: what its two arguments are; write: takes them, and returns what it wrote.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}")
    parser.add_argument("numbers", type=Path, help=numbers)
    parser.add_argument("page", type=Path, help=page)
    args = parser.parse_args(argv)
    try:
        for path in write(args.numbers, args.page):
            print(f"wrote {path}")
    except InputError as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return 2
    return 0
