# SPDX-License-Identifier: Apache-2.0
"""The bell between a commit and the forwarder: it ends a wait, and can hold nobody up."""

from __future__ import annotations

import select
import socket
import time
from typing import TYPE_CHECKING

import pytest

from device.adapters.bell_unix import UnixBell, UnixEar
from device.adapters.broker_mqtt import MqttBroker
from device.adapters.outbox_sqlite import SqliteOutbox
from tests.events import make_event

if TYPE_CHECKING:
    from pathlib import Path


def rung(ear: UnixEar) -> bool:
    """Whether it has rung and was not heard yet."""
    return bool(select.select([ear], [], [], 0)[0])


def test_it_rings_and_is_heard(tmp_path: Path) -> None:
    ear, bell = UnixEar(tmp_path / "bell"), UnixBell(tmp_path / "bell")
    assert not rung(ear)
    bell.ring()
    bell.ring()
    assert rung(ear)
    ear.heard()
    assert not rung(ear)
    ear.close()


def test_a_path_longer_than_an_address_may_be_is_no_trouble(tmp_path: Path) -> None:
    folder = tmp_path / ("a" * 100) / ("b" * 100)
    folder.mkdir(parents=True)
    ear = UnixEar(folder / "bell")
    UnixBell(folder / "bell").ring()
    assert rung(ear)
    ear.close()


def test_ringing_where_nobody_listens_is_quiet(tmp_path: Path) -> None:
    UnixBell(tmp_path / "nothing" / "bell").ring()
    UnixBell(tmp_path / "bell").ring()
    (tmp_path / "bell").write_text("a file")
    UnixBell(tmp_path / "bell").ring()
    UnixEar(tmp_path / "bell").close()  # takes the file's place, and goes
    UnixBell(tmp_path / "bell").ring()


def test_ringing_never_waits_however_full_it_is(tmp_path: Path) -> None:
    ear, bell = UnixEar(tmp_path / "bell"), UnixBell(tmp_path / "bell")
    for _ in range(5_000):
        bell.ring()
    ear.heard()
    assert not rung(ear)
    bell.ring()
    assert rung(ear)
    ear.close()


def test_what_the_forwarder_puts_in_its_place_holds_nobody(tmp_path: Path) -> None:
    """A pipe, a link to a socket of another kind, a socket that is never read: the process that sees goes on."""
    (tmp_path / "bell").symlink_to(tmp_path / "control")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(str(tmp_path / "control"))
        other.listen()
        UnixBell(tmp_path / "bell").ring()
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.accept()


def test_a_new_process_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    old = UnixEar(tmp_path / "bell")
    new = UnixEar(tmp_path / "bell")
    UnixBell(tmp_path / "bell").ring()
    assert (rung(old), rung(new)) == (False, True)
    old.close()
    new.close()


def test_a_folder_that_is_not_there_is_an_error_for_who_listens(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        UnixEar(tmp_path / "nothing" / "bell")


def test_an_append_rings_and_nothing_else_does(tmp_path: Path) -> None:
    ear = UnixEar(tmp_path / "bell")
    outbox = SqliteOutbox(tmp_path / "outbox.sqlite", bell=UnixBell(tmp_path / "bell"))
    outbox.append([])
    assert not rung(ear)
    (event,) = outbox.append([make_event()])
    assert rung(ear)
    ear.heard()
    outbox.peek(1)
    outbox.acknowledge([event.id])
    assert not rung(ear)
    outbox.close()
    ear.close()


def test_it_ends_the_brokers_wait_also_without_a_connection(tmp_path: Path) -> None:
    ear, bell = UnixEar(tmp_path / "bell"), UnixBell(tmp_path / "bell")
    broker = MqttBroker("127.0.0.1", 1, client_id="porter-test", tls=None, ear=ear)
    bell.ring()
    began = time.monotonic()
    assert broker.poll(30) == []
    assert time.monotonic() - began < 15
    assert not rung(ear)
    ear.close()
