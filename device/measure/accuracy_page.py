# SPDX-License-Identifier: Apache-2.0
"""Writes docs/accuracy.md from what `porter evaluate` measured: python -m device.measure.accuracy_page JSON PAGE.

Beside the page, in the folder PAGE without its suffix, it puts the numbers themselves (evaluate.json, without anything
of the machine's folders) and the plots: those that need only the numbers are drawn here, those that need every score
were drawn by the evaluation into the folder of JSON and are copied from there. No picture of anybody is among them.
What may surprise: no figure is written by hand, so the page says what the numbers say, good or bad, and a run that
was partial or left a part out makes no page.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device.errors import InputError
from device.measure.accuracy_plots import draw_numbers
from device.measure.accuracy_text import page
from device.measure.plots import require_matplotlib
from device.measure.report import page_command, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence

SECTIONS = ("verification", "identification", "detection", "degraded", "galleries", "about")
LATER = ("visits",)  # not in the numbers of runs before it was measured
COPIED = ("verification-det.png", "verification-scores.png", "identification.png", "detection.png")
HINT = "`make accuracy DATA=folder` measures all of it"
ABOUT_THIS_MACHINE = ("data", "unreadable", "not_measured", "seconds")


def read_numbers(path: Path) -> dict[str, Any]:
    """evaluate.json, whole, without what is only true of one machine. Raises InputError."""
    try:
        numbers = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}", hint=HINT) from error
    except ValueError as error:
        raise InputError(f"{path}: expected the JSON of `porter evaluate`: {error}", hint=HINT) from error
    if not isinstance(numbers, dict):
        raise InputError(f"{path}: expected an object, found {type(numbers).__name__}", hint=HINT)
    missing = [section for section in SECTIONS if not numbers.get(section)]
    if missing:
        raise InputError(f"{path}: expected a whole run, but {', '.join(missing)} is missing", hint=HINT)
    if numbers["about"].get("partial") or not numbers["about"].get("caveat"):
        raise InputError(
            f"{path}: about: expected a whole run with its caveat, found a partial one", hint=HINT
        )
    unreadable = numbers["about"].get("unreadable", [])
    if unreadable:
        raise InputError(f"{path}: about.unreadable: expected none, found {len(unreadable)}", hint=HINT)
    numbers["about"] = {
        key: value for key, value in numbers["about"].items() if key not in ABOUT_THIS_MACHINE
    }
    return {section: numbers[section] for section in (*SECTIONS, *LATER) if section in numbers}


def write_page(source: Path, target: Path) -> list[Path]:
    """Reads, draws, writes; returns what was written. Raises InputError."""
    require_matplotlib()
    numbers = read_numbers(source)
    for name in COPIED:
        if not (source.parent / name).is_file():
            raise InputError(f"{source.parent / name}: expected the plot of this run, found none", hint=HINT)
    folder = target.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    written = draw_numbers(folder, numbers)
    for name in COPIED:
        drawn = source.parent / name
        if drawn.resolve() != (folder / name).resolve():
            shutil.copyfile(drawn, folder / name)
        written.append(folder / name)
    write_json(folder / "evaluate.json", numbers)
    target.write_text(page(numbers, folder.name), encoding="utf-8")
    return [*written, folder / "evaluate.json", target]


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, or 2 where no page can be made."""
    numbers, page_help = (
        "evaluate.json of a whole run with --degraded",
        "the page, for example docs/accuracy.md",
    )
    return page_command("device.measure.accuracy_page", numbers, page_help, write_page, argv)


if __name__ == "__main__":
    sys.exit(main())
