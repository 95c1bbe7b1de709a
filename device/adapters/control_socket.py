# SPDX-License-Identifier: Apache-2.0
"""The control socket: where the local commands reach the vision service. A Unix socket and never anything else.

What may surprise:
- Who may connect is decided by the file system: the socket is 0660, its group is the folder's or the service's.
- One request a connection. What a client sends after its request is not read.
- A client that closes has changed its mind: its request is cancelled, even when it had not yet begun. One that only
  closes its sending side (`nc -N`) still gets its answer; poll(2) tells the two apart by POLLHUP.
"""

from __future__ import annotations

import errno
import logging
import os
import pwd
import select
import socket
import stat
import struct
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from device.control import (
    MAX_REQUEST_BYTES,
    Conversation,
    Done,
    Failed,
    Handler,
    Peer,
    Reply,
    Request,
    failed,
)
from device.errors import InputError, PorterError, StorageError

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger("porter.control")

MAX_PATH_BYTES = 107  # sun_path has 108 with its closing NUL (unix(7))
MAX_CONNECTIONS = 8
MODE = 0o660
REQUEST_WITHIN_S = 10.0
READ_WITHIN_S = 30.0
BACKLOG_BYTES = 64 * 1024  # with so much unread, a conversation is not asked for more
GONE = select.POLLHUP | select.POLLERR | select.POLLNVAL


