# SPDX-License-Identifier: Apache-2.0
"""The state board: the vision service's present state in one small file on tmpfs.

Written by replacing, so that a reader sees the old state or the new one and nothing between. The reader believes
nothing: a file that is missing, huge, torn or from another version reads as None, is logged once, and its return to
health is logged too. A file that has not been replaced since the last read is not read again.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import msgspec

from device.errors import StorageError
from device.payloads import ServiceState

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger("porter.state")
MAX_BYTES = 256 * 1024


class FileStateBoard:
    """One writer, any number of readers. The folder must exist (systemd's RuntimeDirectory)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fresh = path.with_name(path.name + ".new")
        self._encoder = msgspec.json.Encoder()
        self._decoder = msgspec.json.Decoder(ServiceState)
        self._seen: tuple[int, int, int] | None = None
        self._state: ServiceState | None = None
        self._problem = ""

    def show(self, state: ServiceState) -> None:
        """Replaces the file; mode 0640. Raises StorageError. tmpfs, so there is nothing to fsync."""
        body = self._encoder.encode(state)
        try:
            with open(self._fresh, "wb", opener=lambda name, flags: os.open(name, flags, 0o640)) as file:
                file.write(body)
            self._fresh.replace(self._path)
        except OSError as error:
            raise StorageError(
                f"{self._path}: state cannot be written: {error.strerror}",
                hint="does the folder exist, and may this user write to it? systemd makes it (RuntimeDirectory=)",
            ) from error

    def read(self) -> ServiceState | None:
        """The newest state; None where there is none or it cannot be read."""
        try:
            with self._path.open("rb") as file:
                status = os.fstat(file.fileno())
                identity = (status.st_ino, status.st_mtime_ns, status.st_size)
                if identity == self._seen:
                    return self._state
                self._seen, self._state = identity, None
                body = file.read(MAX_BYTES + 1)
            if len(body) > MAX_BYTES:
                self._complain(f"larger than {MAX_BYTES} bytes")
                return None
            self._state = self._decoder.decode(body)
        except FileNotFoundError:  # the vision service has not started yet, or has been stopped: no news
            self._seen = self._state = None
            return None
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self._complain(str(error))
            return None
        if self._problem:
            log.info("state_readable path=%s", self._path)
            self._problem = ""
        return self._state

    def _complain(self, problem: str) -> None:
        if problem != self._problem:
            log.warning("state_unreadable path=%s error=%r", self._path, problem)
            self._problem = problem


class MemoryStateBoard:
    """The same within one process. `unreadable` and `full` are its failures."""

    def __init__(self, *, unreadable: bool = False, full: bool = False) -> None:
        self.unreadable = unreadable
        self.full = full
        self._state: ServiceState | None = None

    def show(self, state: ServiceState) -> None:
        """Keeps the state."""
        if self.full:
            raise StorageError(
                "state cannot be written: No space left on device", hint="a failure asked for by a test"
            )
        self._state = state

    def read(self) -> ServiceState | None:
        """The state, or None."""
        return None if self.unreadable else self._state
