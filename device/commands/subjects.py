# SPDX-License-Identifier: Apache-2.0
"""List who is enrolled on this device, and until when their consent holds."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

import msgspec

from device.commands.common import add_service_arguments, client
from device.control import SubjectList, SubjectsRequest

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from device.control import SubjectLine

HEADINGS = ("LABEL", "REF", "REFERENCES", "CONSENT", "SINCE", "UNTIL", "DAYS LEFT")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    add_service_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the table; 0 also where nobody is enrolled."""
    found = client(args).ask(SubjectsRequest(), SubjectList)
    if args.json:
        print(msgspec.json.encode(found).decode())
    elif found.subjects:
        print(table([HEADINGS, *(row(one) for one in found.subjects)]))
    else:
        print("nobody is enrolled")
    return 0


def row(one: SubjectLine) -> tuple[str, ...]:
    """One subject's cells."""
    left = str(one.days_left) if one.days_left else "ended"
    return (one.label, one.ref, str(one.references), one.consent, one.since, one.until, left)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell on a terminal, two spaces apart."""
    widths = [max(map(columns, cells)) for cells in zip(*rows, strict=True)]
    lines = (
        "  ".join(c + " " * (w - columns(c)) for c, w in zip(cells, widths, strict=True)) for cells in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def columns(text: str) -> int:
    """How many terminal columns a text takes: East Asian wide characters two, combining marks none."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )
