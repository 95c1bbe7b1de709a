# SPDX-License-Identifier: Apache-2.0
"""One owner of the Edge TPU at a time: an advisory lock (flock) on a file in the run folder, held while it is used.

A second process that merely tries the Edge TPU makes the first one's USB transfers fail (google-coral/edgetpu#237), so
whoever means to load a delegate, be it in a child process, takes this first. The kernel lets go of it when its holder
dies; what the holder wrote stays, and so the next one knows that it died with the Edge TPU in its hands. The folder is
on tmpfs: a boot begins without a past.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

import msgspec

from device.errors import HardwareError

if TYPE_CHECKING:
    from pathlib import Path

LOCK = "edgetpu.lock"
SERVICE = "porter vision"  # whose deaths are counted
MAX_BYTES = 4096
MOST_DEATHS = 32


class Holder(msgspec.Struct, frozen=True):
    """What the file says. pid 0: given back. deaths_ns: when processes were found to have died with it, boot time."""

    pid: int = 0
    what: str = ""
    deaths_ns: list[int] = []


class EdgeTpuLock:
    """The lock at `path`. what: the holder's name for others, e.g. `porter vision`."""

    def __init__(self, path: Path, what: str) -> None:
        self._path = path
        self._what = what
        self._file = -1
        self._deaths_ns: list[int] = []

    @property
    def held(self) -> bool:
        """Whether this process has it."""
        return self._file >= 0

    def take(self, now_ns: int) -> None:
        """Takes it for this process, or raises HardwareError: who has it, or why the file cannot be used."""
        if self.held:
            return
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o660)
            self._hand_over(file)
        except OSError as error:
            raise HardwareError(
                f"Edge TPU: {self._path}: cannot be locked: {error.strerror}",
                hint="the folder is device.run_dir, the service's own: use sudo, or name another one",
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = read(file)
            os.close(file)
            if holder.pid == os.getpid():
                return  # two models of one process may share it
            raise HardwareError(
                f"Edge TPU: in use by {holder.what or 'another process'} (process {holder.pid})",
                hint="one process at a time: systemctl stop porter-vision, or wait until the other one is done",
            ) from None
        self._file = file
        before = read(file)
        self._deaths_ns = [death for death in before.deaths_ns if death <= now_ns][-MOST_DEATHS:]
        if before.pid and before.what == SERVICE:
            self._deaths_ns.append(now_ns)
        self._write(Holder(os.getpid(), self._what, self._deaths_ns))

    def deaths(self, now_ns: int, within_ns: int) -> int:
        """How often the service died with it lately; it must be held."""
        return sum(now_ns - death < within_ns for death in self._deaths_ns)

    def give_back(self) -> None:
        """Lets go of it; harmless where it is not held."""
        if self.held:
            self._write(Holder(0, self._what, self._deaths_ns))
            os.close(self._file)
            self._file = -1

    def _hand_over(self, file: int) -> None:
        """A file that root made would lock the folder's owner out, who is the service."""
        folder = self._path.parent.stat()
        if os.geteuid() == 0 and os.fstat(file).st_uid != folder.st_uid:
            os.fchown(file, folder.st_uid, folder.st_gid)

    def _write(self, holder: Holder) -> None:
        body = msgspec.json.encode(holder)
        os.pwrite(self._file, body, 0)
        os.ftruncate(self._file, len(body))


def read(file: int) -> Holder:
    """What an open lock file says; nothing where it says nothing that can be read."""
    try:
        return msgspec.json.decode(os.pread(file, MAX_BYTES, 0), type=Holder)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Holder()
