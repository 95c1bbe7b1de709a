# SPDX-License-Identifier: Apache-2.0
"""Erase a subject who withdraws their consent: the consent record and every reference, at once and for good.

`--receipt FILE` writes what was erased, and the consent ledger's line that says so, as JSON for the person to keep: it
names the ref, not the label. `porter ledger verify` shows later that the ledger still has that line.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from device.commands.common import add_service_arguments, agreed, client, name
from device.control import Withdrawn, WithdrawRequest
from device.errors import InputError, PorterError

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("subject", metavar="LABEL-or-REF", help="whom to erase; `porter subjects` lists them")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--receipt", type=Path, metavar="FILE", help="write a receipt to this new file")
    add_service_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Erases; 0 done, 1 not confirmed, 2 nobody of that name."""
    subject = name(args.subject, "LABEL-or-REF")
    service = client(args)
    if not args.yes and not agreed(f"Erase {subject!r} from this device for good?", flag="--yes"):
        raise PorterError("not confirmed: nothing was erased")
    file = new_file(args.receipt) if args.receipt is not None else None
    try:
        withdrawn = service.ask(WithdrawRequest(subject), Withdrawn)
    except BaseException:
        if file is not None:
            file.close()
            args.receipt.unlink()
        raise
    gone, receipt = withdrawn.subject, withdrawn.receipt
    print(
        f"erased {gone.label} ({gone.ref}): {gone.references} references and the consent record {gone.consent}"
    )
    if receipt.ledger_entry is not None:
        print(f"receipt: entry {receipt.ledger_entry} of the consent ledger, SHA-256 {receipt.ledger_sha256}")
    if file is not None:
        with file:
            file.write(msgspec.json.format(msgspec.json.encode(receipt), indent=2) + b"\n")
    return 0


def new_file(path: Path) -> BinaryIO:
    """A file that was not there before, mode 0600. Raises InputError: better before the erasing than after it."""
    try:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be made: {error.strerror}", hint="nothing was erased; name a new file"
        ) from None
