# SPDX-License-Identifier: Apache-2.0
"""Give a subject another label. Their ref, references and consent stay; events that still wait lose the old label."""

from __future__ import annotations

from typing import TYPE_CHECKING

from device.commands.common import add_service_arguments, client, name
from device.control import Renamed, RenameRequest

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("subject", metavar="LABEL-or-REF", help="who; `porter subjects` lists them")
    parser.add_argument("label", metavar="NEW", help="the new label")
    add_service_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Renames; 0 done, 2 nobody of that name, or the new one is taken."""
    request = RenameRequest(name(args.subject, "LABEL-or-REF"), name(args.label, "NEW"))
    renamed = client(args).ask(request, Renamed).subject
    print(f"{renamed.ref} is called {renamed.label} now")
    return 0
