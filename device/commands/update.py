# SPDX-License-Identifier: Apache-2.0
"""Install an update into the slot that does not run, and try it with the next reboot.

The update is checked by its signature before and block by block while it is read; a URL is read directly. The reboot
tries it once: only when both services run, the camera gives frames and the broker is reached (or was not before either)
does it stay. Otherwise, whatever happened, the next boot is the present system again.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from device.adapters.board_pi import bootloader_built_s, built_on, knows_tryboot
from device.adapters.clock import SystemClock
from device.adapters.slots_rauc import RaucSlots
from device.commands.configured import DEFAULT_CONFIG, service_config
from device.commands.update_handler import PERMIT, Running, after_install, before_install, slot_of
from device.config_upgrade import downgraded_file
from device.errors import InputError, PorterError, StorageError
from device.folders import FORWARD, FORWARDER
from device.payloads import ForwarderState
from device.shared_record import SharedRecord
from device.update_record import INSTALLING, INTERRUPTED, UpdateBook, UpdateRecord
from device.update_rules import check_install, older

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from device.adapters.slots_rauc import Slots

BAR = 30
VERSION_FILE = Path("/usr/lib/os-release")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("source", nargs="?", metavar="FILE|URL", help="the update (.raucb)")
    parser.add_argument(
        "--status", action="store_true", help="say what runs, what boots next, and how the last went"
    )
    parser.add_argument("--json", action="store_true", help="with --status: print a JSON object")
    parser.add_argument(
        "--acknowledge", action="store_true", help="end the alert update_failed: somebody has seen it"
    )
    parser.add_argument(
        "--allow-downgrade", action="store_true", help="take an older version than the one that runs"
    )
    parser.add_argument("--reboot", action="store_true", help="reboot into it at once")
    parser.add_argument("--config", type=Path, metavar="FILE", help="the services' configuration")
    handler = parser.add_argument_group("RAUC's", "what its handlers call (system.conf)")
    handler.add_argument("--handler", choices=("pre-install", "post-install"), help="which of them")
    handler.add_argument("--mounted", type=Path, metavar="FOLDER", help="the bundle, mounted")
    handler.add_argument("--slots", nargs=2, metavar="N", help="bootnames: which runs, and which boots next")


def run(args: argparse.Namespace) -> int:
    """Installs, or says how things are."""
    wanted = [args.source is not None, args.status, args.acknowledge, args.handler is not None]
    if sum(wanted) != 1:
        raise InputError("expected an update, --status or --acknowledge", hint="porter update --help")
    rauc, book = RaucSlots(), UpdateBook()
    if args.status:
        show(rauc.slots(), book.read(), as_json=args.json)
        return 0
    if os.geteuid():
        raise InputError("only root can do this", hint="sudo porter update ...")
    if args.acknowledge:
        return acknowledge(book)
    if args.handler is not None:
        return handle(args, book)
    return install(args, rauc, book)


def install(args: argparse.Namespace, rauc: RaucSlots, book: UpdateBook) -> int:
    """Into the other slot. What is remembered of it is written by RAUC's handlers."""
    present = running_version(VERSION_FILE)
    version = checked(rauc, args.source, present, downgrade=args.allow_downgrade)
    if warning := old_bootloader(bootloader_built_s):
        print(f"porter: {warning}", file=sys.stderr)
    print(f"{args.source}: {version}, over {present}", flush=True)
    with permitted(version if args.allow_downgrade else "", PERMIT):
        try:
            rauc.install(args.source, Progress().show)
        except StorageError as error:
            give_up(book, error.message)
            raise
    print()
    if older(version, present):
        print(config_for(args.config or DEFAULT_CONFIG, version))
    if args.reboot:
        print("rebooting into it")
        subprocess.run(["systemctl", "reboot"], check=True)
    else:
        print("installed; the next reboot tries it: sudo systemctl reboot")
    return 0


def handle(
    args: argparse.Namespace, book: UpdateBook, version_file: Path = VERSION_FILE, permit: Path = PERMIT
) -> int:
    """RAUC asks, or tells. Raises what refuses."""
    if args.mounted is None or args.slots is None:
        raise InputError("--handler wants --mounted and --slots", hint="RAUC's handlers give them")
    slot, primary = (slot_of(each) for each in args.slots)
    boot, broker = SystemClock().boot_id, broker_before(args)
    running = Running(running_version(version_file), slot, primary, boot, broker)
    if args.handler == "pre-install":
        before_install(args.mounted, running, book, permit)
        if warning := old_bootloader(bootloader_built_s):
            print(warning)
    else:
        after_install(args.mounted, running, book)
    return 0


