# SPDX-License-Identifier: Apache-2.0
"""One small record in one file on tmpfs: written by one process, read by the other.

Written by replacing, so that a reader sees the old record or the new one and nothing between. The reader believes
nothing: a file that is missing, huge, torn, a link, a pipe or from another version reads as None, is logged once, and
its return to health is logged too. A file that has not been replaced since the last read is not read again.
"""

from __future__ import annotations

import logging
import os
import stat
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

from device.errors import StorageError

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger("porter.state")
MAX_BYTES = 256 * 1024

T = TypeVar("T", bound=msgspec.Struct)


class SharedRecord(Generic[T]):
    """One writer, any number of readers. The folder must exist. public: whether every user may read it."""

    def __init__(self, path: Path, form: type[T], *, public: bool = False) -> None:
        self._path = path
        self._mode = 0o644 if public else 0o640
        self._fresh = path.with_name(path.name + ".new")
        self._encoder = msgspec.json.Encoder()
        self._decoder = msgspec.json.Decoder(form)
        self._seen: tuple[int, int, int] | None = None
        self._record: T | None = None
        self._problem = ""

    def show(self, record: T) -> None:
        """Replaces the file. Raises StorageError. tmpfs, so there is nothing to fsync."""
        body = self._encoder.encode(record)
        try:
            with open(self._fresh, "wb", opener=lambda name, flags: os.open(name, flags, self._mode)) as file:
                os.fchmod(file.fileno(), self._mode)  # whatever the umask: the other process is to read it
                file.write(body)
            self._fresh.replace(self._path)
        except OSError as error:
            raise StorageError(
                f"{self._path}: state cannot be written: {error.strerror}",
                hint="does the folder exist, and may this user write to it? systemd-tmpfiles makes it",
            ) from error

    def read(self) -> T | None:
        """The newest record; None where there is none or it cannot be read."""
        try:
            with open(self._path, "rb", opener=_without_waiting) as file:
                status = os.fstat(file.fileno())
                identity = (status.st_ino, status.st_mtime_ns, status.st_size)
                if identity == self._seen:
                    return self._record
                self._seen, self._record = identity, None
                regular = stat.S_ISREG(status.st_mode)
                body = file.read(MAX_BYTES + 1) if regular else b""
            if not regular or len(body) > MAX_BYTES:
                self._complain(f"larger than {MAX_BYTES} bytes" if regular else "not a regular file")
                return None
            self._record = self._decoder.decode(body)
        except FileNotFoundError:  # the other process has not started yet, or has been stopped: no news
            self._seen = self._record = None
            return None
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self._complain(str(error))
            return None
        if self._problem:
            log.info("state_readable path=%s", self._path)
            self._problem = ""
        return self._record

    def _complain(self, problem: str) -> None:
        if problem != self._problem:
            log.warning("state_unreadable path=%s error=%r", self._path, problem)
            self._problem = problem


class MemoryRecord(Generic[T]):
    """The same within one process. `unreadable` and `full` are its failures."""

    def __init__(self, *, unreadable: bool = False, full: bool = False) -> None:
        self.unreadable = unreadable
        self.full = full
        self._record: T | None = None

    def show(self, record: T) -> None:
        """Keeps the record. Raises StorageError."""
        if self.full:
            raise StorageError(
                "state cannot be written: No space left on device", hint="a failure asked for by a test"
            )
        self._record = record

    def read(self) -> T | None:
        """The record, or None."""
        return None if self.unreadable else self._record


def _without_waiting(name: str, flags: int) -> int:
    """The writer is the other user: neither a pipe nor a link of theirs may hold us or lead us astray."""
    return os.open(name, flags | os.O_NONBLOCK | os.O_NOFOLLOW)
