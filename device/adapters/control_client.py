# SPDX-License-Identifier: Apache-2.0
"""The commands' end of the control socket: one request, its replies, and clear words when there are none.

Hanging up before the last reply cancels the request in the service.
"""

from __future__ import annotations

import os
import socket
from contextlib import closing
from typing import TYPE_CHECKING, TypeVar

import msgspec

from device.control import Done, Failed, Progress, Reply, Request, ServiceUnavailable
from device.errors import PorterError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from device.control import Result

R = TypeVar("R", bound="Result")
SILENCE_S = 15.0
MAX_REPLY_BYTES = 1024 * 1024  # 500 subjects take 200 kB
STATUS_HINT = "is it running? systemctl status porter-vision"


class ControlClient:
    """Speaks to the service that listens at `path`. `timeout_s`: the longest silence before giving up."""

    def __init__(self, path: Path, *, timeout_s: float = SILENCE_S) -> None:
        self._path = path
        self._timeout_s = timeout_s

    def request(self, request: Request) -> Generator[Progress | Done, None, None]:
        """The replies as they come; the last one is a Done. Closing the generator hangs up.

        Raises ServiceUnavailable, or a PorterError with the service's message, hint and exit code.
        """
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(self._timeout_s)
            self._connect(sock)
            self._send(sock, msgspec.json.encode(request) + b"\n")
            for line in self._lines(sock):
                reply = self._decoded(line)
                if isinstance(reply, Failed):
                    raise refused(reply)
                yield reply
                if isinstance(reply, Done):
                    return
        raise self._gone()

    def ask(
        self, request: Request, kind: type[R], progress: Callable[[Progress], None] = lambda _: None
    ) -> R:
        """The result, which must be a `kind`; `progress` is shown what comes before. Raises as `request` does."""
        result: Result | None = None
        with closing(self.request(request)) as replies:
            for reply in replies:
                if isinstance(reply, Progress):
                    progress(reply)
                else:
                    result = reply.result
        if not isinstance(result, kind):
            raise self._garbage(f"expected {kind.__name__}")
        return result

    def _connect(self, sock: socket.socket) -> None:
        try:
            sock.connect(os.fspath(self._path))
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            raise ServiceUnavailable(
                f"{self._path}: no vision service listens here", hint=STATUS_HINT
            ) from None
        except PermissionError:
            raise ServiceUnavailable(
                f"{self._path}: you may not talk to the vision service",
                hint="it is for the group porter: sudo usermod -aG porter YOU, then log in again; or use sudo",
            ) from None
        except (TimeoutError, BlockingIOError):  # its backlog is full
            raise self._silent() from None
        except OSError as error:
            hint = "a Unix socket's path has at most 107 bytes: see device.run_dir"
            raise ServiceUnavailable(f"{self._path}: {error.strerror or error}", hint=hint) from None

    def _send(self, sock: socket.socket, line: bytes) -> None:
        try:
            sock.sendall(line)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it hung up on us, and what it said before is still to be read
        except TimeoutError:
            raise self._silent() from None

    def _lines(self, sock: socket.socket) -> Iterator[bytes]:
        waiting = b""
        while len(waiting) <= MAX_REPLY_BYTES:
            line, ended, rest = waiting.partition(b"\n")
            if ended:
                waiting = rest
                yield line
                continue
            try:
                received = sock.recv(65536)
            except TimeoutError:
                raise self._silent() from None
            except ConnectionResetError:
                raise self._gone() from None
            if not received:
                return
            waiting += received
        raise self._garbage(f"a line of more than {MAX_REPLY_BYTES} bytes")

    def _decoded(self, line: bytes) -> Reply:
        try:
            reply: Reply = DECODER.decode(line)
        except (msgspec.DecodeError, RecursionError) as error:
            raise self._garbage(str(error)) from None
        return reply

    def _gone(self) -> ServiceUnavailable:
        return ServiceUnavailable(
            f"{self._path}: the vision service went away before it answered", hint=STATUS_HINT
        )

    def _silent(self) -> ServiceUnavailable:
        return ServiceUnavailable(
            f"{self._path}: the vision service said nothing for {self._timeout_s:g} s",
            hint="journalctl -u porter-vision says what it is doing",
        )

    def _garbage(self, found: str) -> ServiceUnavailable:
        return ServiceUnavailable(
            f"{self._path}: the answer cannot be read: {found}",
            hint="use the porter command of the same version as the service",
        )


DECODER = msgspec.json.Decoder(Reply)


def refused(reply: Failed) -> PorterError:
    """The service's own error, as if it had been raised here."""
    error = PorterError(reply.message, hint=reply.hint)
    error.exit_code = reply.exit_code
    return error
