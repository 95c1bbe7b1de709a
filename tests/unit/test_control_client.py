# SPDX-License-Identifier: Apache-2.0
"""The commands' end of the control socket, against a real server and against a peer that misbehaves."""

from __future__ import annotations

import os
import socket
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from device.adapters.control_client import MAX_REPLY_BYTES, ControlClient
from device.adapters.control_socket import ControlServer
from device.control import (
    Done,
    Failed,
    PauseRequest,
    Peer,
    Progress,
    Reply,
    Request,
    ServiceUnavailable,
    StatusRequest,
    SubjectLine,
    SubjectList,
    SubjectsRequest,
    Switched,
)
from device.errors import PorterError
from device.supervisor import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

DONE = Done(Switched("paused", changed=True))
PROGRESS = Progress("hold still", 2, 5, 30.0)


class Answering:
    """A handler and its one conversation: answers every request with the same replies."""

    def __init__(self, replies: Sequence[Reply]) -> None:
        self.replies = list(replies)
        self.cancels = 0

    def __call__(self, request: Request, peer: Peer) -> Answering:
        return self

    def poll(self) -> Sequence[Reply]:
        said, self.replies = self.replies, []
        return said

    def cancel(self) -> None:
        self.cancels += 1


@contextmanager
def service(path: Path, *replies: Reply) -> Iterator[Answering]:
    """A control server in its own thread."""
    answering = Answering(replies)
    server = ControlServer(path, answering)
    worker = Worker("control", lambda: server.step(0.01), cleanup=server.close)
    worker.start()
    try:
        yield answering
    finally:
        worker.stop()
        assert worker.join(5)
        assert worker.failure is None


@contextmanager
def saying(path: Path, said: bytes, *, hang_up: bool = True) -> Iterator[None]:
    """A peer that says `said` to the first client whatever it asks."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)
        kept: list[socket.socket] = []

        def speak() -> None:
            kept.append(listener.accept()[0])
            kept[0].recv(1000)
            with suppress(BrokenPipeError):
                kept[0].sendall(said)
            if hang_up:
                kept[0].close()
            worker.stop()

        worker = Worker("peer", speak)
        worker.start()
        try:
            yield
        finally:
            assert worker.join(5)
            for sock in kept:
                sock.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


def test_replies_come_in_order_and_end_with_done(path: Path) -> None:
    with service(path, PROGRESS, PROGRESS, DONE):
        assert list(ControlClient(path).request(PauseRequest())) == [PROGRESS, PROGRESS, DONE]


def test_asking_shows_the_progress_and_returns_the_result(path: Path) -> None:
    shown: list[Progress] = []
    with service(path, PROGRESS, DONE):
        assert ControlClient(path).ask(PauseRequest(), Switched, shown.append) == DONE.result
    assert shown == [PROGRESS]


def test_five_hundred_subjects_arrive_whole(path: Path) -> None:
    line = SubjectLine(
        "ü" * 64, "p_12345678", 8, "c_1", "p" * 200, "ab" * 32, "r" * 200, "2026-11-23", "2027-11-23", 365
    )
    with service(path, Done(SubjectList([line] * 500))):
        assert ControlClient(path).ask(SubjectsRequest(), SubjectList).subjects == [line] * 500


def test_a_refusal_is_raised_as_the_services_own_error(path: Path) -> None:
    with (
        service(path, Failed("nobody is enrolled as 'x'", "porter subjects", 2)),
        pytest.raises(PorterError) as caught,
    ):
        ControlClient(path).ask(PauseRequest(), Switched)
    assert (caught.value.message, caught.value.hint, caught.value.exit_code) == (
        "nobody is enrolled as 'x'",
        "porter subjects",
        2,
    )


def test_closing_the_replies_cancels_the_request(path: Path) -> None:
    with (
        service(path, PROGRESS) as answering,
        closing(ControlClient(path).request(PauseRequest())) as replies,
    ):
        assert next(replies) == PROGRESS
    assert answering.cancels == 1


@pytest.mark.parametrize("there", ["nothing", "stale", "file"])
def test_without_a_service_the_hint_says_how_to_look(path: Path, there: str) -> None:
    if there == "stale":
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
    elif there == "file":
        path.touch()
    with pytest.raises(ServiceUnavailable, match="no vision service listens here") as caught:
        ControlClient(path).ask(StatusRequest(), Switched)
    assert "systemctl status porter-vision" in caught.value.hint
    assert caught.value.exit_code == 1


@contextmanager
def unprivileged() -> Iterator[None]:
    """Root may connect to everything, so root becomes nobody for a while."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_without_permission_the_hint_names_the_group(path: Path) -> None:
    with service(path, DONE):
        path.chmod(0)
        with unprivileged(), pytest.raises(ServiceUnavailable, match="you may not") as caught:
            ControlClient(path).ask(StatusRequest(), Switched)
    assert "group porter" in caught.value.hint


def test_a_path_too_long_for_a_socket_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServiceUnavailable, match="too long") as caught:
        ControlClient(tmp_path / ("a" * 200)).ask(StatusRequest(), Switched)
    assert "107 bytes" in caught.value.hint


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        b'{"type":"done"}\n',
        b'{"type":"failed","message":"x","exit_code":0}\n',
        b'{"type":"done","result":{"type":"subjects","subjects":[]}}\n',
        b"\xff\xff\n",
        b"[" * 200_000 + b"\n",
        b"x" * (MAX_REPLY_BYTES + 70_000),
    ],
)
def test_an_answer_that_cannot_be_read_is_an_error(path: Path, said: bytes) -> None:
    with saying(path, said), pytest.raises(ServiceUnavailable, match="cannot be read"):
        ControlClient(path).ask(PauseRequest(), Switched)


@pytest.mark.parametrize(
    "said", [b"", b'{"type":"pro', b'{"type":"progress","hint":"","taken":0,"needed":5,"seconds_left":1}\n']
)
def test_a_service_that_goes_away_is_an_error(path: Path, said: bytes) -> None:
    with saying(path, said), pytest.raises(ServiceUnavailable, match="went away"):
        ControlClient(path).ask(PauseRequest(), Switched)


def test_a_service_that_says_nothing_is_an_error(path: Path) -> None:
    with (
        saying(path, b"", hang_up=False),
        pytest.raises(ServiceUnavailable, match=r"said nothing for 0\.05 s"),
    ):
        ControlClient(path, timeout_s=0.05).ask(PauseRequest(), Switched)


def test_what_the_service_said_before_it_hung_up_on_us_is_read(path: Path) -> None:
    """A refused ninth connection: the reply is there, and sending the request may already fail."""
    said = b'{"type":"failed","message":"8 commands are being served already"}\n'
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)
        client = ControlClient(path)

        def refuse() -> None:
            sock, _ = listener.accept()
            sock.sendall(said)
            sock.close()
            worker.stop()

        worker = Worker("peer", refuse)
        worker.start()
        with pytest.raises(PorterError, match="8 commands"):
            client.ask(PauseRequest(), Switched)
        assert worker.join(5)
