# SPDX-License-Identifier: Apache-2.0
"""What the commands that speak to the running service share: where its socket is, and asking a person."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from device.adapters.control_client import SILENCE_S, ControlClient
from device.commands.configured import DEFAULT_CONFIG, service_config
from device.control import SOCKET_NAME
from device.errors import InputError

if TYPE_CHECKING:
    import argparse


def add_service_arguments(parser: argparse.ArgumentParser) -> None:
    """Which service to speak to."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help=f"the service's configuration, for its device.run_dir (default: {DEFAULT_CONFIG}, where it exists)",
    )
    where.add_argument("--socket", type=Path, metavar="PATH", help="the service's control socket itself")


def client(
    args: argparse.Namespace, default: Path = DEFAULT_CONFIG, *, silence_s: float = SILENCE_S
) -> ControlClient:
    """The client for the service that the arguments mean; silence_s: when it gives up. Raises ConfigError."""
    return ControlClient(socket_path(args, default), timeout_s=silence_s)


def socket_path(args: argparse.Namespace, default: Path) -> Path:
    """`--socket`, or `control.sock` in the run_dir of `--config`, of `default`, or of a device without either."""
    if args.socket is not None:
        return Path(args.socket)
    return Path(service_config(args, default).device.run_dir) / SOCKET_NAME


def name(text: str, option: str, longest: int = 200) -> str:
    """A name from the command line as a request may carry it. Raises InputError."""
    if not 1 <= len(text) <= longest or not text.isprintable():
        raise InputError(f"{option} {text!r}: expected 1 to {longest} printable characters")
    return text


def agreed(question: str, *, flag: str) -> bool:
    """Whether the person at the terminal types `yes`. Raises InputError where there is no terminal to ask at."""
    if not sys.stdin.isatty():
        raise InputError(
            "there is no terminal to ask at", hint=f"run it in a terminal, or state the answer by {flag}"
        )
    print(f"{question} Type yes: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() == "yes"
