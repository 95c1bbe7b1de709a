# SPDX-License-Identifier: Apache-2.0
"""Decide about an update that is being tried: keep it, or go back (systemd runs this after each boot).

Kept is what works: the vision service answers and counts frames, and the forwarder runs and has reached its broker,
unless it could not be reached before the update either. Where that does not come true in time the device reboots, and
since nothing on the card names the tried slot, the old system boots. A boot that is no trial changes nothing.
"""

from __future__ import annotations

import logging
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from device import update_record
from device.adapters.clock import SystemClock
from device.adapters.slots_rauc import RaucSlots
from device.commands.common import add_service_arguments, client
from device.commands.configured import service_config
from device.commands.update import VERSION_FILE, broker_connected, running_version
from device.control import ServiceStatus, StatusRequest
from device.errors import PorterError
from device.folders import FORWARD, FORWARDER
from device.logs import setup_logging
from device.payloads import ForwarderState
from device.shared_record import SharedRecord
from device.status_desk import is_silent
from device.update_record import RECORD, UpdateRecord

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from device.adapters.slots_rauc import Slots

log = logging.getLogger("porter.commit")

LOOK_EVERY_S = 2.0
STEADY_S = 30.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument(
        "--deadline", type=float, default=300.0, metavar="S", help="how long it may take (default 300 s)"
    )
    add_service_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """0 where nothing was to decide or the update was kept, 1 where it goes back."""
    setup_logging("info", journal=args.journal)
    rauc = RaucSlots()
    slots, last = rauc.slots(), update_record.read(RECORD)
    if not slots.trial:
        settled = after_the_trial(last, running_version(VERSION_FILE))
        if settled is not None:
            update_record.write(settled, RECORD)
            log.error("update_fell_back version=%s why=%r", settled.version, settled.why)
        return 0
    health = Health(args, broker=last is None or last.broker)
    why = trial(health.missing, args.deadline, time.monotonic, time.sleep)
    return decide(
        rauc, slots, last, why, RECORD, lambda: subprocess.run(["systemctl", "reboot"], check=False)
    )


def trial(
    missing: Callable[[], str], deadline_s: float, now: Callable[[], float], sleep: Callable[[float], None]
) -> str:
    """Looks until nothing was missing for STEADY_S; what still is at the deadline, or an empty string."""
    end, well_since, why = now() + deadline_s, None, "it was not well for long enough"
    while now() < end:
        said = missing()
        if said:
            well_since, why = None, said
        elif well_since is None:
            well_since = now()
        elif now() - well_since >= STEADY_S:
            return ""
        sleep(LOOK_EVERY_S)
    return why


class Health:
    """What a working device has; broker: whether it must be connected."""

    def __init__(self, args: argparse.Namespace, *, broker: bool) -> None:
        self._args, self._broker = args, broker
        self._first_frames: int | None = None

    def missing(self) -> str:
        """What this device lacks now; an empty string where it works. An error is an answer, too."""
        try:
            return self._missing()
        except PorterError as error:
            return error.message

    def _missing(self) -> str:
        # A configuration that this version does not take ends here, as an error.
        state_file = Path(service_config(self._args).device.run_dir) / FORWARD / FORWARDER
        frames = client(self._args).ask(StatusRequest(), ServiceStatus).frames
        if self._first_frames is None:
            self._first_frames = frames
        if frames <= self._first_frames:
            return "the camera gives no frames"
        said = SharedRecord(state_file, ForwarderState).read() if state_file.exists() else None
        if said is None or is_silent(said, SystemClock().now()):
            return "the forwarder does not run"
        if self._broker and not broker_connected(state_file):
            return f"the broker, which was reached before, is not: {said.connection}"
        return ""


def decide(
    rauc: RaucSlots,
    slots: Slots,
    last: UpdateRecord | None,
    why: str,
    record: Path,
    reboot: Callable[[], object],
) -> int:
    """Keeps the update where nothing is missing, else remembers why not and reboots into the old system."""
    version = running_version(VERSION_FILE)
    before = last.from_version if last is not None else ""
    broker = last is None or last.broker
    if not why:
        try:
            rauc.keep()
        except PorterError as error:
            why = error.message
        else:
            log.info("update_kept version=%s slot=%s", version, slots.booted)
            update_record.write(UpdateRecord(version, before, "kept", broker), record)
            return 0
    log.error("update_refused version=%s why=%r", version, why)
    try:
        update_record.write(UpdateRecord(version, before, "fell back", broker, why), record)
    finally:
        # Also where the disk refuses: what is not kept must not stay.
        reboot()
    return 1


def after_the_trial(last: UpdateRecord | None, running: str) -> UpdateRecord | None:
    """The record as it should be where an update was installed and yet another version runs; None where it is right."""
    if last is None or last.outcome != "installed" or running != last.from_version or last.version == running:
        return None
    why = "it did not come up, or lost its power before it was kept"
    return UpdateRecord(last.version, last.from_version, "fell back", last.broker, why)
