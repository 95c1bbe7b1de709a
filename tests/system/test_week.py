# SPDX-License-Identifier: Apache-2.0
"""The broker is away for seven days: a forwarder on a clock in our hand, everything else is real.

A reboot falls into the week, and the outbox keeps five days: what is older, of either boot, is given up and counted.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from typing import TYPE_CHECKING

import pytest

from device.adapters.broker_mosquitto import Mosquitto
from device.adapters.broker_mqtt import MqttBroker
from device.adapters.clock import ManualClock
from device.adapters.outbox_sqlite import SqliteOutbox
from device.adapters.state_file import FileStateBoard
from device.announcements import Names
from device.folders import BOARD, OUTBOX, shared_folder
from device.forwarder import Forwarder
from device.payloads import CameraInfo, Person, Presence, Present, ServiceState, VisionInfo, rfc3339
from device.troubles import Troubles
from tests.events import make_event
from tests.subscriber import Subscriber
from tests.system.checker import Expected, check

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.system
HOUR_S, DAY_S = 3600, 86_400
KEEP_DAYS = 5
LIVE_MAX_AGE_S = 30


class Device:
    """Commits as the vision service does, and a forwarder; time passes by `wait` alone. A context manager would hide
    what a reboot is: `close` ends it.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self.clock = ManualClock()
        self.boots = [self.clock.boot_id]
        self.captured_s: dict[str, float] = {}  # since the start, by identifier
        self.since_start_s = 0.0
        self.present = "p_7f3a"
        self._port = port
        self._path = shared_folder(folder) / OUTBOX
        self._writer = SqliteOutbox(self._path)
        self._board = FileStateBoard(shared_folder(folder) / BOARD)
        self._moments: list[tuple[float, float]] = []
        self.wait(0.0)
        self._start()

    def commit(self) -> str:
        """An event captured now; its identifier."""
        now, number = self.clock.now(), len(self.captured_s) + 1
        event = make_event(
            number, boot=self.clock.boot_id, mono_ms=now.boot_ns // 1_000_000, ts=rfc3339(now.utc_ns)
        )
        self._writer.append([event])
        self.captured_s[event.id] = self.since_start_s
        return event.id

    def wait(self, seconds: float) -> None:
        """Time passes; the vision service is well."""
        self.clock.advance(seconds)
        self._passed(seconds)

    def reboot(self) -> None:
        """The power is cut for half a minute."""
        self._broker.abort()
        self.outbox.close()
        self.clock.reboot("b0070002", down_s=30.0)
        self.boots.append(self.clock.boot_id)
        self._passed(30.0)
        self._start()

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Steps, 50 ms of its time each, until `condition()`."""
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, f"waited for {what}, {self.outbox.depth()} events wait"
            self.forwarder.step()
            self.wait(0.05)

    def boot_s(self, moment: float) -> float:
        """Its boot time when time.monotonic() was `moment`."""
        place = bisect_right(self._moments, (moment, float("inf")))
        return self._moments[max(0, place - 1)][1]

    def close(self) -> None:
        """The forwarder says goodbye."""
        self.forwarder.close()
        self._writer.close()

    def _start(self) -> None:
        self.outbox = SqliteOutbox(self._path)
        self._broker = MqttBroker("127.0.0.1", self._port, client_id="porter-lobby-01", tls=None)
        self.forwarder = Forwarder(
            names=Names("porter", "lobby-01", ("cam0",), "0.1.0", self.clock.boot_id),
            live_max_age_s=LIVE_MAX_AGE_S,
            outbox=self.outbox,
            board=self._board,
            broker=self._broker,
            clock=self.clock,
            troubles=Troubles(self.clock),
            uniform=lambda _low, high: high,
        )
        self.forwarder.delivery.max_age_days = KEEP_DAYS

    def _passed(self, seconds: float) -> None:
        self.since_start_s += seconds
        now = self.clock.now()
        self._moments.append((time.monotonic(), now.boot_ns / 1e9))
        ts = rfc3339(now.utc_ns)
        people = [Present(person=Person(ref=self.present), since=ts)]
        cameras = [CameraInfo(name="cam0", source="files", simulated=True)]
        state = ServiceState(
            boot_ns=now.boot_ns,
            stopping=False,
            info=VisionInfo(cameras=cameras, models=[], subjects=1),
            presence=[Presence(v=1, device="lobby-01", camera="cam0", ts=ts, present=people)],
            troubles=[],
        )
        self._board.show(state)


def a_week_passes(device: Device) -> None:
    """An event every hour, at half past, and a try to connect every half hour; a reboot after the first day."""
    for hour in range(7 * 24):
        if hour == 24:
            device.reboot()
        device.wait(HOUR_S / 2)
        device.commit()
        device.forwarder.step()
        device.wait(HOUR_S / 2)
        device.forwarder.step()


def test_a_week_without_a_broker(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker", "max_inflight_messages 0") as broker:
        device = Device(tmp_path, broker.port)
        with Subscriber(broker.port) as ear:
            before = {device.commit() for _ in range(3)}
            device.until(lambda: len(ear.on("cam0/match")) == 3, "three live events")
            device.until(lambda: bool(ear.on("cam0/presence")), "presence")
            expected = Expected(frozenset(before), present=("p_7f3a",))
            check(ear.messages, expected, device.boots, device.boot_s)
        device.until(lambda: not device.outbox.depth(), "an empty outbox")
        # One of its own: the broker sends again, after a restart, what another had not acknowledged to it yet.
        with Subscriber(broker.port, durable=True) as ear:
            broker.stop()
            device.present = "p_1a57"
            a_week_passes(device)
            assert device.outbox.depth() == 7 * 24
            assert not device.forwarder.connected
            broker.start()
            ear.wait_subscribed(2, 30)
            check_what_came_after(device, ear, before)
        device.close()


def check_what_came_after(device: Device, ear: Subscriber, before: set[str]) -> None:
    """The broker is back. before: the events that it had already."""
    given_up = {
        name for name, at in device.captured_s.items() if device.since_start_s - at > KEEP_DAYS * DAY_S
    } - before
    device.wait(61)  # the longest pause between two tries
    device.until(lambda: not device.outbox.depth(), "an empty outbox")
    last = device.commit()
    device.until(lambda: bool(ear.on("cam0/match")), "a live event")
    device.until(lambda: b"p_1a57" in ear.on("cam0/presence")[-1].payload, "presence")

    assert 24 < len(given_up) < 7 * 24
    assert device.outbox.dropped() == len(given_up)
    expected = Expected(
        frozenset(device.captured_s),
        excused=frozenset(given_up | before),
        present=("p_1a57",),
        live_max_age_s=LIVE_MAX_AGE_S,
    )
    account = check(ear.messages, expected, device.boots, device.boot_s)
    assert (account.late, account.delivered) == (7 * 24 - len(given_up), account.late + 1)
    (live,) = ear.on("cam0/match")
    assert last.encode() in live.payload
