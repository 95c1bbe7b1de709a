# SPDX-License-Identifier: Apache-2.0
"""kill -9 of the real vision service in each of its states, the real forwarder beside it; the camera is a folder.

One door for all: it must be well after every kill, whatever came before. What was not committed yet may be lost.
"""

from __future__ import annotations

import signal
import sqlite3
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec
import pytest

from device.adapters.broker_mosquitto import Mosquitto
from device.adapters.clock import SystemClock
from device.demo_scenes import write_scene
from device.payloads import Event
from tests.subscriber import Subscriber, wait_for
from tests.system.checker import Expected, check
from tests.system.door import WholeDoor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from device.demo_scenes import Person

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("vision")]
LIVE_MAX_AGE_S = 30


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeDoor]:
    """Anna is enrolled, and everything runs."""
    folder = tmp_path_factory.mktemp("kills")
    scenes, site = folder / "scenes", folder / "door"
    site.mkdir()
    people: dict[str, Person | None] = {"nobody": None, "anna": "astronaut", "stranger": "hopper"}
    for name, person in people.items():
        write_scene(scenes / name, person, frames=8)
    with Mosquitto(folder / "broker") as broker, WholeDoor(site, scenes, broker) as made:
        made.configure(
            device={"id": "lobby-01"},
            mqtt={"host": "127.0.0.1", "port": broker.port, "tls": False},
            events={"live_max_age_s": LIVE_MAX_AGE_S},
        )
        made.start()
        made.show("anna")
        made.enrol("anna")
        yield made


@pytest.fixture(scope="module")
def ear(door: WholeDoor) -> Iterator[Subscriber]:
    """The audit log; the forwarder runs once it listens."""
    with Subscriber(door.broker.port) as subscriber:
        door.forwarder.start()
        subscriber.wait("/match")
        yield subscriber


@contextmanager
def starting(door: WholeDoor) -> Iterator[None]:
    """It has been started, and has not said that it is ready."""
    door.kill()
    door.notices.clear()
    door._spawn()
    door.wait("its first words", door.log)
    yield


@contextmanager
def recognising(door: WholeDoor) -> Iterator[None]:
    """Somebody is there."""
    door.wait("Anna", door.present)
    yield


@contextmanager
def committing(door: WholeDoor) -> Iterator[None]:
    """A visit has ended, and its event cannot be written: somebody else is writing."""
    door.wait("Anna", door.present)
    database = sqlite3.connect(door.outbox, isolation_level=None, timeout=30)
    try:
        database.execute("BEGIN IMMEDIATE")
        door.show("nobody")
        time.sleep(1.5)  # nobody says so: a visit ends after 0.8 s, and the commit then waits for five
        yield
        database.execute("ROLLBACK")
    finally:
        database.close()


@contextmanager
def enrolling(door: WholeDoor) -> Iterator[None]:
    """A capture runs."""
    door.show("stranger")
    door.wait("nobody", lambda: not door.present())
    command = door.enrolment("bob")
    door.wait("the capture", lambda: door.status().state == "enrolling")
    yield
    assert command.ended() == 1, command.output()


@contextmanager
def reloading(door: WholeDoor) -> Iterator[None]:
    """SIGHUP has come, and new models are being loaded."""
    door.heard()
    before = door.notices.count("RELOADING=1")
    door.signal(signal.SIGHUP)
    door.wait("the reload", lambda: door.heard().count("RELOADING=1") > before)
    yield


@contextmanager
def stopping(door: WholeDoor) -> Iterator[None]:
    """SIGTERM has come."""
    door.signal(signal.SIGTERM)
    yield


STATES = [starting, recognising, committing, enrolling, reloading, stopping]


@pytest.mark.parametrize("state", STATES, ids=[state.__name__ for state in STATES])
def test_kill_9_of_vision_while(
    state: Callable[[WholeDoor], AbstractContextManager[None]], door: WholeDoor, ear: Subscriber
) -> None:
    with state(door):
        door.kill()
    wait_for(lambda: not door.events(), 15, "what was committed to be sent")
    had = {event.id for event in heard(ear)}
    door.show("anna")
    door.start()
    door.wait("another visit", lambda: any(e.phase == "start" and e.id not in had for e in heard(ear)))
    door.wait(
        "Anna", door.present
    )  # only now: the board of before stands until the new service writes its own
    (ref,) = door.present()
    wait_for(lambda: ref.encode() in ear.on("cam0/presence")[-1].payload, 15, "presence")
    wait_for(lambda: not door.events(), 15, "the outbox to empty")
    assert door.status().subjects == 1
    expected = Expected(frozenset(), present=(ref,), live_max_age_s=LIVE_MAX_AGE_S)
    account = check(list(ear.messages), expected, [SystemClock().boot_id])  # a lost commit would be a gap
    assert account.delivered > len(had)


def heard(ear: Subscriber) -> list[Event]:
    """The events so far, repeats included."""
    return [
        msgspec.json.decode(each.payload, type=Event) for each in list(ear.messages) if "/match" in each.topic
    ]
