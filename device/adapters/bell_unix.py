# SPDX-License-Identifier: Apache-2.0
"""The bell: after a commit to the outbox the vision service rings, and the forwarder need not look for it so often.

A Unix datagram socket in `run_dir/forward`, which belongs to the forwarder. What goes over it is empty, so it can say
nothing about anybody, and nothing comes back: a forwarder that is broken into, or that is not there, can neither hold
the process that sees (no write ever waits) nor tell it anything. What rang in vain is found all the same, by looking.

The sockets are named by way of the folder's descriptor: an address has room for 107 bytes, a path may be longer.
"""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class UnixBell:
    """Where the vision service rings. The folder need not exist yet."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def ring(self) -> None:
        """Never waits and never raises."""
        try:
            with (
                _address(self._path) as address,
                socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as ringer,
            ):
                ringer.sendto(b"", address)
        except OSError:
            return  # nobody listens, or so much was rung already that it is still being heard


class UnixEar:
    """Where the forwarder hears it. Belongs to one thread."""

    def __init__(self, path: Path) -> None:
        """Takes the place of a bell that an earlier process left. Raises OSError where there can be none."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            path.unlink(missing_ok=True)
            with _address(path) as address:
                self._socket.bind(address)
            path.chmod(0o770)  # whatever the umask: the group rings
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """For poll and select: readable once it has rung."""
        return self._socket.fileno()

    def heard(self) -> None:
        """Takes away all that has rung so far."""
        try:
            while True:
                self._socket.recv(1)
        except BlockingIOError:
            return

    def close(self) -> None:
        """Hears no more."""
        self._socket.close()


@contextmanager
def _address(path: Path) -> Iterator[str]:
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
