# SPDX-License-Identifier: Apache-2.0
"""The time that a run was certain of last, kept for the next one: as the modification time of an empty file.

That is how systemd-timesyncd keeps it (`/var/lib/systemd/timesync/clock`): one inode, written whole or not at all.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger("porter.clock")


class LastSeen:
    """Losing it costs nothing but that a long absence looks like a leap; so errors are logged, not raised."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> int:
        """UTC, nanoseconds since 1970; 0 where there is none."""
        try:
            return self._path.stat().st_mtime_ns
        except OSError:
            return 0

    def note(self, utc_ns: int) -> None:
        """Keeps `utc_ns`."""
        try:
            os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
            os.utime(self._path, ns=(utc_ns, utc_ns))
        except OSError as error:
            log.warning("time_not_noted path=%s error=%s", self._path, error.strerror)
