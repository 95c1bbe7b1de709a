# SPDX-License-Identifier: Apache-2.0
"""Say what the vision service is doing: state, camera, counts since its start, models, standing troubles."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from device.commands.common import add_service_arguments, client
from device.control import ServiceStatus, StatusRequest

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    add_service_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the status; 0 where the service answers."""
    status = client(args).ask(StatusRequest(), ServiceStatus)
    print(msgspec.json.encode(status).decode() if args.json else text(status))
    return 0


def text(status: ServiceStatus) -> str:
    """The status as people read it."""
    simulated = ", a simulation" if status.simulated else ""
    lines = [
        f"state     {status.state}, up {timedelta(seconds=int(status.uptime_s))}",
        f"camera    {status.camera} ({status.source}{simulated}), {status.fps:.1f} frames a second",
        f"subjects  {status.subjects} enrolled, {status.present} at the door",
        f"frames    {status.frames}, with {status.faces_seen} faces, {status.embedded} of them embedded",
        f"strangers {status.strangers}",
    ]
    lines += [f"{one.task:<9} {one.name} ({one.variant}) on {one.delegate}" for one in status.models]
    for trouble in status.troubles:
        lines += [
            f"trouble   {trouble.code}: {trouble.text}, since {trouble.since}",
            f"          {trouble.hint}",
        ]
    return "\n".join(lines)
