# SPDX-License-Identifier: Apache-2.0
"""Erase a subject who withdraws their consent: the consent record and every reference, at once and for good."""

from __future__ import annotations

from typing import TYPE_CHECKING

from device.commands.common import add_service_arguments, agreed, client, name
from device.control import Withdrawn, WithdrawRequest
from device.errors import PorterError

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("subject", metavar="LABEL-or-REF", help="whom to erase; `porter subjects` lists them")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_service_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Erases; 0 done, 1 not confirmed, 2 nobody of that name."""
    subject = name(args.subject, "LABEL-or-REF")
    service = client(args)
    if not args.yes and not agreed(f"Erase {subject!r} from this device for good?", flag="--yes"):
        raise PorterError("not confirmed: nothing was erased")
    gone = service.ask(WithdrawRequest(subject), Withdrawn).subject
    print(
        f"erased {gone.label} ({gone.ref}): {gone.references} references and the consent record {gone.consent}"
    )
    return 0
