# SPDX-License-Identifier: Apache-2.0
"""Measure the way of an event: commit to subscriber, memory, reconnecting, what is written, what idling costs.

Needs mosquitto. The real `porter forward` runs as a process, with a real mosquitto on loopback; this process commits
as the vision service does, with fsync. A subscriber here takes the time: for QoS 1 the broker has then acknowledged or
is about to, so commit to PUBACK is no longer than what is shown. Writes delivery.json into `--out`.
"""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from device.adapters.bell_unix import UnixBell
from device.adapters.broker_mosquitto import Mosquitto
from device.adapters.clock import SystemClock
from device.adapters.outbox_sqlite import SqliteOutbox
from device.errors import PorterError
from device.folders import BELL, FORWARD, OUTBOX, shared_folder
from device.measure.children import Child, child, cpu_s, memory_mb
from device.measure.fleet_account import percentiles
from device.measure.progress import Progress
from device.measure.report import machine, positive, table, write_json
from device.measure.synthetic import synthetic_event

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

RATE_HZ = 20
QUEUE = 5_000
RESTARTS = 5
DOWN_S = 1.0
SETTLE_S = 3.0  # until all that is sent on connecting is acknowledged
IDLE_S = 20.0
EVENTS_A_DAY = 500
PATIENCE_S = 60.0
LOOK_S = 0.01
CONFIG = """\
device: {{id: bench, state_dir: {folder}, run_dir: {folder}}}
mqtt: {{host: {host}, port: {port}, tls: false}}
home_assistant: {{discovery: false}}
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument(
        "--seconds",
        type=positive,
        default=60,
        help=f"so long are {RATE_HZ} events a second committed: %(default)s",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("out"), help="folder of what is written: %(default)s"
    )


def run(args: argparse.Namespace) -> int:
    """Measures, prints, writes."""
    with tempfile.TemporaryDirectory(prefix="porter-bench-") as folder:
        result = measure_delivery(Path(folder), args.seconds)
    print_delivery(result)
    write_json(args.out / "delivery.json", {**result, "about": machine()})
    print(f"\nwritten: {args.out / 'delivery.json'}")
    return 0


class Arrivals:
    """A subscriber on a thread of its own: when each event arrived first, by its id (time.monotonic())."""

    def __init__(self, broker: Mosquitto) -> None:
        self.at: dict[str, float] = {}
        self.repeats = 0
        self._listens = False
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_connect = self._connected
        self._client.on_subscribe = self._subscribed
        self._client.on_message = self._arrived
        self._client.reconnect_delay_set(1, 1)
        self._client.connect(broker.host, broker.port)
        self._client.loop_start()
        wait_until(lambda: self._listens, "the subscription")

    def wait_for(self, count: int) -> None:
        """Until so many have arrived. Raises PorterError."""
        wait_until(lambda: len(self.at) >= count, f"event {count}")

    def close(self) -> None:
        """Goes away."""
        self._client.disconnect()
        self._client.loop_stop()

    def _connected(self, *_: object) -> None:
        self._client.subscribe("porter/v1/+/+/match/#", qos=1)

    def _subscribed(self, *_: object) -> None:
        self._listens = True

    def _arrived(self, _client: object, _data: object, message: Any) -> None:
        now = time.monotonic()
        name = msgspec.json.decode(message.payload)["id"]
        if name in self.at:
            self.repeats += 1
        else:
            self.at[name] = now


class Device:
    """A device's folders, and the outbox as its vision service has it. bell: whether a commit rings."""

    def __init__(self, folder: Path, broker: Mosquitto, *, bell: bool = True) -> None:
        folder.mkdir()
        self.config = folder / "porter.yaml"
        self.config.write_text(
            CONFIG.format(folder=folder.resolve(), host=broker.host, port=broker.port), encoding="utf-8"
        )
        if not bell:  # a file in the folder's place: nothing can be made in it
            (folder / FORWARD).write_text("")
        self.clock = SystemClock()
        self.outbox = SqliteOutbox(shared_folder(folder) / OUTBOX, bell=UnixBell(folder / FORWARD / BELL))

    def commit(self, count: int = 1) -> list[str]:
        """Commits events in one transaction; their ids."""
        return [event.id for event in self.outbox.append([synthetic_event(self.clock) for _ in range(count)])]


def measure_delivery(folder: Path, seconds: int) -> dict[str, Any]:
    """Everything, in `folder`, which is empty. Raises InputError without mosquitto, PorterError where a part fails."""
    with Mosquitto(folder / "broker") as broker:
        result = {"latency_ms": latency(folder / "latency", broker, seconds)}
        result |= queue_and_restarts(folder / "queue", broker)
        result["idle_cpu"] = idle(folder, broker)
    return result


def latency(folder: Path, broker: Mosquitto, seconds: int) -> dict[str, float] | None:
    """Commit to subscriber in ms: p50, p95, p99, and the events counted."""
    device, committed = Device(folder, broker), dict[str, float]()
    with connected(device), arrivals(broker) as arrived:
        total = RATE_HZ * seconds
        with Progress(f"events, {RATE_HZ} a second", total) as progress:
            began = time.monotonic()
            for number in range(total):
                time.sleep(max(0.0, began + number / RATE_HZ - time.monotonic()))
                (name,) = device.commit()
                committed[name] = time.monotonic()
                progress.step()
        arrived.wait_for(total)
        ms = [1000 * (arrived.at[name] - at) for name, at in committed.items()]
    device.outbox.close()
    return percentiles(ms)


