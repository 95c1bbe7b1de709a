# SPDX-License-Identifier: Apache-2.0
"""A whole site for fault tests: writer, outbox, forwarder, proxy, mosquitto and an audit log that misses nothing."""

from __future__ import annotations

import re
import signal
import sqlite3
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Self

from device.adapters.broker_mosquitto import Mosquitto
from device.adapters.clock import SystemClock
from device.adapters.state_file import FileStateBoard
from device.folders import BOARD, shared_folder
from device.payloads import CameraInfo, Person, Presence, Present, ServiceState, VisionInfo, rfc3339
from tests.events import event_id
from tests.subscriber import Subscriber, wait_for
from tests.system.checker import ROOT, Account, Expected, check
from tests.system.proxy import EVENT_ID, Proxy
from tests.system.services import PLAIN, Site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.system.services import Child, Surroundings

WRITER_STRIDE = 1_000_000
PATIENCE_S = 90.0  # a forwarder that failed six times in a row may wait for a minute
SHOWN_AGAIN_S = 5.0  # well within the time after which a vision service counts as lost


class Stage:
    """`with Stage(folder) as stage`, then faults, then `stage.finish()`. The forwarder reaches the broker by the proxy.

    pause_s: between the writer's commits; None: no writer. mosquitto: further lines of its configuration. mqtt:
    further lines of the forwarder's. broker, ear_port: a broker with TLS, whose bytes the proxy passes unparsed, and
    its plain port for the audit log. around: see `Surroundings`; its environment is the writer's, too.
    """

    def __init__(
        self,
        folder: Path,
        *,
        pause_s: float | None = 0.05,
        mosquitto: tuple[str, ...] = (),
        mqtt: str = "  tls: false",
        broker: Mosquitto | None = None,
        ear_port: int = 0,
        around: Surroundings = PLAIN,
    ) -> None:
        self.broker = broker or Mosquitto(folder / "broker", "max_inflight_messages 0", *mosquitto)
        self.proxy = Proxy(self.broker.port, mqtt=broker is None)
        self.site = Site(folder, self.proxy.port, extra=mqtt, around=around)
        self.board = FileStateBoard(shared_folder(folder) / BOARD)
        self.present: tuple[str, ...] = ()
        self.excused: set[str] = set()
        self.own: set[str] = set()
        self.clock = SystemClock()
        self._read, self._received = 0, set[str]()  # of the audit log's messages
        self._pause_s = pause_s
        self._ear_port = ear_port or self.broker.port
        self._writers: list[Child] = []
        self._open = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._open.enter_context(self.broker)
            self._open.enter_context(self.proxy)
            self.ear = self._open.enter_context(Subscriber(self._ear_port, durable=True))
            self.show("p_7f3a")
            self._open.enter_context(self.site)
            self._open.callback(self.end_writer)
            if self._pause_s is not None:
                self.start_writer()
            wait_for(
                lambda: bool(self.ear.on("/status")), 30, f"the forwarder:\n{self.site.forwarder.text()}"
            )
            if self._pause_s is not None:
                self.ear.wait("cam0/match", timeout_s=30)
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def commit(self, *numbers: int) -> None:
        """Commits these events, now."""
        self.site.commit(*numbers)
        self.own |= {event_id(number) for number in numbers}

    def show(self, *refs: str, behind_s: float = 0.0) -> None:
        """What the vision service would say: these people are present. It said so `behind_s` ago."""
        now = self.clock.now()
        ts = rfc3339(now.utc_ns)
        people = [Present(person=Person(ref=ref), since=ts) for ref in refs]
        state = ServiceState(
            boot_ns=now.boot_ns - round(behind_s * 1e9),
            stopping=False,
            info=VisionInfo(
                cameras=[CameraInfo(name="cam0", source="files", simulated=True)], models=[], subjects=1
            ),
            presence=[Presence(v=1, device="lobby-01", camera="cam0", ts=ts, present=people)],
            troubles=[],
        )
        self.board.show(state)
        self.present = refs

    def start_writer(self) -> None:
        """The vision service's stand-in commits from now on."""
        first = WRITER_STRIDE * (len(self._writers) + 1)
        self._writers.append(self.site.writer(first, self._pause_s or 0.05).start())

    def end_writer(self) -> None:
        """kill -9, wherever it is."""
        if self._writers:
            self._writers[-1].end(signal.SIGKILL)

    def committed(self) -> frozenset[str]:
        """The identifiers of all events whose commit returned."""
        lines = (re.findall(r"^(\d+)\n", writer.text(), re.M) for writer in self._writers)
        return frozenset({event_id(int(line)) for found in lines for line in found} | self.own)

    def received(self) -> set[str]:
        """The identifiers that the audit log has seen."""
        fresh = self.ear.messages[self._read :]
        self._read += len(fresh)
        found = (EVENT_ID.search(message.payload) for message in fresh if "/match" in message.topic)
        self._received.update(match[1].decode() for match in found if match)
        return self._received

    def progress(self, events: int = 3, timeout_s: float = PATIENCE_S) -> None:
        """Waits until so many events more have arrived: delivery is going on."""
        have = len(self.received())
        wait_for(
            lambda: len(self.received()) >= have + events, timeout_s, f"events:\n{self.site.forwarder.text()}"
        )

    def restart_broker(self, *, down_s: float = 0.3, kill: bool = False) -> None:
        """SIGTERM, which saves its sessions; or kill -9, and what it had acknowledged and not handed on is excused."""
        subscriptions = self.ear.subscriptions
        if kill:
            self.proxy.closed = True  # nobody publishes to a broker at which the audit log is not back yet
            self.broker.kill()
            time.sleep(0.2)  # what is in the audit log's socket
            self.proxy.cut(reset=True)
            self.excused |= self.proxy.acknowledged - self.received()
        else:
            self.broker.stop()
        time.sleep(down_s)
        self.broker.start()
        self.ear.wait_subscribed(subscriptions + 1, 30)
        self.proxy.closed = False

    @contextmanager
    def locked_outbox(self) -> Iterator[None]:
        """Somebody else is writing all the time."""
        database = sqlite3.connect(self.site.outbox, isolation_level=None, timeout=30)
        try:
            database.execute("BEGIN IMMEDIATE")
            yield
            database.execute("ROLLBACK")
        finally:
            database.close()

    def finish(self, *refs: str, status: bytes = b"online", timeout_s: float = PATIENCE_S) -> Account:
        """Heals, ends the writer, waits until everything has arrived, and asserts every rule."""
        self.proxy.heal()
        self.end_writer()
        wait_for(
            lambda: self.site.depth() == 0, timeout_s, f"the outbox to empty:\n{self.site.forwarder.text()}"
        )
        committed = self.committed()
        assert committed, "nothing was committed"
        wait_for(lambda: committed - self.excused <= self.received(), 15, "the audit log")
        self.show(*(refs or ("p_1a57",)))
        shown_s = time.monotonic()

        def arrived() -> bool:
            nonlocal shown_s
            # As the vision service does: a deaf connection may be noticed only after a silent one counts as lost.
            if time.monotonic() - shown_s > SHOWN_AGAIN_S:
                self.show(*self.present)
                shown_s = time.monotonic()
            return self._shows(status)

        wait_for(arrived, timeout_s, f"presence {self.present} and {status!r}")
        expected = Expected(committed, frozenset(self.excused), self.present, status)
        return check(list(self.ear.messages), expected, [self.clock.boot_id])

    def _shows(self, status: bytes) -> bool:
        presence, statuses = self.ear.on("cam0/presence"), self.ear.on(f"{ROOT}/status")
        quoted = (
            [f'"{ref}"'.encode() in presence[-1].payload for ref in self.present] if presence else [False]
        )
        return all(quoted) and bool(statuses) and statuses[-1].payload == status
