# SPDX-License-Identifier: Apache-2.0
"""The ladder against the real TFLite runtime, with the stub in libedgetpu's place that fails as its script says."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from device.adapters.clock import ManualClock
from device.adapters.edgetpu_lock import EdgeTpuLock
from device.adapters.models_folder import load_manifest
from device.adapters.port_reset import ScriptedReset
from device.edgetpu import DelegateOptions, EdgeTpu
from device.errors import EdgeTpuLostError
from device.inference import open_on_edgetpu
from tests import tiny

if TYPE_CHECKING:
    from collections.abc import Callable

    from device.ports import Interpreter

ZEROS = np.zeros((1, 4, 4, 3), np.int8)
S = 1_000_000_000


@pytest.fixture(scope="session")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stub, compiled once."""
    return tiny.build_stub_delegate(tmp_path_factory.mktemp("stub"))


class Stick:
    """An Edge TPU with two models on it, each `tiny`, and a library of its own whose behaviour is written to a file."""

    def __init__(self, folder: Path, stub: Path) -> None:
        self.library = folder / "libstub.so"
        shutil.copy(stub, self.library)
        self.models = tiny.tiny_folder(folder / "models")
        self.clock = ManualClock()
        self.lock = folder / "edgetpu.lock"
        self.reset = ScriptedReset()

    def behaves(self, how: str) -> None:
        script = self.library.with_name("libstub.so.script")
        fresh = script.with_suffix(".new")
        fresh.write_text(how + "\n")
        fresh.replace(script)

    @property
    def delegates(self) -> int:
        """How many delegates of the library are alive in this process."""
        return ctypes.c_int.in_dll(ctypes.CDLL(str(self.library)), "delegates").value

    def tpu(self, **options: Any) -> tuple[EdgeTpu, list[Interpreter]]:
        """It, started, and the interpreters of its two models."""
        tpu = EdgeTpu(
            DelegateOptions(library=str(self.library), **options),
            EdgeTpuLock(self.lock, "porter vision"),
            self.clock,
            reset=self.reset,
        )
        manifest = load_manifest(self.models, "tiny")
        models = [open_on_edgetpu(self.models, manifest, tpu).interpreter for _ in range(2)]
        tpu.start()
        return tpu, list(models)


@pytest.fixture
def stick(tmp_path: Path, stub: Path) -> Stick:
    return Stick(tmp_path, stub)


def tended(tpu: EdgeTpu, until: Callable[[], bool]) -> bool:
    """Tends until it is so; whether it came back on the way. Waits for real children."""
    deadline = time.monotonic() + 20
    came_back = False
    while not until():
        assert time.monotonic() < deadline
        came_back = tpu.tend() or came_back
        time.sleep(0.01)
    return came_back


def test_two_models_run_on_it_and_give_it_back(stick: Stick) -> None:
    tpu, models = stick.tpu()
    assert tpu.lost is None
    for model in models:
        assert model.invoke(ZEROS)["cls_16"].shape == (1, 2, 2, 1)
    assert stick.delegates == 2
    tpu.close()
    assert stick.delegates == 0
    assert '"pid":0' in stick.lock.read_text()


def test_one_failed_invocation_is_tried_again_and_nobody_notices(stick: Stick) -> None:
    stick.behaves("at 3 fail")
    tpu, (model, _) = stick.tpu()
    for _ in range(10):
        model.invoke(ZEROS)
    assert tpu.in_use
    assert stick.reset.asked == 0
    assert stick.delegates == 2


def test_where_trying_again_does_not_help_both_models_get_new_delegates(stick: Stick) -> None:
    tpu, (first, second) = stick.tpu()
    first.invoke(ZEROS)
    second.invoke(ZEROS)
    stick.behaves("after 1 fail")
    first.invoke(ZEROS)
    second.invoke(ZEROS)
    assert tpu.in_use
    assert stick.delegates == 2


def test_what_no_remedy_helps_is_left_at_once_and_no_delegate_stays(stick: Stick) -> None:
    tpu, (first, second) = stick.tpu()
    stick.behaves("fail")
    with pytest.raises(EdgeTpuLostError, match="the stick was pulled out"):
        first.invoke(ZEROS)
    assert not tpu.in_use
    assert stick.delegates == 0
    with pytest.raises(EdgeTpuLostError, match="not in use"):
        second.invoke(ZEROS)


def test_a_stick_that_vanished_is_left_although_no_new_delegate_loads(stick: Stick) -> None:
    tpu, (first, _) = stick.tpu()
    stick.behaves("vanish")
    with pytest.raises(EdgeTpuLostError, match="no Edge TPU found"):
        first.invoke(ZEROS)
    assert not tpu.in_use
    assert stick.delegates == 0