def queue_and_restarts(folder: Path, broker: Mosquitto) -> dict[str, Any]:
    """The forwarder's memory after a long queue, what one event writes, and how soon it is back after a restart."""
    device = Device(folder, broker)
    with connected(device) as forwarder, arrivals(broker) as arrived:
        pid = forwarder.process.pid
        written = written_bytes(os.getpid()) + written_bytes(pid)
        with Progress("events, one commit each", EVENTS_A_DAY) as progress:
            for number in range(1, EVENTS_A_DAY + 1):
                device.commit()
                arrived.wait_for(number)
                progress.step()
        wait_until(lambda: device.outbox.depth() == 0, "the last acknowledgement")
        written = written_bytes(os.getpid()) + written_bytes(pid) - written
        with Progress("events, queued", QUEUE // 100) as progress:
            for _ in range(QUEUE // 100):
                device.commit(100)
                progress.step()
        arrived.wait_for(QUEUE + EVENTS_A_DAY)
        rss = memory_mb(pid, "VmRSS")
        back = []
        with Progress("broker restarts", RESTARTS) as progress:
            for _ in range(RESTARTS):
                time.sleep(SETTLE_S)  # who is thrown out as he comes in waits longer, and should
                broker.stop()
                time.sleep(DOWN_S)
                broker.start()
                began = time.monotonic() - forwarder.started
                back.append(forwarder.wait_for("connected") - began)
                progress.step()
    device.outbox.close()
    return {
        "rss_mb_after_5000": rss,
        "reconnect_s": back,
        "written_kb_an_event": written / EVENTS_A_DAY / 1000 if written else None,
        "written_mb_a_day": written / 1e6 if written else None,
        "repeats": arrived.repeats,
    }


def idle(folder: Path, broker: Mosquitto) -> dict[str, float]:
    """CPU share of a forwarder that has nothing to do, with the bell, and beside it one that must look instead."""
    devices = {
        "bell": Device(folder / "bell", broker),
        "looking": Device(folder / "looking", broker, bell=False),
    }
    with connected(devices["bell"]) as bell, connected(devices["looking"]) as looking:
        pids = {"bell": bell.process.pid, "looking": looking.process.pid}
        time.sleep(SETTLE_S)
        before = {name: cpu_s(pid) for name, pid in pids.items()}
        with Progress("idling", round(IDLE_S)) as progress:
            for _ in range(round(IDLE_S)):
                time.sleep(1)
                progress.step()
        shares = {name: (cpu_s(pid) - before[name]) / IDLE_S for name, pid in pids.items()}
    for device in devices.values():
        device.outbox.close()
    return shares


@contextmanager
def connected(device: Device) -> Iterator[Child]:
    """The forwarder's process, once it is connected; ended at the end."""
    with child("forward", device.config) as forwarder:
        forwarder.wait_for("connected")
        yield forwarder


@contextmanager
def arrivals(broker: Mosquitto) -> Iterator[Arrivals]:
    """A subscriber that goes away at the end."""
    arrived = Arrivals(broker)
    try:
        yield arrived
    finally:
        arrived.close()


def wait_until(done: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """Looks until `done()`. Raises PorterError after `patience_s`."""
    deadline = time.monotonic() + patience_s
    while not done():
        if time.monotonic() > deadline:
            raise PorterError(f"waited {patience_s:g} s in vain for {what}")
        time.sleep(LOOK_S)


def written_bytes(pid: int) -> int:
    """What a process has caused to be written to the medium (/proc/PID/io; 0 on a file system in memory)."""
    lines = Path(f"/proc/{pid}/io").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))


def print_delivery(result: dict[str, Any]) -> None:
    """The figures that are watched, beside what they should be."""
    ms, cpu = result["latency_ms"], result["idle_cpu"]
    kb, mb = result["written_kb_an_event"], result["written_mb_a_day"]
    rows = [
        ("commit to subscriber, p50", f"{ms['p50']:.1f} ms", ""),
        ("commit to subscriber, p95", f"{ms['p95']:.1f} ms", ""),
        ("commit to subscriber, p99", f"{ms['p99']:.1f} ms", "15 ms"),
        ("forwarder's memory after 5,000 events", f"{result['rss_mb_after_5000']:.1f} MB", "40 MB"),
        ("back after a broker restart, longest", f"{max(result['reconnect_s']):.2f} s", "5 s"),
        ("written an event", f"{kb:.1f} kB" if kb else "a file system in memory", ""),
        (
            f"written a day, {EVENTS_A_DAY} events",
            f"{mb:.1f} MB" if mb else "a file system in memory",
            "20 MB",
        ),
        ("CPU of an idle forwarder", f"{100 * cpu['bell']:.1f} %", ""),
        ("the same without the bell", f"{100 * cpu['looking']:.1f} %", ""),
    ]
    print()
    print(table(("delivery", "measured", "at most"), rows))
