# SPDX-License-Identifier: Apache-2.0
"""The devices of `porter fleet`: one process of them, each with the real forwarder, outbox, bell and connection.

What stands in for the rest: the state board and the wishes are in memory, the sensors say nothing, nobody is at the
door, and one loop commits for all devices of the process as their vision services would. A device is a thread: the
forwarder waits as it does on a device, for its socket and its bell.
"""

from __future__ import annotations

import heapq
import logging
import random
import resource
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from device import __version__
from device.adapters.bell_unix import UnixBell, UnixEar
from device.adapters.broker_mqtt import MqttBroker
from device.adapters.clock import SystemClock
from device.adapters.lamp_sysfs import FakeLamp
from device.adapters.outbox_sqlite import SqliteOutbox
from device.adapters.state_file import MemoryStateBoard
from device.adapters.vitals_linux import FixedVitals
from device.adapters.wish_file import MemoryWishes
from device.announcements import Names
from device.errors import BrokerUnavailable, InputError
from device.folders import BELL, OUTBOX
from device.forwarder import Forwarder
from device.health import HealthReport
from device.measure.synthetic import LIVE_S, synthetic_event
from device.mqtt_messages import Connected, Disconnected
from device.orders import Orders
from device.payloads import CameraInfo, Presence, Reading, ServiceState, VisionInfo, rfc3339
from device.ports import VitalSigns
from device.supervisor import Worker
from device.troubles import Troubles

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection
    from pathlib import Path
    from typing import Literal

    from device.mqtt_messages import BrokerSignal, Message
    from device.tls_files import TlsFiles

CAMERA = "cam0"
SESSION_EXPIRY_S = 3600  # as the forwarder with commands, which is the default
# A thousand forwarders on one machine look ten times less often than one on its own; a commit rings all the same.
IDLE_S = 1.0
FILES_A_DEVICE = 12  # two connections to the outbox, a lock each, socket, bell: 9 measured
SHOWN_AGAIN_S = 5.0
TELL_S = 0.5
LOOK_S = 0.1
SWITCH_S = 0.1
ENDING_S = 30.0
NOTHING = Reading(None, "simulated")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the broker is and how to speak to it. tls None: plain TCP."""

    host: str
    port: int
    base: str
    tls: TlsFiles | None = None
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    username: str = ""
    password: str = field(default="", repr=False)

    def connection(self, client_id: str, ear: UnixEar | None = None) -> MqttBroker:
        """The real adapter. Raises InputError where a TLS file is wrong."""
        return MqttBroker(
            self.host,
            self.port,
            client_id=client_id,
            tls=self.tls,
            protocol=self.protocol,
            username=self.username,
            password=self.password,
            session_expiry_s=SESSION_EXPIRY_S,
            ear=ear,
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """What one process does. rate_hz: events a second of one device."""

    endpoint: Endpoint
    folder: Path
    names: tuple[str, ...]
    rate_hz: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Up:
    """So many devices are connected."""

    count: int


@dataclass(frozen=True, slots=True)
class Committed:
    """Identifier and time.monotonic() before the commit; last: there is nothing to come."""

    events: tuple[tuple[str, float], ...]
    last: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """The process's account: every connection's time, what still waits, processor time while committing, memory."""

    connects: tuple[float, ...]
    waiting: tuple[str, ...]
    refused: int
    cpu_s: float
    committing_s: float
    rss_mb: float
    failures: tuple[str, ...]
    disconnects: Counter[str]


class Noted:
    """A broker connection that notes when it was accepted."""

    def __init__(self, broker: MqttBroker) -> None:
        self.connects: list[float] = []
        self.failures: Counter[str] = Counter()
        self._broker = broker
        self.publish = broker.publish
        self.subscribe = broker.subscribe
        self.disconnect = broker.disconnect

    def connect(self, will: Message | None, will_delay_s: int) -> None:
        """As the adapter does."""
        try:
            self._broker.connect(will, will_delay_s)
        except BrokerUnavailable as error:
            self.failures[error.message] += 1
            raise

    def abort(self) -> None:
        """As the adapter does; an answer that did not come in time, or the end."""
        self.failures["aborted: no acknowledgement in time"] += 1
        self._broker.abort()

    def poll(self, timeout_s: float) -> Sequence[BrokerSignal]:
        """As the adapter does."""
        signals = self._broker.poll(timeout_s)
        self.connects += [time.monotonic() for signal in signals if isinstance(signal, Connected)]
        self.failures.update(signal.reason for signal in signals if isinstance(signal, Disconnected))
        return signals


class FleetDevice:
    """One device: what its forwarder has, and the outbox as its vision service has it."""

    def __init__(self, plan: Plan, name: str, clock: SystemClock) -> None:
        folder = plan.folder / name
        folder.mkdir()
        self._name, self._clock = name, clock
        self.outbox = SqliteOutbox(folder / OUTBOX, bell=UnixBell(folder / BELL))
        self.ear = UnixEar(folder / BELL)
        self.broker = Noted(plan.endpoint.connection(f"porter-{name}", self.ear))
        self._board, troubles = MemoryStateBoard(), Troubles(clock)
        self._state = quiet_door(name)
        self.show()
        names = Names(plan.endpoint.base, name, (CAMERA,), __version__, clock.boot_id)
        delivering = SqliteOutbox(folder / OUTBOX)
        health = HealthReport(
            names,
            board=self._board,
            outbox=delivering,
            vitals=FixedVitals(VitalSigns(NOTHING, NOTHING, None, None, None, None)),
            troubles=troubles,
            counters=lambda: self.forwarder.delivery.counters,
            connects=lambda: self.forwarder.connects,
        )
        orders = Orders(
            names,
            board=self._board,
            wishes=MemoryWishes(),
            lamp=FakeLamp(),
            republish=self._republish,
            restart=lambda: None,
        )
        self.forwarder = Forwarder(
            names=names,
            live_max_age_s=LIVE_S,
            outbox=delivering,
            board=self._board,
            broker=self.broker,
            clock=clock,
            troubles=troubles,
            uniform=random.uniform,
            correspondents=[health, orders],
            idle_s=IDLE_S,
        )
        self.worker = Worker(name, self.forwarder.step, cleanup=self.forwarder.close)

    def _republish(self) -> None:
        self.forwarder.republish()

    def show(self) -> None:
        """The vision service lives."""
        now = self._clock.now()
        self._board.show(msgspec.structs.replace(self._state, boot_ns=now.boot_ns))

    def commit(self) -> tuple[str, float]:
        """Commits one event; its identifier, and when that began."""
        began = time.monotonic()
        (event,) = self.outbox.append([synthetic_event(self._clock, self._name, CAMERA)])
        return event.id, began

    def close(self) -> None:
        """After the worker's end."""
        self.outbox.close()
        self.ear.close()


