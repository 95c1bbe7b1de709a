# SPDX-License-Identifier: Apache-2.0
"""Asks the privileged helper to reset the Edge TPU's USB port, without waiting: `begin`, then `poll` until it answers.

The helper (`porter usb-reset`, systemd/porter-usb-reset.socket) takes no word from us: to connect is to ask, and it
answers with one line. The vision service may not write to /sys itself.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MAX_BYTES = 400
PATIENCE_NS = 20_000_000_000


class SocketReset:
    """`edgetpu.PortReset` over the helper's socket."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sock: socket.socket | None = None
        self._said = b""
        self._asked_ns = 0

    def begin(self, now_ns: int) -> None:
        """Connects; what goes wrong is told by `poll`."""
        self._asked_ns, self._said = now_ns, b""
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.setblocking(False)
        try:
            self._sock.connect(str(self._path))
        except OSError as error:
            self._said = f"no helper: {self._path}: {error.strerror}".encode()
            self._close()

    def poll(self, now_ns: int) -> str | None:
        """The helper's line, or why there is none; None where it has not answered yet."""
        if self._sock is None:
            return self._line() or "nothing was asked"
        try:
            received = self._sock.recv(MAX_BYTES)
        except BlockingIOError:
            if now_ns - self._asked_ns < PATIENCE_NS:
                return None
            self._close()
            return f"the helper did not answer within {PATIENCE_NS // 10**9} s"
        except OSError as error:
            self._close()
            return f"the helper hung up: {error.strerror}"
        self._said += received
        if received and len(self._said) < MAX_BYTES:
            return None
        self._close()
        return self._line() or "the helper said nothing"

    def _line(self) -> str:
        text = self._said.decode("utf-8", "replace").strip()
        return "".join(sign if sign.isprintable() else "?" for sign in text)[:MAX_BYTES]

    def _close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None


class ScriptedReset:
    """For tests: answers at once, after it did what a reset does there. asked: how often it was asked."""

    def __init__(
        self, cure: Callable[[], object] = lambda: None, answer: str = "ok: reset 2-1 18d1:9302"
    ) -> None:
        self._cure = cure
        self._answer = answer
        self.asked = 0

    def begin(self, now_ns: int) -> None:  # noqa: ARG002  as the port has it
        """Does it."""
        self.asked += 1
        self._cure()

    def poll(self, now_ns: int) -> str | None:  # noqa: ARG002
        """The answer."""
        return self._answer
