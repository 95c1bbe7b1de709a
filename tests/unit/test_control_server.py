# SPDX-License-Identifier: Apache-2.0
"""The control socket's server, over real Unix sockets, driven step by step."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.adapters.control_socket import ControlServer
from device.control import (
    MAX_REQUEST_BYTES,
    Done,
    EnrolRequest,
    Failed,
    PauseRequest,
    Peer,
    Progress,
    Reply,
    Request,
    Switched,
)
from device.errors import InputError, PorterError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PAUSED = Done(Switched("paused", changed=True))
PROGRESS = Progress("come closer", 1, 5, 60.0)
ENROL = {"type": "enrol", "label": "anna", "policy_text": "We keep five numbers.", "acknowledged": True}


class Script:
    """A conversation that says what it is given to say, one poll at a time."""

    def __init__(self, *replies: Sequence[Reply]) -> None:
        self.replies = list(replies)
        self.cancels = 0

    def poll(self) -> Sequence[Reply]:
        return self.replies.pop(0) if self.replies else ()

    def cancel(self) -> None:
        self.cancels += 1


class Scripted:
    """A handler that answers every request with the same script, and keeps what it saw."""

    def __init__(self, *replies: Sequence[Reply], refusal: PorterError | None = None) -> None:
        self.replies = replies
        self.refusal = refusal
        self.seen: list[tuple[Request, Peer]] = []
        self.scripts: list[Script] = []

    def __call__(self, request: Request, peer: Peer) -> Script:
        self.seen.append((request, peer))
        if self.refusal:
            raise self.refusal
        self.scripts.append(Script(*self.replies))
        return self.scripts[-1]


class Hand:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def serving(
    path: Path, *replies: Sequence[Reply], **given: Any
) -> Iterator[tuple[ControlServer, Scripted, Hand]]:
    handler, clock = Scripted(*replies, **given), Hand()
    with closing(ControlServer(path, handler, monotonic=clock)) as server:
        yield server, handler, clock


@contextmanager
def client(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        sock.connect(str(path))
        yield sock


def steps(server: ControlServer, times: int = 4) -> None:
    for _ in range(times):
        server.step(0)


def heard(sock: socket.socket) -> bytes:
    """Everything the server said until it hung up."""
    said = b""
    try:
        while received := sock.recv(65536):
            said += received
    except ConnectionResetError:
        pass
    return said


def replies(said: bytes) -> list[Reply]:
    return [msgspec.json.decode(line, type=Reply) for line in said.splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


def test_a_request_is_answered_and_the_connection_closed(path: Path) -> None:
    with serving(path, [PROGRESS], [], [PROGRESS, PAUSED]) as (server, handler, _), client(path) as sock:
        sock.sendall(b'{"type":"pause"}\n')
        steps(server)
        assert replies(heard(sock)) == [PROGRESS, PROGRESS, PAUSED]
        assert [request for request, _ in handler.seen] == [PauseRequest()]
        assert handler.scripts[0].cancels == 0


def test_the_handler_learns_from_the_kernel_who_asks(path: Path) -> None:
    with serving(path, [PAUSED]) as (server, handler, _), client(path) as sock:
        sock.sendall(b'{"type":"pause"}\n')
        steps(server)
        peer = handler.seen[0][1]
        assert (peer.pid, peer.uid, peer.gid) == (os.getpid(), os.getuid(), os.getgid())
        assert peer.user


def test_a_request_may_come_byte_by_byte(path: Path) -> None:
    with serving(path, [PAUSED]) as (server, _, _), client(path) as sock:
        for byte in b'{"type":"pause"}\n':
            sock.sendall(bytes([byte]))
            server.step(0)
        steps(server)
        assert replies(heard(sock)) == [PAUSED]


def test_an_enrolment_request_carries_the_whole_policy(path: Path) -> None:
    policy = "Zeile\n„Ü“\t\\" + '"' * 60000
    with serving(path, [PAUSED]) as (server, handler, _), client(path) as sock:
        line = json.dumps(ENROL | {"policy_text": policy}).encode() + b"\n"
        while line:
            line = line[sock.send(line[:100_000]) :]
            steps(server)
        request = handler.seen[0][0]
        assert isinstance(request, EnrolRequest)
        assert request.policy_text == policy


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"status",
        b"null",
        b"[]",
        b'{"type":"shutdown"}',
        b'{"type":"import","photo":"x.jpg"}',
        b'{"type":"pause","for_s":3}',
        b'{"type":"withdraw"}',
        b'{"type":"withdraw","subject":""}',
        b'{"type":"withdraw","subject":7}',
        b'{"type":"status"',
        b'{"type":"withdraw","subject":"\xff\xfe"}',
        b'{"type":"withdraw","subject":"\\ud800"}',
        b'{"x":' + b"[" * 50_000,
        json.dumps(ENROL | {"acknowledged": False}).encode(),
        json.dumps(ENROL | {"acknowledged": "true"}).encode(),
        json.dumps(ENROL | {"policy_text": " \n"}).encode(),
        json.dumps(ENROL | {"policy_text": "\x1b[2J"}).encode(),
        json.dumps(ENROL | {"policy_text": "a" * 65537}).encode(),
        json.dumps(ENROL | {"embedding": [0.1, 0.2]}).encode(),
        json.dumps(ENROL | {"threshold": 0.1}).encode(),
    ],
)
def test_what_is_no_request_is_refused_and_never_reaches_the_handler(path: Path, line: bytes) -> None:
    with serving(path, [PAUSED]) as (server, handler, _), client(path) as sock:
        sock.sendall(line + b"\n")
        steps(server)
        (reply,) = replies(heard(sock))
        assert isinstance(reply, Failed)
        assert reply.exit_code == 2
        assert reply.message.startswith("not a request")
        assert not handler.seen


def test_an_endless_line_is_refused(path: Path) -> None:
    with serving(path, [PAUSED]) as (server, handler, _), client(path) as sock:
        sock.setblocking(False)
        sent = 0
        while sent < 10 * MAX_REQUEST_BYTES:
            try:
                sent += sock.send(b"x" * 65536)
            except BlockingIOError:
                server.step(0)
            except (BrokenPipeError, ConnectionResetError):
                break
        assert sent < 3 * MAX_REQUEST_BYTES
        sock.settimeout(5)
        (reply,) = replies(heard(sock))
        assert isinstance(reply, Failed)
        assert "at most" in reply.message
        assert not handler.seen


@given(st.lists(st.binary(max_size=400), max_size=5))
@settings(max_examples=150, deadline=None)
def test_random_bytes_never_stop_the_server_nor_get_anything_done(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("s") / "c"
    with serving(path, [PAUSED]) as (server, handler, _):
        with client(path) as sock:
            for part in parts:
                try:
                    sock.sendall(part)
                except (BrokenPipeError, ConnectionResetError):
                    break
                server.step(0)
            sock.shutdown(socket.SHUT_WR)
            steps(server)
            assert not any(isinstance(reply, Done) for reply in replies(heard(sock)))
        assert not handler.seen
        with client(path) as sock:
            sock.sendall(b'{"type":"pause"}\n')
            steps(server)
            assert replies(heard(sock)) == [PAUSED]


def test_a_client_that_goes_away_cancels_its_request(path: Path) -> None:
    with serving(path, [PROGRESS]) as (server, handler, _):
        with client(path) as sock:
            sock.sendall(json.dumps(ENROL).encode() + b"\n")
            steps(server)
            assert handler.scripts[0].cancels == 0
        steps(server)
        assert handler.scripts[0].cancels == 1


def test_a_client_that_goes_away_before_its_request_was_read_gets_nothing_done(path: Path) -> None:
    with serving(path, [PAUSED]) as (server, handler, _):
        with client(path) as sock:
            sock.sendall(json.dumps(ENROL).encode() + b"\n")
        steps(server)
        assert not handler.seen


def test_a_client_that_only_stops_sending_still_gets_its_answer(path: Path) -> None:
    with serving(path, [], [], [], [PROGRESS], [PAUSED]) as (server, handler, _), client(path) as sock:
        sock.sendall(b'{"type":"pause"}\n')
        sock.shutdown(socket.SHUT_WR)
        steps(server, 8)
        assert replies(heard(sock)) == [PROGRESS, PAUSED]
        assert handler.scripts[0].cancels == 0


def test_half_a_request_and_no_more_is_dropped(path: Path) -> None:
    with serving(path, [PAUSED]) as (server, handler, _), client(path) as sock:
        sock.sendall(b'{"type":')
        sock.shutdown(socket.SHUT_WR)
        steps(server)
        assert heard(sock) == b""
        assert not handler.seen


def test_a_second_request_on_the_same_connection_is_not_read(path: Path) -> None:
    with serving(path, [PAUSED]) as (server, handler, _), client(path) as sock:
        sock.sendall(b'{"type":"pause"}\n{"type":"resume"}\n')
        steps(server)
        assert replies(heard(sock)) == [PAUSED]
        assert len(handler.seen) == 1


def test_the_ninth_connection_is_told_to_wait(path: Path) -> None:
    with serving(path, [PAUSED]) as (server, _, _):
        first = [socket.socket(socket.AF_UNIX) for _ in range(8)]
        for sock in first:
            sock.connect(str(path))
            server.step(0)
        with client(path) as ninth:
            steps(server)
            (reply,) = replies(heard(ninth))
            assert isinstance(reply, Failed)
            assert "8 commands" in reply.message
        for sock in first:
            sock.settimeout(5)
            sock.sendall(b'{"type":"pause"}\n')
            steps(server)
            assert replies(heard(sock)) == [PAUSED]
            sock.close()


def test_a_client_that_asks_nothing_is_hung_up_on(path: Path) -> None:
    with serving(path, [PAUSED]) as (server, handler, clock), client(path) as sock:
        steps(server)
        clock.now += 9.9
        steps(server)
        sock.sendall(b'{"type"')
        clock.now += 0.2
        steps(server)
        (reply,) = replies(heard(sock))
        assert isinstance(reply, Failed)
        assert "no request within" in reply.message
        assert not handler.seen


def test_a_long_enrolment_is_not_hurried(path: Path) -> None:
    with serving(path) as (server, handler, clock), client(path) as sock:
        sock.sendall(json.dumps(ENROL).encode() + b"\n")
        steps(server)
        clock.now += 600
        handler.scripts[0].replies = [[PAUSED]]
        steps(server)
        assert replies(heard(sock)) == [PAUSED]


def test_a_client_that_does_not_read_is_dropped_and_its_request_cancelled(path: Path) -> None:
    with serving(path) as (server, handler, clock), client(path) as sock:
        sock.sendall(json.dumps(ENROL).encode() + b"\n")
        steps(server)
        handler.scripts[0].replies = [[PROGRESS] * 1000 for _ in range(100)]
        steps(server, 50)
        left = len(handler.scripts[0].replies)
        steps(server, 50)
        assert 0 < left == len(handler.scripts[0].replies)  # what is not read is not asked for either
        clock.now += 29
        steps(server)
        assert handler.scripts[0].cancels == 0
        clock.now += 2
        steps(server)
        assert handler.scripts[0].cancels == 1


def test_an_answer_larger_than_the_sockets_buffer_arrives_whole(path: Path) -> None:
    with serving(path, [PROGRESS] * 8000 + [PAUSED]) as (server, _, _), client(path) as sock:
        sock.sendall(b'{"type":"pause"}\n')
        steps(server)
        sock.setblocking(False)
        said = b""
        while b"done" not in said:
            server.step(0)
            said += sock.recv(65536)
        assert replies(said) == [PROGRESS] * 8000 + [PAUSED]


def test_an_error_of_the_handler_is_the_answer(path: Path) -> None:
    refusal = InputError("nobody is enrolled as 'x'", hint="porter subjects")
    with serving(path, refusal=refusal) as (server, _, _), client(path) as sock:
        sock.sendall(b'{"type":"pause"}\n')
        steps(server)
        assert replies(heard(sock)) == [Failed("nobody is enrolled as 'x'", "porter subjects", 2)]


def test_closing_cancels_what_is_under_way_and_removes_the_socket(path: Path) -> None:
    with serving(path, [PROGRESS]) as (server, handler, _), client(path) as sock:
        sock.sendall(json.dumps(ENROL).encode() + b"\n")
        steps(server)
        server.close()
        server.close()
        assert handler.scripts[0].cancels == 1
        assert not path.exists()
        assert replies(heard(sock)) == [PROGRESS]


def test_closing_leaves_a_successors_socket_alone(path: Path) -> None:
    with serving(path) as (first, _, _):
        path.unlink()
        with serving(path) as (_, _, _):
            first.close()
            assert path.exists()


def test_only_owner_and_group_may_connect(path: Path) -> None:
    before = os.umask(0)
    try:
        with serving(path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
    finally:
        os.umask(before)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody outside the group")
def test_the_group_is_let_in_and_everybody_else_kept_out() -> None:
    program = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"

    def connect(path: Path, group: int) -> subprocess.CompletedProcess[str]:
        words = ["/usr/bin/env", "python3", "-c", program, str(path)]
        return subprocess.run(
            words,
            user=65534,
            group=group,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
        )

    # Not in `tmp_path`, which is in folders that are root's alone.
    with TemporaryDirectory() as folder:
        path = Path(folder) / "control.sock"
        Path(folder).chmod(0o711)
        with serving(path):
            os.chown(path, -1, 54321)
            assert connect(path, 54321).returncode == 0
            assert "PermissionError" in connect(path, 65534).stderr


def test_a_stale_socket_is_replaced(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with serving(path, [PAUSED]) as (server, _, _), client(path) as sock:
        sock.sendall(b'{"type":"pause"}\n')
        steps(server)
        assert replies(heard(sock)) == [PAUSED]


def test_a_socket_that_somebody_listens_on_is_not_taken_over(path: Path) -> None:
    with serving(path, [PAUSED]) as (server, _, _):
        with pytest.raises(StorageError, match="another vision service"):
            ControlServer(path, Scripted())
        with client(path) as sock:
            sock.sendall(b'{"type":"pause"}\n')
            steps(server)
            assert replies(heard(sock)) == [PAUSED]


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_not_a_socket_is_left_alone(path: Path, kind: str) -> None:
    if kind == "link":
        path.symlink_to("elsewhere")
    elif kind == "folder":
        path.mkdir()
    else:
        path.touch()
    with pytest.raises(InputError, match="not a socket"):
        ControlServer(path, Scripted())
    assert os.path.lexists(path)


def test_a_path_too_long_for_a_socket_is_named(tmp_path: Path) -> None:
    long = tmp_path / ("a" * 200)
    with pytest.raises(InputError, match="at most 107") as caught:
        ControlServer(long, Scripted())
    assert "device.run_dir" in caught.value.hint


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="folder does not exist"):
        ControlServer(tmp_path / "nowhere" / "control.sock", Scripted())
