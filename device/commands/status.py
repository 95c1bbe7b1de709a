# SPDX-License-Identifier: Apache-2.0
"""Say what the services are doing: camera, counts since the start, models, the broker, standing troubles."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from device.adapters.clock import SystemClock
from device.commands.common import add_service_arguments, client
from device.commands.configured import service_config
from device.control import ServiceStatus, ServiceUnavailable, StatusRequest
from device.folders import FORWARD, FORWARDER
from device.logs import one_line
from device.payloads import ForwarderState
from device.shared_record import SharedRecord
from device.status_desk import is_silent

if TYPE_CHECKING:
    import argparse

    from device.payloads import Trouble


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    add_service_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the status; 0 where the vision service answers."""
    forwarder = forwarder_lines(args)
    try:
        status = client(args).ask(StatusRequest(), ServiceStatus)
    except ServiceUnavailable:
        if not args.json:
            print("\n".join(forwarder))
        raise
    print(msgspec.json.encode(status).decode() if args.json else "\n".join([text(status), *forwarder]))
    return 0


def forwarder_lines(args: argparse.Namespace) -> list[str]:
    """What the forwarder says of itself; nothing where the socket was named and so no folder is known."""
    if args.socket is not None:
        return []
    path = Path(service_config(args).device.run_dir) / FORWARD / FORWARDER
    try:
        path.stat()
    except PermissionError:
        return [f"broker    {path} may not be read by this user: sudo porter status"]
    except OSError:
        return ["broker    the forwarder does not run: systemctl status porter-forward"]
    state = SharedRecord(path, ForwarderState).read()
    if state is None or is_silent(state, SystemClock().now()):
        return ["broker    the forwarder is silent: journalctl -u porter-forward"]
    lines = [f"broker    {state.broker}, {state.connection}"]
    for trouble in state.troubles:
        lines += trouble_lines(trouble)
    # Some of these words came over the network.
    return [one_line(line) for line in lines]


def text(status: ServiceStatus) -> str:
    """The status as people read it."""
    simulated = ", a simulation" if status.simulated else ""
    light = f", set for {status.light}" if status.light else ""
    lines = [
        f"state     {status.state}, up {timedelta(seconds=int(status.uptime_s))}",
        f"camera    {status.camera} ({status.source}{simulated}), {status.fps:.1f} frames a second{light}",
        f"subjects  {status.subjects} enrolled, {status.present} at the door",
        f"frames    {status.frames}, with {status.faces_seen} faces, {status.embedded} of them embedded",
        f"strangers {status.strangers}",
    ]
    if status.dropped:
        lines.append(f"dropped   {status.dropped} frames that came while no model could run")
    lines += [f"{one.task:<9} {one.name} ({one.variant}) on {one.delegate}" for one in status.models]
    for trouble in status.troubles:
        lines += trouble_lines(trouble)
    return "\n".join(lines)


def trouble_lines(trouble: Trouble) -> list[str]:
    """One that stands, and what to do."""
    lines = [f"trouble   {trouble.code}: {trouble.text}, since {trouble.since}"]
    return [*lines, f"          {trouble.hint}"] if trouble.hint else lines
