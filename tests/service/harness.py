# SPDX-License-Identifier: Apache-2.0
"""One simulated door in a folder, and its vision service as a real child process.

The service is started as systemd would start it: with a configuration file and a notification socket. Every wait has
a deadline, ends at once when the service does, and fails with the end of its log. `ServiceDoor` is a context manager:
whatever happens in a test, nothing is left running.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Self

import pytest
import yaml

from device.adapters.control_client import ControlClient
from device.adapters.outbox_sqlite import SqliteOutbox
from device.adapters.state_file import FileStateBoard
from device.control import SOCKET_NAME, ServiceStatus, StatusRequest
from device.folders import BOARD, OUTBOX, SHARED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from device.payloads import Event, ServiceState

PATIENCE_S = 30.0  # for a busy machine; nothing here takes more than a few seconds
POLL_S = 0.05
# Ctrl-C and a hang-up end what is started so, also where the shell had the tests ignore them (`&`, nohup).
HEEDING = ("env", "--default-signal=INT,HUP")

POLICY = "I agree that this door knows my face until I say otherwise.\n"


class Command:
    """A command that runs in the background, with what it has printed so far."""

    def __init__(self, command: Sequence[str], output: Path) -> None:
        self._output = output
        with output.open("wb") as file:
            self.process = subprocess.Popen(
                [*HEEDING, *command], stdin=subprocess.DEVNULL, stdout=file, stderr=file
            )

    def output(self) -> str:
        """Both its streams."""
        return self._output.read_text()

    def ended(self) -> int:
        """Waits for its end; the exit code."""
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            pytest.fail(f"the command does not end: {self.output()}")


class ServiceDoor:
    """The folders, the configuration and the process. `scenes` holds one folder of pictures for each scene."""

    def __init__(self, folder: Path, scenes: Path) -> None:
        self.folder = folder
        self.state_dir = folder / "state"
        self.run_dir = folder / "run"
        self.gallery = self.state_dir / "gallery.sqlite"
        self.outbox = self.state_dir / SHARED / OUTBOX
        self.board = self.run_dir / SHARED / BOARD
        self.socket = self.run_dir / SOCKET_NAME
        self.camera = folder / "camera"
        self.config_file = folder / "porter.yaml"
        self.log_file = folder / "vision.log"
        self.notices: list[str] = []
        self.options: tuple[str, ...] = ()  # more of them, for `porter vision`
        self._scenes = scenes
        self._process: subprocess.Popen[bytes] | None = None
        self.temporary = folder / "tmp"
        for path in (self.state_dir, self.run_dir, self.temporary):
            path.mkdir()
        self.policy = folder / "policy.md"
        self.policy.write_text(POLICY)
        self._ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._ear.bind(os.fspath(folder / "notify"))
        self._ear.setblocking(False)
        self.show("nobody")
        self.configure()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._ear.close()

    def configure(self, **sections: dict[str, Any]) -> None:
        """Writes the configuration: quick decisions, and these options beside or instead of them."""
        whole: dict[str, dict[str, Any]] = {
            "device": {"id": "test-door", "state_dir": str(self.state_dir), "run_dir": str(self.run_dir)},
            "camera": {
                "source": "files",
                "path": str(self.camera),
                "width_px": 640,
                "height_px": 480,
                "rate_hz": 20,
                "stall_after_s": 0.5,
            },
            "inference": {"threads": 1},
            "recognition": {"track_gap_s": 0.3, "visit_end_s": 0.5},
            "enrolment": {"references": 5, "pose_wait_s": 0},
        }
        for name, options in sections.items():
            whole[name] = whole.get(name, {}) | options
        self.config_file.write_text(yaml.safe_dump(whole))

    def show(self, scene: str) -> None:
        """From its next picture on, the simulated camera sees this scene."""
        fresh = self.folder / "camera.new"
        fresh.symlink_to(self._scenes / scene)
        fresh.replace(self.camera)

    def start(self) -> None:
        """Starts the service and waits until it says that it is ready."""
        self.notices.clear()
        self._spawn()
        self.wait("READY=1", lambda: "READY=1" in self.heard())

    def fails(self) -> tuple[int, str]:
        """Starts a service that cannot run; returns its exit code and what it wrote."""
        process = self._spawn()
        try:
            code = process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            pytest.fail(f"it runs, though it should not:\n{self.log()}")
        return code, self.log()

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        self.signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def kill(self) -> None:
        """SIGKILL: power cut, as far as a process can tell."""
        self.process.kill()
        self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the service."""
        self.process.send_signal(number)

    def reload(self) -> None:
        """SIGHUP; waits until the service has done with it, be it taken or refused."""
        self.heard()
        done = self.notices.count("READY=1") + 1
        self.signal(signal.SIGHUP)
        self.wait("the reload", lambda: self.heard().count("READY=1") == done)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The service."""
        assert self._process is not None, "not started"
        return self._process

    def heard(self) -> list[str]:
        """All that the service told its manager since it was started, a state a line."""
        while True:
            try:
                self.notices += self._ear.recv(4096).decode().splitlines()
            except BlockingIOError:
                return self.notices

    def wait(self, what: str, happened: Callable[[], object], within_s: float = PATIENCE_S) -> None:
        """Waits until `happened()` is true; fails where the service ends before, or the time runs out."""
        deadline = time.monotonic() + within_s
        while not happened():
            if self.process.poll() is not None:
                pytest.fail(
                    f"waiting for {what}: the service ended with {self.process.returncode}\n{self.log()}"
                )
            if time.monotonic() > deadline:
                pytest.fail(f"waited {within_s:.0f} s in vain for {what}\n{self.state()}\n{self.log()}")
            time.sleep(POLL_S)

    def log(self) -> str:
        """What the service has logged since its start."""
        return self.log_file.read_text(errors="replace")

    def state(self) -> ServiceState | None:
        """The state board, read as the forwarder reads it."""
        return FileStateBoard(self.board).read()

    def alerts(self) -> dict[str, str]:
        """Code and text of the alerts that the state board shows, without the clock's: machines differ there."""
        state = self.state()
        found = {} if state is None else {trouble.code: trouble.text for trouble in state.troubles}
        found.pop("clock_unsynced", None)
        return found

    def present(self) -> list[str]:
        """The refs of who is at the door, by the state board."""
        state = self.state()
        return [] if state is None else [one.person.ref for one in state.presence[0].present]

    def events(self) -> Sequence[Event]:
        """What waits in the outbox, read as the forwarder reads it."""
        outbox = SqliteOutbox(self.outbox)
        try:
            return outbox.peek(1000)
        finally:
            outbox.close()

    def phases(self) -> list[str]:
        """`start` and `end`, in the order of the outbox."""
        return [event.phase for event in self.events()]

    def status(self) -> ServiceStatus:
        """The service's own word on how it is."""
        return ControlClient(self.socket).ask(StatusRequest(), ServiceStatus)

    def porter(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs `porter ...` for this door."""
        return subprocess.run(
            [*PORTER, *arguments, "--config", str(self.config_file)],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=PATIENCE_S,
        )

    def enrolment(self, label: str) -> Command:
        """Begins to enrol who stands there now, and does not wait for the end."""
        arguments = ("enrol", "--label", label, "--policy", str(self.policy), "--yes")
        return Command([*PORTER, *arguments, "--config", str(self.config_file)], self.folder / "enrol.out")

    def enrol(self, label: str) -> None:
        """Enrols who stands there now, by the command that a person would use."""
        done = self.porter("enrol", "--label", label, "--policy", str(self.policy), "--yes")
        if done.returncode != 0:
            pytest.fail(f"nobody was enrolled: {done.stderr}\n{self.log()}")

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self.log_file.open("wb") as log:
            self._process = subprocess.Popen(
                [*PORTER, "vision", "--config", str(self.config_file), *self.options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    "NOTIFY_SOCKET": str(self.folder / "notify"),
                    "TMPDIR": str(self.temporary),
                },
            )
        return self._process


PORTER = (sys.executable, "-m", "device")
