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
from pathlib import Path
from typing import TYPE_CHECKING

from device import update_record
from device.adapters.slots_rauc import RaucSlots
from device.commands.configured import service_config
from device.errors import InputError, StorageError
from device.folders import FORWARD, FORWARDER
from device.payloads import ForwarderState
from device.shared_record import SharedRecord
from device.update_record import RECORD, UpdateRecord

if TYPE_CHECKING:
    import argparse

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
        "--allow-downgrade", action="store_true", help="take an older version than the one that runs"
    )
    parser.add_argument("--reboot", action="store_true", help="reboot into it at once")
    parser.add_argument("--config", type=Path, metavar="FILE", help="the services' configuration")


def run(args: argparse.Namespace) -> int:
    """Installs, or says how things are."""
    rauc = RaucSlots()
    if args.status == (args.source is not None):
        raise InputError("expected either an update or --status", hint="porter update --help")
    if args.status:
        show(rauc.slots(), update_record.read(RECORD), as_json=args.json)
        return 0
    if os.geteuid():
        raise InputError("only root can install an update", hint="sudo porter update ...")
    present = running_version(VERSION_FILE)
    version = checked(rauc, args.source, present, downgrade=args.allow_downgrade)
    state_file = Path(service_config(args).device.run_dir) / FORWARD / FORWARDER
    before = UpdateRecord(version, present, "installed", broker_connected(state_file))
    print(f"{args.source}: {version}, over {present}", flush=True)
    rauc.install(args.source, Progress().show)
    print()
    update_record.write(before, RECORD)
    if args.reboot:
        print("rebooting into it")
        subprocess.run(["systemctl", "reboot"], check=True)
    else:
        print("installed; the next reboot tries it: sudo systemctl reboot")
    return 0


def checked(rauc: RaucSlots, source: str, present: str, *, downgrade: bool) -> str:
    """The update's version, once all is right about it. Raises InputError or StorageError."""
    slots = rauc.slots()
    if slots.trial:
        raise StorageError(
            "the running system is itself on trial",
            hint="wait until porter update --status says that it was kept",
        )
    bundle = rauc.bundle(source)
    if bundle.compatible != slots.compatible:
        raise InputError(f"{source}: made for {bundle.compatible}, this device is {slots.compatible}")
    if older(bundle.version, present) and not downgrade:
        raise InputError(
            f"{source}: {bundle.version} is older than {present}, which runs",
            hint="an older Porter may refuse what a newer one stored; --allow-downgrade tries it all the same",
        )
    return bundle.version


def older(one: str, other: str) -> bool:
    """Whether a version is older, by the numbers it begins with: 0.2.0+gabc is newer than 0.1.9."""
    return _numbers(one) < _numbers(other)


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def running_version(file: Path) -> str:
    """The image's version, as os-release says it."""
    found = re.search(r'^VERSION_ID="?([^"\n]+)', file.read_text("utf-8") if file.exists() else "", re.M)
    return found[1] if found else ""


def broker_connected(path: Path) -> bool:
    """Whether the forwarder has a broker, by what it says of itself."""
    state = SharedRecord(path, ForwarderState).read() if path.exists() else None
    return state is not None and state.connection.startswith("connected")


def show(slots: Slots, last: UpdateRecord | None, *, as_json: bool) -> None:
    """The slots and the last update."""
    if as_json:
        record = None if last is None else {"version": last.version, "outcome": last.outcome, "why": last.why}
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