def acknowledge(book: UpdateBook) -> int:
    """Ends the alert about an update that fell back."""
    last = book.read()
    if last is None or not last.failed:
        print("there is nothing to acknowledge")
        return 0
    book.write(replace(last, failed=""))
    print(f"acknowledged: {last.failed}")
    return 0


def checked(rauc: RaucSlots, source: str, present: str, *, downgrade: bool) -> str:
    """The update's version, once all is right about it. Raises InputError or StorageError."""
    slots, bundle = rauc.slots(), rauc.bundle(source)
    if bundle.compatible != slots.compatible:
        raise InputError(f"{source}: made for {bundle.compatible}, this device is {slots.compatible}")
    check_install(bundle.version, present, trial=slots.trial, downgrade=downgrade)
    return bundle.version


@contextmanager
def permitted(version: str, permit: Path) -> Iterator[None]:
    """While this lasts RAUC's handler takes that version though it is older; an empty one permits nothing."""
    try:
        if version:
            permit.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            permit.write_text(version, "utf-8")
        yield
    finally:
        permit.unlink(missing_ok=True)


def give_up(book: UpdateBook, why: str) -> None:
    """Remembers that an install that had begun failed."""
    last = book.read()
    if last is not None and last.outcome == INSTALLING:
        book.write(replace(last, outcome=INTERRUPTED, why=why))


def old_bootloader(built_s: Callable[[], int | None]) -> str:
    """A warning where the board's boot loader may not know how to try an update; else nothing."""
    built = built_s()
    if built is None or knows_tryboot(built):
        return ""
    return (
        f"the boot loader is of {built_on(built)} and may not know tryboot: then the reboot brings back what runs now\n"
        "  hint: renew it first, with Raspberry Pi OS on another card: sudo rpi-eeprom-update -a"
    )


def config_for(path: Path, version: str) -> str:
    """Puts the configuration back as an older version knows it, where that loses nothing; says what was done."""
    found = downgraded_file(path, version) if path.exists() else None
    if found is None:
        return f"{path}: no option has another name since {version}"
    kept, put_back = found
    if put_back:
        return f"{path}: put back as it was for {version} ({kept.name}); the present version reads it as well"
    return (
        f"{path} was changed since its options got new names, which {version} may refuse, and then does not stay.\n"
        f"As it was before: {kept}; the present version reads that as well"
    )


def running_version(file: Path) -> str:
    """The image's version, as os-release says it."""
    found = re.search(r'^VERSION_ID="?([^"\n]+)', file.read_text("utf-8") if file.exists() else "", re.M)
    return found[1] if found else ""


def broker_before(args: argparse.Namespace) -> bool:
    """Whether there is a broker now. A configuration that is wrong must not stand in the way of an update."""
    try:
        return broker_connected(Path(service_config(args).device.run_dir) / FORWARD / FORWARDER)
    except PorterError:
        return False


def broker_connected(path: Path) -> bool:
    """Whether the forwarder has a broker, by what it says of itself."""
    state = SharedRecord(path, ForwarderState).read() if path.exists() else None
    return state is not None and state.connection.startswith("connected")


def show(slots: Slots, last: UpdateRecord | None, *, as_json: bool) -> None:
    """The slots and the last update."""
    if as_json:
        record = None if last is None else {"version": last.version, "outcome": last.outcome, "why": last.why}
        if record is not None and last is not None and last.failed:
            record["failed"] = last.failed
        print(
            json.dumps(
                {"booted": slots.booted, "primary": slots.primary, "trial": slots.trial, "last": record}
            )
        )
        return
    trial = ", on trial: the next power-on boots the other" if slots.trial else ""
    print(f"running   slot {slots.booted}, {running_version(VERSION_FILE)}{trial}")
    other = "b" if slots.booted == "a" else "a"
    print(f"other     slot {other}, {slots.versions.get(other) or 'no update was installed there'}")
    if last is not None:
        print(f"last      {last.version}: {last.outcome}{': ' if last.why else ''}{last.why}")
        if last.failed and not last.failed.startswith(f"{last.version}: "):
            print(f"alert     {last.failed}; until an update is kept, or --acknowledge")
        elif last.failed:
            print("alert     update_failed stands until an update is kept, or --acknowledge")


class Progress:
    """A bar on a terminal, else a line every tenth."""

    def __init__(self) -> None:
        self._shown = -1

    def show(self, percent: int, what: str) -> None:
        """Draws it."""
        if sys.stdout.isatty():
            done = "#" * (percent * BAR // 100)
            print(f"\r[{done:<{BAR}}] {percent:3d} %  {what:.40}\x1b[K", end="", flush=True)
        elif percent // 10 != self._shown:
            self._shown = percent // 10
            print(f"{percent:3d} %  {what}", flush=True)
