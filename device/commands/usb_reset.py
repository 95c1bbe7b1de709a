# SPDX-License-Identifier: Apache-2.0
"""Reset the USB port of a Coral Edge TPU: switch its device off and on again (systemd starts this one, as root).

It takes no word from whoever connects to porter-usb-reset.socket: which devices may be switched is written here, and
nothing else is. Once a minute at most; the answer is one line on standard output. Never run on a real Edge TPU.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

from device.errors import HardwareError, InputError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

# As it comes from the power-up, and after its firmware was uploaded.
ALLOWED = (("1a6e", "089a"), ("18d1", "9302"))
DEVICE = re.compile(r"\d+-\d+(\.\d+)*")  # no root hub (usb1), no interface (1-1:1.0)
EVERY_S = 60
OFF_S = 1.0
BACK_S = 10.0
LOOK_S = 0.25
MAX_BYTES = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments; the unit gives none."""
    parser.add_argument("--sys", type=Path, default=Path("/sys"), metavar="DIR", help="default: %(default)s")
    parser.add_argument(
        "--state",
        type=Path,
        default=Path("/run/porter-usb-reset"),
        metavar="DIR",
        help="where the time of the last reset is kept (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Prints what came of it; 0 where a device was reset and is back, else 1."""
    now_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    try:
        take_turn(args.state, now_s)
        said = reset(args.sys, time.sleep)
    except HardwareError as error:
        print(f"no: {error.message}", flush=True)
        return 1
    print(f"ok: reset {said}", flush=True)
    return 0


def take_turn(folder: Path, now_s: float) -> None:
    """Notes that this is a reset. Raises HardwareError where the last one is less than EVERY_S ago."""
    try:
        file = os.open(folder / "last", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InputError(
            f"{folder}: {error.strerror}", hint="porter-usb-reset.socket has systemd make it; as root: mkdir"
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        said = os.pread(file, MAX_BYTES, 0).decode("ascii", "replace")
        last_s = float(said) if re.fullmatch(r"\d+(\.\d+)?", said) else None
        if last_s is not None and 0 <= now_s - last_s < EVERY_S:
            raise HardwareError(f"the last reset was {now_s - last_s:.0f} s ago, and one a minute is enough")
        os.ftruncate(file, 0)
        os.pwrite(file, f"{now_s:.3f}".encode(), 0)
    finally:
        os.close(file)


def reset(sys: Path, sleep: Callable[[float], None]) -> str:
    """Switches every allowed device off and on; which, with its identifiers afterwards. Raises HardwareError."""
    found = list(devices(sys))
    if not found:
        raise HardwareError("no Coral Edge TPU is on the USB")
    for device in found:
        switch(device, "0")
    sleep(OFF_S)
    for device in found:
        switch(device, "1")
    waited_s = 0.0
    while not all(is_back(device) for device in found):
        if waited_s >= BACK_S:
            raise HardwareError(f"switched off and on, but not back after {BACK_S:g} s")
        sleep(LOOK_S)
        waited_s += LOOK_S
    return ", ".join(f"{device.name} {':'.join(identifiers(device))}" for device in found)


def devices(sys: Path) -> Iterator[Path]:
    """The allowed ones."""
    for device in sorted(sys.glob("bus/usb/devices/*")):
        if DEVICE.fullmatch(device.name) and identifiers(device) in ALLOWED:
            yield device


def identifiers(device: Path) -> tuple[str, str]:
    """Vendor and product."""
    return word(device / "idVendor"), word(device / "idProduct")


def is_back(device: Path) -> bool:
    """Whether the kernel has configured it again, as what it was or with its firmware."""
    return (
        identifiers(device) in ALLOWED
        and word(device / "authorized") == "1"
        and word(device / "bConfigurationValue") != ""
    )


def switch(device: Path, value: str) -> None:
    """Raises HardwareError."""
    try:
        # Not write_text: that would make a file where there is none.
        file = os.open(device / "authorized", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(file, value.encode())
        finally:
            os.close(file)
    except OSError as error:
        raise HardwareError(f"{device.name}: cannot be switched: {error.strerror}") from error


def word(path: Path) -> str:
    """The text of a small file; empty where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES).decode("ascii", "replace").strip()
    except OSError:
        return ""