def quiet_door(name: str) -> ServiceState:
    """What a vision service shows where nobody is."""
    clock = SystemClock()
    return ServiceState(
        boot_ns=0,
        stopping=False,
        info=VisionInfo([CameraInfo(CAMERA, "files", simulated=True)], [], 0),
        presence=[Presence(1, name, CAMERA, rfc3339(clock.now().utc_ns), [])],
        troubles=[],
    )


def allow_files(count: int) -> None:
    """Raises this process's limit on open files where it is lower. Raises InputError where it may not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= count:
        return
    if hard != resource.RLIM_INFINITY and hard < count:
        raise InputError(
            f"ulimit -n: {count} open files are needed, this user may have {hard}",
            hint="more --processes need fewer each; or raise it: ulimit -Hn as root, LimitNOFILE= in a unit",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def serve(plan: Plan, pipe: Connection) -> None:
    """The process: builds its devices, waits for "go", commits, waits for "stop", gives its account."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends us
    logging.getLogger("porter").setLevel(logging.CRITICAL)
    allow_files(FILES_A_DEVICE * len(plan.names) + 64)
    # Threads that wait for Python's lock ask for it every 5 ms: hundreds of them cost more than what they wait for.
    sys.setswitchinterval(SWITCH_S)
    clock = SystemClock()
    devices = [FleetDevice(plan, name, clock) for name in plan.names]
    told = -1
    for device in devices:
        device.worker.start()
    while not pipe.poll(LOOK_S):
        up = sum(device.forwarder.connected for device in devices)
        if up != told:
            pipe.send(Up(told := up))
    pipe.recv()
    began, before = time.monotonic(), time.process_time()
    commit_all(devices, plan, pipe.send)
    spent = (time.process_time() - before, time.monotonic() - began)
    while not pipe.poll(SHOWN_AGAIN_S):
        for device in devices:
            device.show()
    pipe.send(end(devices, *spent))


def commit_all(devices: Sequence[FleetDevice], plan: Plan, tell: Callable[[Committed], None]) -> None:
    """Each device's events at its own even pace, from a moment of its own; says what was committed meanwhile."""
    began = time.monotonic()
    pause = 1 / plan.rate_hz
    due = [(began + random.uniform(0, pause), number) for number in range(len(devices))]  # noqa: S311  no secret
    heapq.heapify(due)
    done: list[tuple[str, float]] = []
    told = shown = began
    while due[0][0] < began + plan.seconds:
        at, number = due[0]
        time.sleep(max(0.0, min(at - time.monotonic(), TELL_S)))
        now = time.monotonic()
        if now >= at:
            done.append(devices[number].commit())
            heapq.heapreplace(due, (at + pause, number))
        if now - told > TELL_S:
            tell(Committed(tuple(done)))
            told = now
            done.clear()
        if now - shown > SHOWN_AGAIN_S:
            shown = now
            for device in devices:
                device.show()
    tell(Committed(tuple(done), last=True))


def end(devices: Sequence[FleetDevice], cpu_s: float, committing_s: float) -> Ended:
    """Stops all of them, each with its goodbye."""
    rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    for device in devices:
        device.worker.stop()
    for device in devices:
        device.worker.join(ENDING_S)
    found = Ended(
        connects=tuple(at for device in devices for at in device.broker.connects),
        waiting=tuple(event.id for device in devices for event in device.outbox.peek(1000)),
        refused=sum(device.forwarder.delivery.counters.refused for device in devices),
        cpu_s=cpu_s,
        committing_s=committing_s,
        rss_mb=rss_mb,
        failures=tuple(repr(device.worker.failure) for device in devices if device.worker.failure),
        disconnects=sum((device.broker.failures for device in devices), Counter()),
    )
    for device in devices:
        device.close()
    return found
