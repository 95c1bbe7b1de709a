# SPDX-License-Identifier: Apache-2.0
"""Look again after `porter pause`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from device.commands.common import add_service_arguments, client
from device.control import ResumeRequest, Switched

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    add_service_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Resumes; 0 also where it was not paused."""
    switched = client(args).ask(ResumeRequest(), Switched)
    print("looking again" if switched.changed else "it was not paused")
    return 0
