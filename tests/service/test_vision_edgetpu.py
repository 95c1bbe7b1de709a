# SPDX-License-Identifier: Apache-2.0
"""`porter vision` on an Edge TPU that fails, vanishes, stalls and crashes: a stub of libedgetpu in the real service.

The stub runs the shipped int8 models, so people are recognised "on the Edge TPU" as they are on the CPU.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING, Self

import pytest

from device.adapters.edgetpu_lock import LOCK
from tests import tiny
from tests.edgetpu_models import compiled_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.service.harness import ServiceDoor


class Helper:
    """Listens in the privileged helper's place; does `cure` and answers when it is let."""

    def __init__(self, path: Path, cure: Callable[[], object]) -> None:
        self.asked = 0
        self.may_answer = threading.Event()
        self._cure = cure
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.may_answer.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.asked += 1
            self.may_answer.wait(60)
            self._cure()
            with client:
                client.sendall(b"ok: reset 2-1 18d1:9302\n")


class Stick:
    """The stub in a door's folder, and the helper beside it."""

    def __init__(self, door: ServiceDoor, stub: Path, models: Path) -> None:
        self.door = door
        self.library = door.folder / "libstub.so"
        shutil.copy(stub, self.library)
        self.helper_socket = door.folder / "reset.sock"
        door.options = ("--usb-reset", str(self.helper_socket))
        self._models = models
        self.configure("cpu")

    def configure(self, fallback: str) -> None:
        inference = {
            "delegate": "edgetpu",
            "fallback": fallback,
            "edgetpu_library": str(self.library),
            "threads": 1,
        }
        self.door.configure(
            inference=inference,
            models={"folder": str(self._models)},
            motion={"enabled": False},
            recognition={
                "track_gap_s": 2.0,
                "visit_end_s": 10.0,
            },  # on a busy machine, too, only a change ends visits
        )

    def behaves(self, how: str) -> None:
        fresh = self.library.with_name("new")
        fresh.write_text(how + "\n")
        fresh.replace(self.library.with_name("libstub.so.script"))

    def delegates(self) -> set[str]:
        return {model.delegate for model in self.door.status().models}

    def deaths(self) -> int:
        return len(json.loads((self.door.run_dir / LOCK).read_text())["deaths_ns"])

    def runs_on(self, delegate: str) -> None:
        self.door.wait(f"models on {delegate}", lambda: self.delegates() == {delegate})


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("edgetpu")
    return tiny.build_stub_delegate(folder), compiled_folder(folder / "models")


@pytest.fixture
def stick(door: ServiceDoor, compiled: tuple[Path, Path]) -> Stick:
    return Stick(door, *compiled)


def test_a_stick_that_vanishes_leaves_the_cpu_at_work_and_comes_back_after_a_reset(stick: Stick) -> None:
    door = stick.door
    with Helper(stick.helper_socket, cure=lambda: stick.behaves("ok")) as helper:
        door.start()
        stick.runs_on("edgetpu")
        door.show("anna")
        door.enrol("anna")
        door.wait("anna on the Edge TPU", lambda: door.phases()[-1:] == ["start"])

        stick.behaves("vanish")
        stick.runs_on("cpu")
        door.wait("the alert", lambda: "running on the CPU instead" in door.alerts().get("tpu_lost", ""))
        door.wait("anna on the CPU", lambda: door.phases()[-2:] == ["end", "start"])
        variants = {event.model.embedder for event in door.events()}
        assert len(variants) == 2, "events name the files that really ran"
        door.wait("the helper to be asked", lambda: helper.asked == 1)

        helper.may_answer.set()
        stick.runs_on("edgetpu")
        door.wait("the alert to end", lambda: "tpu_lost" not in door.alerts())
        door.wait("anna on the Edge TPU again", lambda: door.phases().count("start") == 3)
    assert door.stop() == 0
    assert stick.deaths() == 0


def test_without_a_fallback_nothing_is_looked_at_and_the_service_lives_and_returns(stick: Stick) -> None:
    door = stick.door
    stick.configure("none")
    stick.behaves("vanish")
    with Helper(stick.helper_socket, cure=lambda: None) as helper:
        helper.may_answer.set()
        door.start()
        door.wait("the alert", lambda: "nobody is looked at" in door.alerts().get("tpu_lost", ""))
        door.wait("frames to be dropped", lambda: door.status().dropped > 10)
        status = door.status()
        assert status.frames <= 1
        assert helper.asked == 1
        said = door.porter("status")
        assert re.search(r"^dropped   \d\d+ frames", said.stdout, re.M)
        refused = door.porter("enrol", "--label", "anna", "--policy", str(door.policy), "--yes")
        assert refused.returncode == 1
        assert "no model runs" in refused.stderr
        assert door.stop() == 0


def test_a_stall_ends_the_service_and_the_next_start_falls_back(stick: Stick) -> None:
    """systemd's part, to start it again, is played here."""
    door = stick.door
    door.start()
    stick.runs_on("edgetpu")
    stick.behaves("stall")
    began = time.monotonic()
    assert door.process.wait(60) == 1
    assert time.monotonic() - began < 50, "sooner than systemd's watchdog, which waits for 90 s"
    assert "porter: Edge TPU: an inference does not come back" in door.log()

    stick.behaves("crash")
    door.start()
    assert stick.delegates() == {"cpu"}
    door.wait("the alert", lambda: "SIGSEGV" in door.alerts().get("tpu_lost", ""))
    door.show("anna")
    door.enrol("anna")
    door.wait("anna on the CPU", lambda: door.phases() == ["start"])
    assert door.stop() == 0
    assert stick.deaths() == 1


def test_a_library_that_crashes_in_use_is_no_restart_loop(stick: Stick) -> None:
    door = stick.door
    stick.behaves("after 5 crash")
    for _ in range(3):
        door.start()
        assert door.process.wait(30) == -signal.SIGSEGV
    door.start()
    door.wait("the alert", lambda: "3 processes died with it lately" in door.alerts().get("tpu_lost", ""))
    assert stick.delegates() == {"cpu"}
    seen = door.status().frames
    door.wait("frames", lambda: door.status().frames > seen + 20)
    assert door.stop() == 0
    assert stick.deaths() == 3


def test_a_second_program_is_told_that_the_service_has_the_edge_tpu(stick: Stick) -> None:
    door = stick.door
    door.start()
    stick.runs_on("edgetpu")
    who = f"in use by porter vision (process {door.process.pid})"
    said = door.porter("replay", str(door.folder / "camera"))
    assert (said.returncode, f"on the CPU instead: Edge TPU: {who}" in said.stderr) == (0, True)
    stick.configure("none")
    said = door.porter("replay", str(door.folder / "camera"))
    assert said.returncode == 1
    assert f"Edge TPU: {who}" in said.stderr
    assert door.stop() == 0