def test_it_comes_back_after_its_port_was_reset(stick: Stick) -> None:
    stick.reset = ScriptedReset(cure=lambda: stick.behaves("ok"))
    tpu, (first, second) = stick.tpu()
    stick.behaves("vanish")
    with pytest.raises(EdgeTpuLostError):
        first.invoke(ZEROS)
    assert tended(tpu, lambda: tpu.in_use)
    assert stick.reset.asked == 1
    assert tpu.lost is None
    first.invoke(ZEROS)
    second.invoke(ZEROS)


def test_it_is_asked_again_after_pauses_and_let_go_of_meanwhile(stick: Stick) -> None:
    tpu, (first, _) = stick.tpu()
    stick.behaves("vanish")
    with pytest.raises(EdgeTpuLostError):
        first.invoke(ZEROS)
    tended(tpu, lambda: '"pid":0' in stick.lock.read_text())
    assert stick.reset.asked == 1
    other = EdgeTpuLock(stick.lock, "porter bench")
    other.take(0)
    other.give_back()
    stick.behaves("ok")
    stick.clock.advance(59)
    assert not tpu.tend()
    assert '"pid":0' in stick.lock.read_text()
    stick.clock.advance(2)
    assert tended(tpu, lambda: tpu.in_use)
    assert stick.reset.asked == 1


@pytest.mark.parametrize("how", ["crash-load", "stall-load", "crash", "stall", "vanish", "fail"])
def test_at_start_whatever_is_wrong_stays_in_the_child_and_one_reset_is_tried(stick: Stick, how: str) -> None:
    stick.behaves(how)
    tpu, (model, _) = stick.tpu(probe_timeout_s=1.5)
    assert not tpu.in_use
    assert tpu.lost is not None
    assert str(stick.library) in tpu.lost.message
    assert stick.reset.asked == 1
    assert stick.delegates == 0
    with pytest.raises(EdgeTpuLostError):
        model.invoke(ZEROS)


@pytest.mark.parametrize("how", ["crash-load", "stall", "vanish"])
def test_at_start_a_reset_heals(stick: Stick, how: str) -> None:
    stick.behaves(how)
    stick.reset = ScriptedReset(cure=lambda: stick.behaves("ok"))
    tpu, (model, _) = stick.tpu(probe_timeout_s=10.0)
    assert tpu.in_use
    model.invoke(ZEROS)


def test_a_missing_library_asks_for_no_reset(stick: Stick) -> None:
    stick.library = stick.library.with_name("libnone.so")
    tpu, _ = stick.tpu()
    assert tpu.lost is not None
    assert "cannot be loaded" in tpu.lost.message
    assert stick.reset.asked == 0


def test_what_another_process_has_is_left_alone(stick: Stick) -> None:
    stick.lock.write_text('{"pid":1,"what":"porter bench"}')
    with stick.lock.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        tpu, _ = stick.tpu()
        assert tpu.lost is not None
        assert "in use by porter bench" in tpu.lost.message
        assert stick.reset.asked == 0
    stick.clock.advance(61)
    assert tended(tpu, lambda: tpu.in_use)


def test_after_three_deaths_it_is_not_touched_at_start(stick: Stick) -> None:
    now_ns = stick.clock.now().boot_ns
    deaths = ",".join(str(now_ns) for _ in range(2))
    stick.lock.write_text(f'{{"pid":4242,"what":"porter vision","deaths_ns":[{deaths}]}}')
    stick.behaves("crash")
    tpu, _ = stick.tpu()
    assert tpu.lost is not None
    assert "3 processes died with it lately" in tpu.lost.message
    assert stick.delegates == 0
    stick.behaves("ok")
    stick.clock.advance(61)
    assert tended(tpu, lambda: tpu.in_use)


def test_a_new_delegate_that_does_not_hold_for_a_minute_is_not_the_cure(stick: Stick) -> None:
    tpu, (model, _) = stick.tpu()
    stick.behaves("after 3 fail")
    worked = 0
    while tpu.in_use and worked < 100:
        with contextlib.suppress(EdgeTpuLostError):
            model.invoke(ZEROS)
        worked += 1
    assert not tpu.in_use
    assert worked == 7  # three, three with the new delegate, and the one that was too much


def test_no_port_is_reset_under_another_process(stick: Stick) -> None:
    tpu, (model, _) = stick.tpu()
    for _ in range(2):  # the second time there is a pause, in which another one takes it
        stick.behaves("vanish")
        with pytest.raises(EdgeTpuLostError):
            model.invoke(ZEROS)
        stick.behaves("ok")
        if not stick.reset.asked:
            assert tended(tpu, lambda: tpu.in_use)
    assert stick.reset.asked == 1
    tpu.tend()
    with stick.lock.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        stick.clock.advance(61)
        tpu.tend()
        tpu.tend()
        assert tpu.lost is not None
        assert "in use by" in tpu.lost.message
    assert stick.reset.asked == 1
