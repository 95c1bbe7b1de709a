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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from device.adapters.board_pi import bootloader_built_s
from device.adapters.clock import SystemClock
from device.adapters.slots_rauc import RaucSlots, choice_lost
from device.adapters.units_systemd import SystemdUnits
from device.commands.common import add_service_arguments, client
from device.commands.configured import DEFAULT_CONFIG, service_config, there
from device.commands.update import VERSION_FILE, broker_connected, old_bootloader, running_version
from device.config_upgrade import upgrade_file
from device.control import ServiceStatus, StatusRequest
from device.errors import PorterError
from device.folders import FORWARD, FORWARDER
from device.logs import setup_logging
from device.payloads import ForwarderState
from device.shared_record import SharedRecord
from device.status_desk import is_silent
from device.update_record import (
    FELL_BACK,
    INSTALLED,
    KEPT,
    TRYING,
    UpdateBook,
    UpdateRecord,
    fell_back,
    found_later,
    kept,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from device.adapters.slots_rauc import Slots

log = logging.getLogger("porter.commit")

LOOK_EVERY_S = 2.0
STEADY_S = 30.0
# Longer than a camera's own patience, so that one reset of it costs the half minute and not the update.
FRAME_SLACK_S = 5.0
UNITS = ("porter-vision.service", "porter-forward.service")
REBOOT_PARAM = Path("/run/systemd/reboot-param")
TRYBOOT = "0 tryboot"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument(
        "--deadline", type=float, default=300.0, metavar="S", help="how long it may take (default 300 s)"
    )
    parser.add_argument(
        "--going-down", action="store_true", help="the system stops: remember a reboot that tries an update"
    )
    add_service_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """0 where nothing was to decide or the update was kept, 1 where it goes back."""
    setup_logging("info", journal=args.journal)
    book, boot = UpdateBook(), SystemClock().boot_id
    if args.going_down:
        going_down(book, boot, REBOOT_PARAM, SystemdUnits().rebooting)
        return 0
    rauc = RaucSlots()
    version = running_version(VERSION_FILE)
    doubt = old_bootloader(bootloader_built_s).partition("\n")[0]
    try:
        slots = rauc.slots()
    except PorterError as error:
        return undecidable(book, error, reboot)
    decision = Decision(rauc, slots, version, boot, book, lambda: new_names(args.config, version), doubt)
    if not decision.slots.trial:
        decision.settle()
        decision.regain(choice_lost, reboot)
        return 0
    record = decision.begin()
    health = Health(args, broker=record.broker)
    why = trial(health.missing, args.deadline, time.monotonic, time.sleep, health.hopeless)
    return decision.decide(record, why, reboot)


def reboot() -> None:
    """Out of what is not kept."""
    subprocess.run(["systemctl", "reboot"], check=False)


def undecidable(book: UpdateBook, error: PorterError, reboot: Callable[[], object]) -> int:
    """RAUC does not even say which slot runs: an update that is being tried cannot be kept then, so it must not stay.

    Once: what is written sends no other boot back. Raises the error where nothing is being tried.
    """
    last = book.read()
    if last is None or last.outcome != TRYING:
        raise error
    log.error("update_refused version=%s why=%r", last.version, error.message)
    try:
        book.write(fell_back(last, error.message))
    finally:
        reboot()
    return 1


def trial(
    missing: Callable[[], str],
    deadline_s: float,
    now: Callable[[], float],
    sleep: Callable[[float], None],
    hopeless: Callable[[], str] = lambda: "",
) -> str:
    """Looks until nothing was missing for STEADY_S; what still is at the deadline, or an empty string.

    hopeless: what will not mend itself however long one waits.
    """
    end, well_since, why = now() + deadline_s, None, "it was not well for long enough"
    while now() < end:
        if lost := hopeless():
            return lost
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
    """What a working device has; broker: whether it must be connected; now: seconds, monotonic."""

    def __init__(
        self,
        args: argparse.Namespace,
        *,
        broker: bool,
        units: SystemdUnits | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._args, self._broker, self._now = args, broker, now
        self._units = units or SystemdUnits()
        self._frames: int | None = None
        self._fresh_until = now()

    def hopeless(self) -> str:
        """A service that systemd has given up on, and how it ended; else an empty string."""
        for name in UNITS:
            unit = self._units.state(name)
            if unit.given_up:
                # A configuration that this version does not take says more than an exit code.
                said = self.missing() if unit.status == "2" else ""
                return f"{unit.reason}{': ' if said else ''}{said}"
        return ""

    def missing(self) -> str:
        """What this device lacks now; an empty string where it works. An error is an answer, too."""
        try:
            return self._missing()
        except PorterError as error:
            return error.message

    def _missing(self) -> str:
        # A configuration that this version does not take ends here, as an error.
        config = service_config(self._args)
        state_file = Path(config.device.run_dir) / FORWARD / FORWARDER
        frames = client(self._args).ask(StatusRequest(), ServiceStatus).frames
        # The first count says nothing: a camera that has stopped keeps it.
        if self._frames is not None and frames > self._frames:
            self._fresh_until = self._now() + config.camera.stall_after_s + FRAME_SLACK_S
        self._frames = frames
        if self._now() >= self._fresh_until:
            return "the camera gives no frames"
        said = SharedRecord(state_file, ForwarderState).read() if state_file.exists() else None
        if said is None or is_silent(said, SystemClock().now()):
            return "the forwarder does not run"
        if self._broker and not broker_connected(state_file):
            return f"the broker, which was reached before, is not: {said.connection}"
        return ""


@dataclass(frozen=True, slots=True)
class Decision:
    """The update that this boot tries, or has tried. version: what runs; new_names: writes the configuration's.

    doubt: why this board may not be able to try an update at all.
    """

    rauc: RaucSlots
    slots: Slots
    version: str
    boot: str
    book: UpdateBook
    new_names: Callable[[], object]
    doubt: str = ""

    def settle(self) -> None:
        """A boot that is no trial: what became of the update, if nobody has said so yet. Raises StorageError."""
        last = self.book.read()
        if last is None:
            return
        found = found_later(last, self.slots.booted, self.boot)
        if found == last:
            self.book.show(last)
            return
        if found.outcome == FELL_BACK and self.doubt:
            found = fell_back(found, f"{found.why}; {self.doubt}")
        if found.outcome == KEPT:
            log.info("update_kept version=%s text='the power went before it was written'", found.version)
            self._write_kept(found)
        else:
            word = found.outcome.replace(" ", "_")
            log.error("update_%s version=%s why=%r", word, found.version, found.why)
            self.book.write(found)

    def regain(self, lost: Callable[[], bool], reboot: Callable[[], object]) -> None:
        """Back to the slot that was kept, where this one boots only because autoboot.txt is damaged (lost).

        As an update that is tried, and once: what is remembered before it is none of the two outcomes that lead here.
        Raises StorageError.
        """
        last, booted = self.book.read(), self.slots.booted
        if last is None or not last.slot:
            return
        elsewhere = last.outcome == KEPT and last.slot != booted
        refused = last.outcome == FELL_BACK and last.slot == booted
        if not (elsewhere or refused) or not lost():
            return
        other = "b" if booted == "a" else "a"
        version = self.slots.versions.get(other) or last.version
        log.error("autoboot_lost booted=%s text='back to slot %s, version %s'", booted, other, version)
        self.book.write(replace(last, version=version, outcome=INSTALLED, why="", boot=self.boot, slot=other))
        self.rauc.try_other()
        reboot()

    def begin(self) -> UpdateRecord:
        """The record of the trial that begins now. A disk that refuses it must not end the trial."""
        last = self.book.read()
        if last is None or last.slot not in ("", self.slots.booted):
            # Somebody made the other slot the next one by hand (docs/recovery.md).
            broker = last is None or last.broker
            failed = last.failed if last is not None else ""
            last = UpdateRecord(self.version, "", TRYING, broker, slot=self.slots.booted, failed=failed)
        record = replace(last, version=self.version, outcome=TRYING, why="", boot=self.boot)
        try:
            self.book.write(record)
        except PorterError as error:
            log.warning("update_not_remembered text=%r", error.message)
        return record

    def decide(self, record: UpdateRecord, why: str, reboot: Callable[[], object]) -> int:
        """Keeps the update where nothing is missing, else remembers why not and reboots into the old system."""
        if not why:
            try:
                self.rauc.keep()
            except PorterError as error:
                why = error.message
            else:
                log.info("update_kept version=%s slot=%s", self.version, self.slots.booted)
                self._write_kept(kept(record))
                return 0
        log.error("update_refused version=%s why=%r", self.version, why)
        try:
            self.book.write(fell_back(record, why))
        finally:
            # Also where the disk refuses: what is not kept must not stay.
            reboot()
        return 1

    def _write_kept(self, record: UpdateRecord) -> None:
        """New names before the record: where the power goes in between, the next boot finds a trial that is the system.

        Then it does both. Whatever goes wrong with a file of the owner's, the update is kept.
        """
        try:
            self.new_names()
        finally:
            self.book.write(record)


def going_down(book: UpdateBook, boot: str, param: Path, rebooting: Callable[[], bool]) -> None:
    """Remembers that the reboot which begins now tries the update; else nothing. Raises StorageError."""
    last = book.read()
    if last is None or last.outcome != INSTALLED:
        return
    try:
        asked = param.read_text("ascii").strip() == TRYBOOT
    except (OSError, UnicodeDecodeError):
        asked = False
    if asked and rebooting():
        book.write(replace(last, outcome=TRYING, boot=boot))


def new_names(config: Path | None, version: str) -> None:
    """Writes the new names of options into the configuration. What goes wrong is logged: the old names still work."""
    path = config or DEFAULT_CONFIG
    try:
        before = upgrade_file(path, version) if there(path) else None
    except PorterError as error:
        log.warning("config_not_written text=%r hint=%r", error.message, error.hint)
    else:
        if before is not None:
            log.info("config_written path=%s before=%s", path, before)
