# SPDX-License-Identifier: Apache-2.0
"""Renew a subject's consent: they read a consent text and agree again, and their references may stay longer.

Nothing is captured; `porter enrol --again` takes new references as well. The old consent record goes, the new one has
a number and an end of its own, and the consent ledger gets a line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from device.commands.agreement import add_agreement_arguments, agreement
from device.commands.common import add_service_arguments, client, name
from device.control import Renewed, RenewRequest

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("subject", metavar="LABEL-or-REF", help="whose consent; `porter subjects` lists them")
    add_agreement_arguments(parser)
    add_service_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Renews; 0 done, 1 not agreed, 2 nobody of that name."""
    subject = name(args.subject, "LABEL-or-REF")
    service = client(args)
    given = agreement(args, f"Does {subject!r} agree to this again?")
    request = RenewRequest(subject, given.policy_text, acknowledged=True, recorded_by=given.recorded_by)
    renewed = service.ask(request, Renewed).subject
    print(f"renewed {renewed.label} ({renewed.ref}): consent {renewed.consent} ends on {renewed.until}")
    return 0
