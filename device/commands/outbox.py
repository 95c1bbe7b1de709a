# SPDX-License-Identifier: Apache-2.0
"""Say what waits in the outbox: how many events, since when, how many were dropped or cannot be read.

It only looks: it needs no running service and disturbs none. It names no person. The file belongs to the services'
users: run this as root (sudo). `seq` of a boot goes up by one with each event, so a subscriber sees what was dropped.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from device.commands.configured import DEFAULT_CONFIG, service_config
from device.folders import OUTBOX, SHARED
from device.outbox_file import look_into

if TYPE_CHECKING:
    import argparse

    from device.outbox_file import OutboxReport


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help=f"the services' configuration, for its device.state_dir (default: {DEFAULT_CONFIG}, where it exists)",
    )
    parser.add_argument("--file", type=Path, metavar="FILE", help="the outbox itself")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    """Prints; 0 whatever waits."""
    path = args.file or Path(service_config(args).device.state_dir) / SHARED / OUTBOX
    report = look_into(path)
    if args.json:
        print(msgspec.json.format(msgspec.json.encode(report), indent=2).decode())
        return 0
    print(f"{path}: {sentence(report)}")
    for boot in report.boots:
        waits = f"{boot.waiting} wait (seq {boot.first} to {boot.last})" if boot.waiting else "none waits"
        dropped = f", {boot.dropped} dropped" if boot.dropped else ""
        print(f"  boot {boot.boot}: {waits}, newest seq {boot.last_seq}{dropped}")
    for name in report.set_aside:
        print(f"  damaged, set aside: {name}")
    return 0


def sentence(report: OutboxReport) -> str:
    """All of it in one line."""
    waits = (
        "nothing waits" if report.depth == 0 else f"{report.depth} events wait, the oldest of {report.oldest}"
    )
    unreadable = f", {report.dead} unreadable" if report.dead else ""
    return f"{waits}; {report.bytes / 1e6:.1f} MB in use, {report.dropped} dropped{unreadable}"
