# SPDX-License-Identifier: Apache-2.0
"""A fleet from its start to its account: the processes of devices, the checking subscriber, the broker's restart."""

from __future__ import annotations

import multiprocessing
import secrets
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from device.contract import judge
from device.errors import BrokerUnavailable, PorterError
from device.listening import Listener
from device.measure.children import cpu_s, memory_mb
from device.measure.fleet_account import Heard, Outage, events_account, return_account
from device.measure.fleet_devices import Committed, Ended, Plan, Up, serve
from device.measure.progress import Progress
from device.mqtt_messages import Connected, Disconnected, Message, Received, SubscriptionRefused
from device.payloads import Event

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess
    from pathlib import Path

    from device.adapters.broker_mosquitto import Mosquitto
    from device.measure.fleet_devices import Endpoint

STARTING_S = 300.0
PATIENCE_S = 90.0  # more than the longest pause between two tries to connect
DOWN_S = 1.0
POLL_S = 0.05
RETRY_S = 0.2
QUIET_S = 2.0


@dataclass(frozen=True, slots=True)
class Orders:
    """What is asked for. broker_pid: whose processor time and memory is measured, where there is one to measure."""

    devices: int
    processes: int
    rate_hz: float
    seconds: float
    broker_pid: int | None = None


class Checker:
    """A subscriber with a session that outlives its connection, so that a restart hides nothing from it."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.heard = Heard()
        self.listener = Listener()
        self.problems: list[str] = []
        self.listens = False
        self._base = endpoint.base
        self._broker = endpoint.connection(f"porter-fleet-{secrets.token_hex(4)}")
        self._retry = 0.0
        self._up = False

    def turn(self, timeout_s: float) -> int:
        """Takes what came; how many events were new. Raises BrokerUnavailable where it may not listen."""
        if not self._up and time.monotonic() >= self._retry:
            self._connect()
        new = 0
        for signal in self._broker.poll(timeout_s):
            if isinstance(signal, Connected):
                self._broker.subscribe([f"{self._base}/v1/+/+/match/#"])
                self.listens = True
            elif isinstance(signal, Disconnected):
                self._up, self._retry = False, time.monotonic() + RETRY_S
            elif isinstance(signal, SubscriptionRefused):
                raise BrokerUnavailable(f"the broker does not let this user hear {signal.topic_filter}")
            elif isinstance(signal, Received):
                new += self._take(signal)
        return new

    def close(self) -> None:
        """Says goodbye; its session ends an hour later."""
        self._broker.disconnect()

    def _connect(self) -> None:
        try:
            self._broker.connect(None, 0)
            self._up = True
        except BrokerUnavailable:
            if not self.listens:
                raise
            self._retry = time.monotonic() + RETRY_S

    def _take(self, message: Received) -> int:
        now = time.monotonic()
        judged = judge(self._base, message.topic, message.payload, retained=message.retained)
        self.problems += [f"{message.topic}: {problem}" for problem in judged.problems]
        self.listener.hear(message, judged)
        event = judged.body
        if not isinstance(event, Event) or event.id in self.heard.at:
            return 0
        self.heard.at[event.id] = now
        if event.delivery == "late":
            self.heard.late.add(event.id)
        return 1


@dataclass(slots=True)
class Group:
    """One process of devices."""

    process: BaseProcess
    pipe: Connection
    up: int = 0
    finished: bool = False
    ended: Ended | None = None


@dataclass(slots=True)
class Usage:
    """Processor time of a broker over its restarts, and its largest resident set."""

    pid: int | None
    began_s: float = 0.0
    before_s: float = 0.0
    rss_mb: float = 0.0

    def begin(self, pid: int | None) -> None:
        """A process of the broker begins, or is looked at first."""
        self.pid = pid
        self.began_s = cpu_s(pid) if pid else 0.0

    def end(self) -> None:
        """It is about to end."""
        if self.pid:
            self.before_s += cpu_s(self.pid) - self.began_s
            self.rss_mb = max(self.rss_mb, memory_mb(self.pid, "VmHWM"))


@dataclass(slots=True)
class Fleet:
    """All of it. `broker` is None where somebody else's is used: nothing can be restarted then."""

    endpoint: Endpoint
    orders: Orders
    folder: Path
    broker: Mosquitto | None = None
    committed: dict[str, float] = field(default_factory=dict)
    groups: list[Group] = field(default_factory=list)
    outage: Outage | None = None

    def run(self, *, restart: bool) -> dict[str, Any]:
        """The report. Raises PorterError where the fleet does not come up or a part of it fails."""
        checker = Checker(self.endpoint)
        usage = Usage(None)
        try:
            while not checker.listens:
                checker.turn(POLL_S)
            began = time.monotonic()
            self._start(checker)
            up_s = time.monotonic() - began
            usage.begin(self.broker.pid if self.broker else self.orders.broker_pid)
            began = time.monotonic()
            for group in self.groups:
                group.pipe.send("go")
            self._events(checker, usage, began, restart=restart)
            usage.end()
            took_s = time.monotonic() - began
            ended = self._end(checker)
        finally:
            checker.close()
            for group in self.groups:
                if group.process.is_alive():
                    group.process.terminate()
                group.process.join()
        return self._report(checker, ended, usage, up_s, took_s)

    def _start(self, checker: Checker) -> None:
        context = multiprocessing.get_context("spawn")
        names = [f"fleet-{number:05d}" for number in range(self.orders.devices)]
        for number in range(self.orders.processes):
            ours, theirs = context.Pipe()
            plan = Plan(
                self.endpoint,
                self.folder,
                tuple(names[number :: self.orders.processes]),
                self.orders.rate_hz,
                self.orders.seconds,
            )
            process = context.Process(target=serve, args=(plan, theirs), daemon=True)
            process.start()
            theirs.close()
            self.groups.append(Group(process, ours))
        deadline = time.monotonic() + STARTING_S
        with Progress("devices connected", self.orders.devices) as progress:
            shown = 0
            while shown < self.orders.devices:
                checker.turn(POLL_S)
                self._hear_groups()
                up = sum(group.up for group in self.groups)
                for _ in range(up - shown):
                    progress.step()
                shown = max(up, shown)
                if time.monotonic() > deadline:
                    raise PorterError(
                        f"only {shown} of {self.orders.devices} devices are connected after {STARTING_S:g} s",
                        hint="may the broker take so many? max_connections, ulimit -n, its log",
                    )

    def _events(self, checker: Checker, usage: Usage, began: float, *, restart: bool) -> None:
        """Until all that was committed has arrived, or nothing has for PATIENCE_S."""
        expected = round(self.orders.devices * self.orders.rate_hz * self.orders.seconds)
        newest = time.monotonic()
        with Progress("events", expected) as progress:
            while True:
                for _ in range(checker.turn(POLL_S)):
                    newest = time.monotonic()
                    progress.step()
                self._hear_groups()
                now = time.monotonic()
                if restart and self.outage is None and now - began > self.orders.seconds / 2:
                    self._restart(usage)
                if all(group.finished for group in self.groups):
                    if self.committed.keys() <= checker.heard.at.keys():
                        return
                    if now - newest > PATIENCE_S:
                        return

    def _restart(self, usage: Usage) -> None:
        if self.broker is None:
            raise PorterError("there is no broker of ours to restart")
        usage.end()
        stopped = time.monotonic()
        self.broker.stop()
        time.sleep(DOWN_S)
        self.broker.start()
        self.outage = Outage(stopped, time.monotonic())
        usage.begin(self.broker.pid)
        usage.began_s = 0.0  # all that the new process has used is its

    def _hear_groups(self) -> None:
        for group in self.groups:
            while group.ended is None and group.pipe.poll():
                self._take(group)
            if group.ended is None and not group.process.is_alive() and not group.pipe.poll():
                raise PorterError(f"a process of devices ended with {group.process.exitcode}; see above")

    def _take(self, group: Group) -> None:
        try:
            said = group.pipe.recv()
        except (EOFError, OSError):
            raise PorterError("a process of devices ended; see above") from None
        if isinstance(said, Up):
            group.up = said.count
        elif isinstance(said, Committed):
            self.committed.update(said.events)
            group.finished = said.last
        elif isinstance(said, Ended):
            group.ended = said

    def _end(self, checker: Checker) -> list[Ended]:
        """Every device says goodbye; what it still had to say is heard."""
        for group in self.groups:
            group.pipe.send("stop")
        deadline = time.monotonic() + STARTING_S
        while any(group.ended is None for group in self.groups) and time.monotonic() < deadline:
            checker.turn(POLL_S)
            self._hear_groups()
        ended = [group.ended for group in self.groups if group.ended is not None]
        if len(ended) < len(self.groups):
            raise PorterError(f"{len(self.groups) - len(ended)} processes of devices do not end")
        failures = [failure for one in ended for failure in one.failures]
        if failures:
            raise PorterError(f"{len(failures)} forwarders failed, the first with {failures[0]}")
        return ended

    def _report(
        self, checker: Checker, ended: list[Ended], usage: Usage, up_s: float, took_s: float
    ) -> dict[str, Any]:
        connects = [at for one in ended for at in one.connects]
        waiting = [name for one in ended for name in one.waiting]
        disturbed = (
            None if self.outage is None else (self.outage.stopped, max([*connects, self.outage.started]))
        )
        report = events_account(self.committed, checker.heard, waiting, disturbed)
        report |= {
            "devices": self.orders.devices,
            "processes": self.orders.processes,
            "rate_hz": self.orders.rate_hz,
            "seconds": self.orders.seconds,
            "all_connected_s": up_s,
            "took_s": took_s,
            "repeats": checker.listener.repeats,
            "gaps": checker.listener.gaps,
            "refused": sum(one.refused for one in ended),
            "disconnects": dict(sum((one.disconnects for one in ended), Counter()).most_common()),
            "problems": checker.problems[:20],
            "committed_hz": len(self.committed) / max(one.committing_s for one in ended),
            "device_cpu_share": sum(one.cpu_s / one.committing_s for one in ended) / self.orders.devices,
            "device_rss_mb": sum(one.rss_mb for one in ended) / self.orders.devices,
            "return": return_account(connects, self.outage, self.orders.devices) if self.outage else None,
            "broker": None,
        }
        if usage.pid:
            share = usage.before_s / took_s
            report["broker"] = {"cpu_s": usage.before_s, "cpu_share": share, "rss_mb": usage.rss_mb}
        return report


def sweep(endpoint: Endpoint) -> int:
    """Takes away all that the fleet left retained; how many messages. For brokers that go on after it."""
    broker = endpoint.connection(f"porter-fleet-sweep-{secrets.token_hex(4)}")
    broker.connect(None, 0)
    found: set[str] = set()
    quiet = time.monotonic() + QUIET_S
    while time.monotonic() < quiet:
        for signal in broker.poll(POLL_S):
            if isinstance(signal, Connected):
                broker.subscribe([f"{endpoint.base}/v1/#"])
            elif isinstance(signal, Received) and signal.retained and signal.topic not in found:
                found.add(signal.topic)
                broker.publish(Message(signal.topic, b"", retain=True))
                quiet = time.monotonic() + QUIET_S
    broker.disconnect()
    return len(found)
