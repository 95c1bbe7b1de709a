# SPDX-License-Identifier: Apache-2.0
"""Porter's processes for system tests: the real forwarder, and a writer that commits events as the vision service does.

Run as a module this file is the writer: `python -m tests.system.services OUTBOX FIRST PAUSE_S`.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from device.adapters.clock import SystemClock
from device.adapters.outbox_sqlite import SqliteOutbox
from device.errors import StorageError
from device.folders import OUTBOX, shared_folder
from device.payloads import Event
from tests.events import make_event
from tests.subscriber import wait_for

ROOT = Path(__file__).parents[2]


class Child:
    """A process of ours whose output goes to a file."""

    def __init__(self, output: Path, *arguments: str) -> None:
        self.output = output
        self._arguments = arguments
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Starts it."""
        with self.output.open("ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *self._arguments], stdout=file, stderr=file, cwd=ROOT
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

    def __init__(self, folder: Path, port: int, *, extra: str = "  tls: false") -> None:
        self.folder = folder
        self.port = port
        self.config = folder / "porter.yaml"
        self.outbox = shared_folder(folder) / OUTBOX
        self.config.write_text(
            f"device:\n  id: lobby-01\n  state_dir: {folder}\n  run_dir: {folder}\n"
            f"events:\n  live_max_age_s: 5\n"
            f"mqtt:\n  host: 127.0.0.1\n  port: {port}\n{extra}\n"
        )
        self.forwarder = Child(folder / "forward.log", "device", "forward", "--config", str(self.config))

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
        return Child(output, "tests.system.services", str(self.outbox), str(first), str(pause_s))

    def __enter__(self) -> Self:
        self.forwarder.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.forwarder.end()


def event_now(clock: SystemClock, number: int) -> Event:
    """An event captured now, in this boot."""
    return make_event(number, boot=clock.boot_id, mono_ms=clock.now().boot_ns // 1_000_000)


def write(path: Path, first: int, pause_s: float) -> None:
    """Commits one, two or three events at a time and prints their numbers after each commit."""
    clock = SystemClock()
    outbox = SqliteOutbox(path)
    number = first
    while True:
        count = 1 + number % 3
        try:
            outbox.append([event_now(clock, number + i) for i in range(count)])
        except StorageError as error:
            print(f"# {error.message}", flush=True)
            continue
        print("\n".join(str(number + i) for i in range(count)), flush=True)
        number += count
        time.sleep(pause_s)


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
