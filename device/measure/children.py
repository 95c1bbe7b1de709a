# SPDX-License-Identifier: Apache-2.0
"""Porter's services as child processes: started, read, measured, ended."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from device.errors import PorterError
from device.supervisor import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE_S = 60.0
POLL_S = 0.2


class Child:
    """`porter VERB` in a process of its own; its log lines arrive in a queue."""

    def __init__(self, verb: str, config: Path) -> None:
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "device", verb, "--config", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: SimpleQueue[tuple[float, str]] = SimpleQueue()
        self._tail: list[str] = []
        self._reader = Worker(f"log of {verb}", self._read)
        self._reader.start()

    def wait_for(self, event: str) -> float:
        """Seconds from start to the log line of this event. Raises PorterError where it does not come."""
        deadline = time.monotonic() + PATIENCE_S
        while (left_s := deadline - time.monotonic()) > 0:
            try:
                at, line = self._lines.get(timeout=min(left_s, POLL_S))
            except Empty:
                if self.process.poll() is not None:
                    break
                continue
            self._tail = [*self._tail[-4:], line]
            if re.search(rf"\b{event}\b", line):
                return at - self.started
        log = " / ".join(self._tail) or "nothing"
        raise PorterError(f"the service under measurement never said {event}; its log ends with: {log}")

    def stop(self) -> None:
        """Ends it as systemd would."""
        self.process.terminate()
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.stop()
        self._reader.join(PATIENCE_S)
        if self.process.stderr is not None:
            self.process.stderr.close()

    def _read(self) -> None:
        line = self.process.stderr.readline() if self.process.stderr is not None else ""
        if line:
            self._lines.put((time.monotonic(), line.strip()))
        else:
            self._reader.stop()


def memory_mb(pid: int, field: str) -> float:
    """VmRSS, or VmHWM (the peak of it), of /proc/PID/status in MB of 10^6 bytes. Raises PorterError: it has ended."""
    path = Path(f"/proc/{pid}/status")
    found = re.search(rf"^{field}:\s+(\d+) kB$", path.read_text(encoding="ascii"), re.MULTILINE)
    if found is None:
        raise PorterError(f"{path} has no {field}: the process has ended")
    return int(found[1]) * 1024 / 1e6


def cpu_s(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def child(verb: str, config: Path) -> Iterator[Child]:
    """A service that is stopped at the end, whatever happens."""
    running = Child(verb, config)
    try:
        yield running
    finally:
        running.stop()
