# SPDX-License-Identifier: Apache-2.0
"""The two slots of the system and the updates for them, by RAUC's command line.

`rauc` is a command and not a library: what it prints as JSON is read here, and what it says when it fails is handed on.
A boot is a *trial* when the slot that runs is not the one that the next power-on would boot.
"""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from device.errors import InputError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REASON = "LastError:"
# RAUC's service does one thing at a time, and says this while it does another.
BUSY = "already processing"
# A bundle from a URL comes as a network block device, which is gone as soon as the last who opened it closes it. Where
# that was udev, before RAUC had opened it, the kernel says this (https://github.com/rauc/rauc/pull/1741).
GONE = "Failed to load dm table: Argument list too long"
# What passes by itself, and how often it is tried again: the service is busy, or (D-Bus, after 25 s) has yet to start.
PASSING = {BUSY: 60, "Timeout was reached": 4, "StartServiceByName": 4, GONE: 3}
AGAIN_S = 2.0
BACKEND = "/usr/lib/porter/tryboot-backend"


@dataclass(frozen=True, slots=True)
class Slots:
    """booted, primary: `a` or `b`, the one that runs and the one that boots next; versions as bundles name them."""

    compatible: str
    booted: str
    primary: str
    versions: dict[str, str]

    @property
    def trial(self) -> bool:
        """Whether this system runs only until the next power-on."""
        return self.booted != self.primary


@dataclass(frozen=True, slots=True)
class Bundle:
    """An update whose signature is good."""

    compatible: str
    version: str


def run_rauc(*arguments: str) -> Iterator[str]:
    """Runs rauc; its lines as they come. Raises StorageError with its reason where it fails or is not there."""
    try:
        process = subprocess.Popen(
            ["rauc", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except FileNotFoundError:
        raise StorageError(
            "rauc is not installed: this system has no slots to update",
            hint="updates are for devices that flash.sh made; elsewhere update the checkout and restart",
        ) from None
    said = []
    with process:
        for line in process.stdout or ():
            said.append(line.strip())
            yield line.strip()
    if process.returncode:
        # `rauc install` gives the reason so, and says last only that it failed.
        reasons = [line.removeprefix(REASON).strip() for line in said if line.startswith(REASON)]
        last = [line for line in said if line][-1:] or [f"exit code {process.returncode}"]
        raise StorageError(f"rauc {arguments[0]}: {(reasons or last)[-1]}")


def choice_lost(backend: str = BACKEND) -> bool:
    """Whether autoboot.txt names no slot any more, so that the first one boots. False where it cannot be asked."""
    try:
        done = subprocess.run([backend, "named"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and not done.stdout.strip()


class RaucSlots:
    """What RAUC knows and does. run(*arguments) is the command, or a test's."""

    def __init__(
        self, run: Callable[..., Iterator[str]] = run_rauc, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._run, self._sleep = run, sleep

    def slots(self) -> Slots:
        """Which slot runs and what is in both. Raises StorageError."""
        found = self._json("status", "--detailed", "--output-format=json")
        letters = {}
        versions: dict[str, str] = {}
        booted = ""
        for entry in found.get("slots", []):
            for name, slot in entry.items():
                if not name.startswith("rootfs."):
                    continue
                letter = "ab"[int(name.removeprefix("rootfs."))]
                letters[name] = letter
                versions[letter] = slot.get("slot_status", {}).get("bundle", {}).get("version", "")
                if slot.get("state") == "booted":
                    booted = letter
        if not booted:
            raise StorageError("rauc does not know which slot runs", hint="rauc status; journalctl -u rauc")
        primary = letters.get(str(found.get("boot_primary")), booted)
        return Slots(str(found.get("compatible", "")), booted, primary, versions)

    def bundle(self, source: str) -> Bundle:
        """What an update is, by file or URL. Raises InputError where it is none that this device trusts."""
        try:
            found = self._json("info", "--output-format=json", source)
        except StorageError as error:
            raise InputError(
                f"{source}: no update that this device takes: {error.message}",
                hint="is it whole, and signed with the key of this device's image? (flash.sh build --keyring)",
            ) from error
        return Bundle(str(found.get("compatible", "")), str(found.get("version", "")))

    def install(self, source: str, progress: Callable[[int, str], None]) -> None:
        """Writes an update into the slot that does not run; progress(percent, what). Raises StorageError."""
        for line in self._patiently("install", source):
            percent, sign, what = line.partition("%")
            if sign and percent.strip().isdecimal():
                progress(int(percent), what.strip())

    def keep(self) -> None:
        """The slot that runs is the one from now on. Raises StorageError."""
        for _ in self._patiently("status", "mark-good"):
            pass

    def try_other(self) -> None:
        """The next reboot tries the slot that does not run. Raises StorageError."""
        for _ in self._patiently("status", "mark-active", "other"):
            pass

    def _patiently(self, *arguments: str) -> Iterator[str]:
        """Its lines; waits while RAUC does something else, as it does for seconds while somebody asks for its state."""
        left = dict(PASSING)
        while True:
            try:
                yield from self._run(*arguments)
            except StorageError as error:
                reason = next((each for each in PASSING if each in error.message), "")
                if not left.get(reason):
                    raise
                left[reason] -= 1
                self._sleep(AGAIN_S)
            else:
                return

    def _json(self, *arguments: str) -> dict[str, Any]:
        lines = list(self._patiently(*arguments))
        text = next((line for line in lines if line.startswith("{")), "")
        try:
            found = json.loads(text)
        except json.JSONDecodeError as error:
            raise StorageError(
                f"rauc {arguments[0]}: expected JSON, got {' '.join(lines)[:100]!r}"
            ) from error
        if not isinstance(found, dict):
            raise StorageError(f"rauc {arguments[0]}: expected an object")
        return found
