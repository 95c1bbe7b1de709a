# SPDX-License-Identifier: Apache-2.0
"""Show a page about this device on a screen: name, address, version, what works, what is wrong and what to do.

On the image a service draws it on HDMI (systemd/porter-console.service). It says nothing about people: how many are
enrolled, never who, and not whether anybody is there. `porter status` says more to who may know more.
"""

from __future__ import annotations

import os
import signal
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from device import __version__
from device.adapters.clock import SystemClock
from device.adapters.host_linux import LinuxHost
from device.console_page import Facts, Service, page
from device.errors import HardwareError
from device.folders import PUBLIC, SCREEN
from device.logs import setup_logging
from device.screen_desk import ScreenState
from device.shared_record import SharedRecord
from device.status_desk import SILENT_NS
from device.supervisor import signals

if TYPE_CHECKING:
    import argparse

    from device.records import Stamp

RECORD = Path("/run/porter") / PUBLIC / SCREEN
PERIOD_S = 5.0
USUAL_SIZE = (80, 25)
# VT100, as the kernel's console has them: the cursor is hidden, each line is ended where its text ends.
BEGIN, HOME, REST_OF_LINE, REST, END = "\x1b[?25l\x1b[2J", "\x1b[H", "\x1b[K", "\x1b[J", "\x1b[?25h"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("--once", action="store_true", help="print the page and end")
    parser.add_argument(
        "--record", type=Path, default=RECORD, help="what the forwarder shows (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Draws until SIGTERM or SIGINT, whenever something changed; 0."""
    setup_logging("warning", journal=args.journal)
    # Not by the configuration: a device whose configuration is wrong needs its page most.
    source = Source(LinuxHost(), SharedRecord(args.record, ScreenState))
    if args.once:
        sys.stdout.write(page(source.facts(SystemClock().now()), *size()))
        return 0
    clock, drawn = SystemClock(), ""
    with signals(signal.SIGTERM, signal.SIGINT) as wait:
        put(BEGIN)
        while True:
            fresh = drawing(page(source.facts(clock.now()), *size()))
            if fresh != drawn:
                put(fresh)
                drawn = fresh
            if wait(PERIOD_S) is not None:
                put(END)
                return 0


class Source:
    """Where the page's facts come from."""

    def __init__(self, host: LinuxHost, record: SharedRecord[ScreenState]) -> None:
        self._host, self._record = host, record
        # Neither changes while the system runs.
        self._image, self._slot = host.image(), host.slot()

    def facts(self, now: Stamp) -> Facts:
        """Of this moment. A record that is not renewed is none: the forwarder is gone, or hangs."""
        shown = self._record.read()
        if shown is not None and not 0 <= now.boot_ns - shown.boot_ns <= SILENT_NS:
            shown = None
        return Facts(
            hostname=self._host.hostname(),
            version=__version__,
            when=f"{datetime.fromtimestamp(now.utc_ns / 1e9).astimezone():%Y-%m-%d %H:%M %Z}",
            synced=now.synced,
            image=self._image,
            slot=self._slot,
            addresses=self._host.addresses(),
            services={name: Service(*said) for name, said in self._host.services().items()},
            screen=shown,
        )


def drawing(text: str) -> str:
    """The page as a console takes it: over the one before, without clearing it first, so nothing flickers."""
    return HOME + text.replace("\n", REST_OF_LINE + "\n") + REST


def put(text: str) -> None:
    """Onto the screen, now. Raises HardwareError."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python tries once more as it ends
        raise HardwareError(
            f"the screen cannot be written to: {error.strerror}", hint="the unit tries again"
        ) from error


def size() -> tuple[int, int]:
    """Columns and lines of the screen that this is printed on."""
    try:
        columns, lines = os.get_terminal_size(sys.stdout.fileno())
    except (OSError, ValueError):  # not a terminal
        return USUAL_SIZE
    # The last line stays empty: what is written to its end would scroll.
    return (columns, lines - 1) if columns and lines else USUAL_SIZE
