# SPDX-License-Identifier: Apache-2.0
"""What a Raspberry Pi says of itself: its model, and how old the bootloader in its EEPROM is.

The firmware puts both into the device tree, big-endian as all numbers there. An update of the image needs a bootloader
that knows `tryboot_a_b`: the release notes of raspberrypi/rpi-eeprom name it first in the default release of 2022-11-25
for the Raspberry Pi 4; the Raspberry Pi 5 came later than that.

Never run on a Raspberry Pi: tested on files of the same form.
"""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from pathlib import Path

MODEL = "proc/device-tree/model"
BUILT = "proc/device-tree/chosen/bootloader/build-timestamp"
TRYBOOT_SINCE_S = int(datetime(2022, 11, 25, tzinfo=UTC).timestamp())


def board_model(root: Path = Path("/")) -> str:
    """`Raspberry Pi 4 Model B Rev 1.5`; empty where the system does not say (a PC)."""
    try:
        return (root / MODEL).read_bytes().rstrip(b"\0").decode("utf-8", "replace")
    except OSError:
        return ""


def bootloader_built_s(root: Path = Path("/")) -> int | None:
    """When the bootloader was built, seconds since 1970; None where nothing says so (older boards have no EEPROM)."""
    try:
        (built,) = struct.unpack(">I", (root / BUILT).read_bytes())
    except (OSError, struct.error):
        return None
    return int(built) or None


def knows_tryboot(built_s: int) -> bool:
    """Whether a bootloader of that age boots a slot on trial, as updates of the image need it."""
    return built_s >= TRYBOOT_SINCE_S


def built_on(built_s: int) -> str:
    """Its day, for people."""
    return f"{datetime.fromtimestamp(built_s, UTC):%Y-%m-%d}"
