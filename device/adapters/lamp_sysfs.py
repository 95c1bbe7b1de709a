# SPDX-License-Identifier: Apache-2.0
"""The board's own LED, through the kernel's LED class: on `identify` it blinks once a second, then does what it did.

A Raspberry Pi calls it ACT (older kernels: led0). Its `trigger` file belongs to root; a udev rule
(systemd/udev.rules.d) gives it to the forwarder, whose unit leaves that part of /sys writable.
Never run on a board: `make image-test` gives the emulated one an LED of this name, with the same driver.
"""

from __future__ import annotations

import logging
from pathlib import Path

log = logging.getLogger("porter.lamp")

LEDS = Path("/sys/class/leds")
NAMES = ("ACT", "led0")
MAX_BYTES = 64 * 1024
BLINK = "timer"


class SysfsLamp:
    """The first of NAMES that may be written."""

    def __init__(self, folder: Path = LEDS) -> None:
        self._folder = folder
        self._before: tuple[Path, str] | None = None

    def switch(self, *, on: bool) -> bool:
        """Begins or ends to blink; False where there is no such lamp, or it may not be used."""
        if not on:
            return self._end()
        if self._before is not None:
            return True
        for name in NAMES:
            path = self._folder / name / "trigger"
            try:
                with path.open("rb") as file:
                    said = file.read(MAX_BYTES).decode("ascii", "replace")
                # The present one stands in brackets: "none [mmc0] timer heartbeat".
                before = said.partition("[")[2].partition("]")[0] or "none"
                path.write_text(BLINK, encoding="ascii")
            except OSError as error:
                log.debug("lamp_unusable path=%s error=%r", path, error.strerror)
                continue
            self._before = (path, before)
            return True
        return False

    def _end(self) -> bool:
        if self._before is None:
            return False
        (path, before), self._before = self._before, None
        try:
            path.write_text(before, encoding="ascii")
        except OSError as error:
            log.warning("lamp_stuck path=%s error=%r", path, error.strerror)
            return False
        return True


class FakeLamp:
    """A lamp for tests; `missing` is its failure."""

    def __init__(self, *, missing: bool = False) -> None:
        self.missing = missing
        self.on = False

    def switch(self, *, on: bool) -> bool:
        """Blinks, or does not."""
        self.on = on and not self.missing
        return not self.missing