class ControlServer:
    """Listens at `path` from the moment it is made; `step` is a `Worker`'s step, `close` its cleanup.

    Raises InputError (path too long, not a socket, no folder), StorageError (somebody else listens, no permission).
    """

    def __init__(
        self, path: Path, handler: Handler, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._path = path
        self._handler = handler
        self._monotonic = monotonic
        self._connections: dict[int, Connection] = {}
        self._poll = select.poll()
        self._listener = listen(path)
        self._inode = path.lstat().st_ino
        self._poll.register(self._listener, select.POLLIN)

    def step(self, wait_s: float = 0.5) -> None:
        """Serves whoever wants something; waits up to `wait_s`, or 50 ms while a request is under way."""
        busy = any(one.conversation for one in self._connections.values())
        for fd, events in self._poll.poll(1000 * min(wait_s, 0.05) if busy else 1000 * wait_s):
            if fd == self._listener.fileno():
                self._accept()
            elif events & GONE:
                self._drop(self._connections[fd])
            elif events & select.POLLIN:
                self._read(self._connections[fd])
        for connection in list(self._connections.values()):
            self._attend(connection)

    def close(self) -> None:
        """Cancels what is under way, hangs up, and removes the socket if it is still this one; harmless twice."""
        for connection in list(self._connections.values()):
            self._drop(connection)
        self._listener.close()
        try:
            if self._path.lstat().st_ino == self._inode:
                self._path.unlink()
        except FileNotFoundError:
            pass

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        sock.setblocking(False)
        connection = Connection(sock, peer_of(sock), self._monotonic() + REQUEST_WITHIN_S)
        self._connections[sock.fileno()] = connection
        self._poll.register(sock, select.POLLIN)
        if len(self._connections) > MAX_CONNECTIONS:
            connection.say(
                Failed(f"{MAX_CONNECTIONS} commands are being served already", "try again in a moment")
            )

    def _read(self, connection: Connection) -> None:
        try:
            received = connection.sock.recv(65536)
        except BlockingIOError:
            return
        except ConnectionResetError:
            received = b""
        line, ended, _ = (connection.inbox + received).partition(b"\n")
        connection.inbox = line
        if len(line) > MAX_REQUEST_BYTES:
            connection.say(Failed(f"a request has at most {MAX_REQUEST_BYTES} bytes", exit_code=2))
        elif ended:
            self._begin(connection, line)
        elif not received:
            self._drop(connection)

    def _begin(self, connection: Connection, line: bytes) -> None:
        connection.inbox = b""
        try:
            request = DECODER.decode(line)
            connection.conversation = self._handler(request, connection.peer)
            log.info("request type=%s uid=%d", type(request).__name__, connection.peer.uid)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            connection.say(
                Failed(f"not a request: {error}", "use the porter command of the same version", exit_code=2)
            )
        except PorterError as error:
            connection.say(failed(error))

    def _attend(self, connection: Connection) -> None:
        """Fetches and sends replies, keeps the time, hangs up after the last one."""
        now = self._monotonic()
        if connection.conversation and len(connection.outbox) < BACKLOG_BYTES:
            if not connection.outbox:
                connection.deadline = now + READ_WITHIN_S
            for reply in connection.conversation.poll():
                connection.say(reply)
        if connection.outbox and not connection.send(now + READ_WITHIN_S):
            self._drop(connection)
        elif connection.finished and not connection.outbox:
            self._hang_up(connection)
        elif now < connection.deadline or (connection.conversation and not connection.outbox):
            self._poll.modify(connection.sock, connection.wants)
        elif connection.outbox:
            log.warning("client_stuck uid=%d", connection.peer.uid)
            self._drop(connection)
        else:
            connection.say(Failed(f"no request within {REQUEST_WITHIN_S:.0f} s", exit_code=2))
            connection.send(now + READ_WITHIN_S)
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        if connection.conversation:
            connection.conversation.cancel()
        self._hang_up(connection)

    def _hang_up(self, connection: Connection) -> None:
        self._poll.unregister(connection.sock)
        del self._connections[connection.sock.fileno()]
        connection.sock.close()


class Connection:
    """One client: what came of its request, what it has yet to be told, until when it must move."""

    def __init__(self, sock: socket.socket, peer: Peer, deadline: float) -> None:
        self.sock = sock
        self.peer = peer
        self.deadline = deadline
        self.inbox = b""
        self.outbox = b""
        self.conversation: Conversation | None = None
        self.finished = False

    @property
    def wants(self) -> int:
        """What to wait for. Nothing more is read once there is a request; a hang-up is reported always."""
        reading = select.POLLIN if not (self.conversation or self.finished) else 0
        return reading | (select.POLLOUT if self.outbox else 0)

    def say(self, reply: Reply) -> None:
        """Puts a reply up for sending; after a Done or Failed nothing follows."""
        if self.finished:
            return
        self.outbox += msgspec.json.encode(reply) + b"\n"
        if isinstance(reply, Done | Failed):
            self.finished = True
            self.conversation = None

    def send(self, deadline: float) -> bool:
        """Sends what the client takes now and moves the deadline when it took something. False: it is gone."""
        try:
            sent = self.sock.send(self.outbox)
        except BlockingIOError:
            return True
        except (BrokenPipeError, ConnectionResetError):
            return False
        self.outbox = self.outbox[sent:]
        self.deadline = deadline
        return True


DECODER = msgspec.json.Decoder(Request)


def peer_of(sock: socket.socket) -> Peer:
    """Who connected, by the kernel's word (SO_PEERCRED, unix(7)): struct ucred of pid, uid, gid."""
    pid, uid, gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = f"uid {uid}"
    return Peer(pid, uid, gid, user)


def listen(path: Path) -> socket.socket:
    """A listening, non-blocking AF_UNIX socket at `path`; a stale one is replaced, a live one is not."""
    check_path(path)
    remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(os.fspath(path))
        path.chmod(MODE)  # before `listen`: until then nobody can connect
        listener.listen(MAX_CONNECTIONS)
    except OSError as error:
        listener.close()
        raise taken(path) if error.errno == errno.EADDRINUSE else unusable(path, error) from error
    listener.setblocking(False)
    return listener


def check_path(path: Path) -> None:
    """Raises InputError where no Unix socket with a name in the file system can be."""
    size = len(os.fsencode(path))
    if b"\0" in os.fsencode(path):
        raise InputError(
            f"{str(path)!r}: a control socket has a name in the file system", hint="set device.run_dir"
        )
    if size > MAX_PATH_BYTES:
        raise InputError(
            f"{path}: {size} bytes; the path of a Unix socket has at most {MAX_PATH_BYTES}",
            hint="choose a shorter device.run_dir",
        )
    if not path.parent.is_dir():
        raise InputError(
            f"{path}: its folder does not exist",
            hint=f"systemd makes it (RuntimeDirectory=); by hand: mkdir -p {path.parent}, or set device.run_dir",
        )


def remove_stale(path: Path) -> None:
    """Removes a socket that nobody listens on. Raises InputError (not a socket), StorageError (somebody listens)."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise InputError(
            f"{path}: is not a socket, so it was left alone", hint="move it away, or set device.run_dir"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
        except TimeoutError:  # its backlog is full: somebody listens
            raise taken(path) from None
        except OSError as error:
            raise unusable(path, error) from error
        else:
            raise taken(path)


def taken(path: Path) -> StorageError:
    """The error where another service listens."""
    return StorageError(f"{path}: another vision service listens here", hint="systemctl status porter-vision")


def unusable(path: Path, error: OSError) -> StorageError:
    """The error where the system refuses the socket."""
    return StorageError(
        f"{path}: cannot listen: {error.strerror}", hint=f"the service must own {path.parent}"
    )
