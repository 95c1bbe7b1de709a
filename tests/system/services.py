# SPDX-License-Identifier: Apache-2.0
"""Porter's processes for system tests: the real forwarder, and a writer that commits events as the vision service does.

Run as a module this file is the writer: `python -m tests.system.services OUTBOX FIRST PAUSE_S`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from device.adapters.clock import SystemClock
from device.adapters.outbox_sqlite import SqliteOutbox
from device.errors import StorageError
from device.folders import OUTBOX, shared_folder
from device.payloads import Event, rfc3339
from tests.events import make_event
from tests.subscriber import wait_for

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Surroundings:
    """What a forwarder runs in. program: a module that is `porter`; environment: beside ours; host: the broker's."""

    program: tuple[str, ...] = ("device",)
    environment: Mapping[str, str] = field(default_factory=dict)
    host: str = "127.0.0.1"


PLAIN = Surroundings()


class Child:
    """A process of ours whose output goes to a file. environment: beside that of the tests."""

    def __init__(self, output: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self.output = output
        self._arguments = arguments
        self._environment = os.environ | dict(environment or {})
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Starts it."""
        with self.output.open("ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *self._arguments],
                stdout=file,
                stderr=file,
                cwd=ROOT,
                env=self._environment,
            )
        return self

    def end(self, how: signal.Signals = signal.SIGTERM, timeout_s: float = 15) -> int:
        """Ends it and returns its exit code; harmless where it has ended."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(timeout_s)

    def signal(self, which: signal.Signals) -> None:
        """Sends a signal."""
        assert self.process is not None
        self.process.send_signal(which)

    def wait_log(self, text: str, timeout_s: float = 15) -> None:
        """Waits until its output has `text`."""
        wait_for(lambda: text in self.text(), timeout_s, f"{text!r} in\n{self.text()}")

    def text(self) -> str:
        """Its output so far."""
        return self.output.read_text() if self.output.exists() else ""


class Site:
    """A device's folder and configuration, and its forwarder. extra: further lines of the `mqtt` section."""

    def __init__(
        self, folder: Path, port: int, *, extra: str = "  tls: false", around: Surroundings = PLAIN
    ) -> None:
        self.folder = folder
        self._around = around
        self.port = port
        self.config = folder / "porter.yaml"
        self.outbox = shared_folder(folder) / OUTBOX
        self.config.write_text(
            f"device:\n  id: lobby-01\n  state_dir: {folder}\n  run_dir: {folder}\n"
            f"events:\n  live_max_age_s: 5\n"
            f"mqtt:\n  host: {around.host}\n  port: {port}\n{extra}\n"
        )
        arguments = (*around.program, "forward", "--config", str(self.config))
        self.forwarder = Child(folder / "forward.log", *arguments, environment=around.environment)

    def commit(self, *numbers: int) -> None:
        """Commits events, captured now."""
        outbox = SqliteOutbox(self.outbox)
        outbox.append([event_now(SystemClock(), number) for number in numbers])
        outbox.close()

    def depth(self) -> int:
        """How many events wait."""
        outbox = SqliteOutbox(self.outbox)
        depth = outbox.depth()
        outbox.close()
        return depth

    def writer(self, first: int, pause_s: float) -> Child:
        """A process that commits events numbered from `first` on until it is killed."""
        output = self.folder / f"writer-{first}.log"
        arguments = ("tests.system.services", str(self.outbox), str(first), str(pause_s))
        return Child(output, *arguments, environment=self._around.environment)

    def __enter__(self) -> Self:
        self.forwarder.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.forwarder.end()


def event_now(clock: SystemClock, number: int) -> Event:
    """An event captured now, in this boot, at what the clock says."""
    now = clock.now()
    ts = rfc3339(now.utc_ns)
    return make_event(number, boot=clock.boot_id, mono_ms=now.boot_ns // 1_000_000, ts=ts)


def write(path: Path, first: int, pause_s: float) -> None:
    """Commits one, two or three events at a time and prints their numbers after each commit."""
    clock = SystemClock()
    outbox = SqliteOutbox(path)
    number, pause = first, threading.Event()
    while True:
        count = 1 + number % 3
        try:
            outbox.append([event_now(clock, number + i) for i in range(count)])
        except StorageError as error:
            print(f"# {error.message}", flush=True)
            continue
        print("\n".join(str(number + i) for i in range(count)), flush=True)
        number += count
        pause.wait(pause_s)  # libfaketime breaks time.sleep (see `calendar.py`)


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
