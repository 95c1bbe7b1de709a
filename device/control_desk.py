# SPDX-License-Identifier: Apache-2.0
"""The way from the socket's thread to the recognise thread and back: `SimpleQueue`s and nothing else.

The socket's thread owns `Desk.__call__`, `Call.poll` and `Call.cancel`; the recognise thread owns `Desk.take`,
`Call.reply` and `Call.cancelled`. No lock is held while either works, and neither ever waits for the other.
"""

from __future__ import annotations

from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from device.control import Failed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from device.control import Peer, Reply, Request

AT_ONCE = 16  # more requests than the socket serves at a time are never waiting; this bounds a broken caller


class Call:
    """One request under way: the server's `Conversation` on one side, the answer on the other."""

    def __init__(self, request: Request, peer: Peer) -> None:
        self.request = request
        self.peer = peer
        self._replies: SimpleQueue[Reply] = SimpleQueue()
        self._cancels: SimpleQueue[None] = SimpleQueue()

    def poll(self) -> Sequence[Reply]:
        """The replies since the last call (the socket's thread)."""
        return [self._replies.get_nowait() for _ in range(self._replies.qsize())]

    def cancel(self) -> None:
        """The client is gone (the socket's thread)."""
        self._cancels.put(None)

    def reply(self, reply: Reply) -> None:
        """Answers; the last one is a Done or a Failed (the recognise thread)."""
        self._replies.put(reply)

    @property
    def cancelled(self) -> bool:
        """Whether the client is gone: then drop what was begun (the recognise thread)."""
        return not self._cancels.empty()


class Desk:
    """Where requests wait for the recognise thread. The desk itself is the server's handler."""

    def __init__(self) -> None:
        self._waiting: SimpleQueue[Call] = SimpleQueue()

    def __call__(self, request: Request, peer: Peer) -> Call:
        """Puts a request on the desk (the socket's thread)."""
        call = Call(request, peer)
        if self._waiting.qsize() >= AT_ONCE:
            call.reply(Failed("the vision service is not answering", "systemctl status porter-vision"))
        else:
            self._waiting.put(call)
        return call

    def take(self) -> Call | None:
        """The next request whose client is still there, or None; between two frames (the recognise thread)."""
        while True:
            try:
                call = self._waiting.get_nowait()
            except Empty:
                return None
            if not call.cancelled:
                return call
