# SPDX-License-Identifier: Apache-2.0
"""Verify the consent ledger, or show what it says of one subject.

`verify` checks every line's SHA-256 and its place in the chain; exit 1 names the first line that does not belong.
`export SUBJECT` prints, as JSON, what this device holds of a subject (label or ref) apart from the references, which
nobody can read: their present record and every line about them. A ref that was erased still has its lines.
The ledger is a file of the service's user: run this as root (sudo). `verify` needs no running service.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from device.adapters.ledger_file import verified, whole_lines
from device.commands.common import add_service_arguments, client
from device.commands.configured import service_config
from device.control import ServiceUnavailable, SubjectList, SubjectsRequest
from device.errors import GalleryLocked, InputError
from device.folders import LEDGER
from device.recognition.consent import REF, normal_label

if TYPE_CHECKING:
    import argparse

    from device.control import SubjectLine
    from device.ledger import LedgerEntry


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("action", choices=("verify", "export"), help="what to do")
    parser.add_argument("subject", nargs="?", metavar="SUBJECT", help="export: the subject's label or ref")
    parser.add_argument(
        "--file",
        type=Path,
        metavar="FILE",
        help=f"the ledger (default: {LEDGER} in the configured device.state_dir)",
    )
    add_service_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Prints; 0 the ledger is sound, 1 it is not."""
    if (args.action == "export") != (args.subject is not None):
        raise InputError(
            "export needs a SUBJECT, verify takes none",
            hint="porter ledger verify; porter ledger export NAME",
        )
    path = ledger_path(args)
    try:
        entries, torn = read(path)
    except GalleryLocked as error:  # the answer to what was asked, not a wrong question
        print(f"porter: {error}", file=sys.stderr)
        return 1
    if args.action == "verify":
        print(f"{path}: {len(entries)} entries, every one in its place")
        if entries:
            print(f"newest: entry {entries[-1].seq} of {entries[-1].at}, SHA-256 {entries[-1].sha256}")
        if torn:
            print(f"{torn} bytes of an entry that was never finished follow; the next start cuts them off")
        return 0
    print(msgspec.json.format(msgspec.json.encode(export(args, entries)), indent=2).decode())
    return 0


def ledger_path(args: argparse.Namespace) -> Path:
    """`--file`, or the ledger of the configured service."""
    if args.file is not None:
        return Path(args.file)
    return Path(service_config(args).device.state_dir) / LEDGER


def read(path: Path) -> tuple[list[LedgerEntry], int]:
    """The entries, and the bytes of a last one that was never finished. Raises InputError, GalleryLocked."""
    try:
        lines, torn = whole_lines(path)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read: {error.strerror}",
            hint="it belongs to the vision service's user: try sudo, or name it with --file",
        ) from None
    return verified(path, lines), torn


def export(args: argparse.Namespace, entries: list[LedgerEntry]) -> dict[str, Any]:
    """What is held of one subject. Raises InputError where that is nothing."""
    present = present_record(args)
    ref = present.ref if present else args.subject.strip()
    lines = lines_about(ref, entries)
    if not present and not lines:
        raise InputError(
            f"nothing is held of {args.subject!r}",
            hint="`porter subjects` lists who is enrolled; or give the ref",
        )
    return {"present": present, "ledger": lines}


def lines_about(ref: str, entries: list[LedgerEntry]) -> list[LedgerEntry]:
    """The lines of a ref, and of the rotations that its references took part in."""
    lines, held = [], False
    for entry in entries:
        if entry.ref == ref:
            held = entry.kind in ("enrolled", "renewed")
        if entry.ref == ref or (held and entry.kind == "key_rotated"):
            lines.append(entry)
    return lines


def present_record(args: argparse.Namespace) -> SubjectLine | None:
    """The subject as they are enrolled now. A ref needs no running service, a label does."""
    wanted = args.subject.strip()
    try:
        found = client(args).ask(SubjectsRequest(), SubjectList).subjects
    except ServiceUnavailable:
        if REF.fullmatch(wanted):
            return None
        raise
    return next((one for one in found if one.ref == wanted or one.label == normal_label(wanted)), None)
