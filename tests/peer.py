# SPDX-License-Identifier: Apache-2.0
"""A peer at the other end of a TCP connection that says what a test wants it to say."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable


class Peer:
    """Listens; reads each connection's first packet, asks `answer(number, packet)` and sends what it says.

    None as the answer hangs up; bytes keep the connection open until the peer is closed. `then` is sent when the
    next packet came.
    """

    def __init__(self, answer: Callable[[int, bytes], bytes | None], *, then: bytes = b"") -> None:
        self.greetings: list[bytes] = []
        self._answer = answer
        self._then = then
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.greetings.append(connection.recv(4096))
            reply = self._answer(len(self.greetings), self.greetings[-1])
            if reply is None:
                connection.close()
            else:
                self._open.append(connection)
                connection.sendall(reply)
                if self._then and connection.recv(4096):
                    connection.sendall(self._then)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)
        for connection in self._open:
            connection.close()
