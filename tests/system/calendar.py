# SPDX-License-Identifier: Apache-2.0
"""A machine whose UTC jumps while its processes run: Debian's libfaketime between them and the C library.

Only what can be set on a real machine is false: the boot clock and all waiting stay true.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.system.services import Surroundings

PLACES = ("/usr/lib/*/faketime", "/usr/lib/faketime")
RIGHT, AHEAD, BEHIND = "+0", "+365d", "-365d"
IN_1970 = f"{10 - time.time():+.0f}"  # a machine without a clock of its own, ten seconds after its start


def library() -> Path:
    """libfaketime for programs with threads; without it the test is skipped (in CI: fails)."""
    for place in PLACES:
        for path in Path("/").glob(f"{place[1:]}/libfaketimeMT.so.1"):
            return path
    message = "libfaketime is missing: apt install faketime"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


class Calendar:
    """What time these processes believe that it is, from the next question on."""

    def __init__(self, folder: Path, start: str = RIGHT) -> None:
        self._file = folder / "calendar"
        self.environment = {
            "LD_PRELOAD": str(library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }
        self.jump(start)

    def jump(self, where: str) -> None:
        """How far from the true time, as libfaketime writes it: `+365d`; seconds without a unit."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{where}\n")
        fresh.replace(self._file)

    def around(self) -> Surroundings:
        """Forwarder and writer live by it."""
        return Surroundings(environment=self.environment)
