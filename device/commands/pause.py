# SPDX-License-Identifier: Apache-2.0
"""Stop looking until `porter resume`: the service goes on running, and nobody is recognised."""

from __future__ import annotations

from typing import TYPE_CHECKING

from device.commands.common import add_service_arguments, client
from device.control import PauseRequest, Switched

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    add_service_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Pauses; 0 also where it was paused."""
    switched = client(args).ask(PauseRequest(), Switched)
    print("paused" if switched.changed else "it was paused already")
    return 0
