# SPDX-License-Identifier: Apache-2.0
"""The Edge TPU's ways to be absent, through the real `load_delegate`, with a stand-in library compiled here."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from device.adapters.clock import ManualClock
from device.adapters.delegate_probe import DelegateProbe, ProbeResult
from device.adapters.edgetpu_lock import EdgeTpuLock
from device.adapters.interpreter_tflite import TfliteInterpreter, find_runtime
from device.adapters.models_folder import load_manifest
from device.edgetpu import DelegateOptions, EdgeTpu
from device.errors import HardwareError, InputError
from device.inference import Opened, open_on_cpu, open_on_edgetpu
from tests import tiny

if TYPE_CHECKING:
    from collections.abc import Callable

    Open = Callable[..., Opened]

COMPILED = tiny.DATA / "tiny_edgetpu.tflite"


@pytest.fixture(scope="session")
def stub(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The stand-in for libedgetpu, compiled."""
    return str(tiny.build_stub_delegate(tmp_path_factory.mktemp("stub")))


def probed(library: str, device: str = "", *, timeout_s: float = 20.0, **more: Any) -> ProbeResult:
    """How the probe finds `library`."""
    options = {"device": device}
    return DelegateProbe(
        COMPILED, runtime_module=find_runtime(), library=library, options=options, timeout_s=timeout_s, **more
    ).wait()


@pytest.fixture
def opened(stub: str, tmp_path: Path) -> Open:
    """Opens the tiny model on the Edge TPU, or raises why it is lost; keyword arguments as `DelegateOptions`."""
    folder = tiny.tiny_folder(tmp_path)

    def opener(variant: str | None = None, **given: Any) -> Opened:
        options = DelegateOptions(**{"library": stub, **given})
        tpu = EdgeTpu(options, EdgeTpuLock(tmp_path / "lock", "test"), ManualClock())
        model = open_on_edgetpu(folder, load_manifest(folder, "tiny"), tpu, variant=variant)
        tpu.start()
        if tpu.lost is not None:
            raise tpu.lost
        return model

    return opener


def test_a_working_delegate_passes_the_probe(stub: str) -> None:
    assert probed(stub) == ProbeResult("ok")
    assert probed(stub).error(stub) is None


def test_a_missing_library_is_named_with_what_to_install() -> None:
    error = probed("libedgetpu-not-here.so.1").error("libedgetpu-not-here.so.1")
    assert error is not None
    assert "libedgetpu-not-here.so.1: cannot open shared object file" in error.message
    assert "libedgetpu1-std" in error.hint


def test_a_library_that_is_no_delegate_is_refused() -> None:
    result = probed("libm.so.6")
    assert result.verdict == "refused"
    assert "not a TFLite delegate" in result.text


def test_a_delegate_without_hardware_is_refused_with_its_own_words(stub: str) -> None:
    result = probed(stub, "none")
    assert result.verdict == "refused"
    assert "stub: no Edge TPU found" in result.text


def test_a_delegate_that_rejects_the_model_fails_with_its_own_words(stub: str) -> None:
    result = probed(stub, "fail-prepare")
    assert result.verdict == "failed"
    assert "stub: the model needs a newer runtime" in result.text


def test_a_delegate_that_fails_while_running_fails_the_probe(stub: str) -> None:
    result = probed(stub, "fail-invoke")
    assert result.verdict == "failed"
    assert "stub: the stick was pulled out" in result.text


def test_a_delegate_that_crashes_takes_only_the_child_with_it(stub: str) -> None:
    result = probed(stub, "crash")
    assert result == ProbeResult("crashed", signal.SIGSEGV.name)
    error = result.error(stub)
    assert error is not None
    assert "built for another TFLite" in error.message
    assert "pairs that work" in error.hint


def test_a_delegate_that_hangs_is_given_up(stub: str) -> None:
    assert probed(stub, "hang", timeout_s=1.0).verdict == "timeout"


def test_a_probe_that_cannot_start_says_so(stub: str, tmp_path: Path) -> None:
    result = probed(stub, python=str(tmp_path / "no-python"))
    assert result.verdict == "untried"
    assert "no-python" in result.text


def test_a_probe_that_ends_early_says_what_it_printed_last(stub: str) -> None:
    result = DelegateProbe(COMPILED, runtime_module="no_such_runtime", library=stub, options={}).wait()
    assert result.verdict == "untried"
    assert "no_such_runtime" in result.text


def test_the_edge_tpu_runs_the_model_when_it_is_there(opened: Open) -> None:
    model = opened()
    assert (model.delegate, model.variant.name, model.lost) == ("edgetpu", "edgetpu", None)
    tensor = (tiny.picture().astype(np.int16) - 128).astype(np.int8)
    outputs = model.interpreter.invoke(tensor)
    assert [int(value) + 128 for value in outputs["cls_8"].ravel()] == tiny.CLS_8


@pytest.mark.parametrize("behaviour", ["none", "crash", "fail-prepare", "fail-invoke"])
def test_a_lost_edge_tpu_is_an_error_with_its_reason(opened: Open, behaviour: str) -> None:
    with pytest.raises(HardwareError, match=r"Edge TPU: .*libstub\.so") as caught:
        opened(device=behaviour)
    assert caught.value.hint


def test_a_model_that_was_never_compiled_is_refused(opened: Open) -> None:
    with pytest.raises(InputError, match="not compiled for the Edge TPU") as caught:
        opened(variant="int8")
    assert "models/compile.sh" in caught.value.hint


def test_on_the_cpu_the_reason_stands_beside_the_model(tmp_path: Path) -> None:
    folder, gone = tiny.tiny_folder(tmp_path), HardwareError("gone")
    model = open_on_cpu(folder, load_manifest(folder, "tiny"), lost=gone)
    assert (model.delegate, model.variant.name, model.lost) == ("cpu", "int8", gone)
    assert model.interpreter.invoke(np.zeros((1, 4, 4, 3), np.int8))["cls_16"].shape == (1, 2, 2, 1)


def loaded(**given: Any) -> TfliteInterpreter:
    """The compiled tiny model, in this process."""
    return TfliteInterpreter(
        COMPILED, expected_input=tiny.INT8_INPUT, expected_outputs=tiny.INT8_OUTPUTS, **given
    )


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ("none", "the delegate refused: .*no Edge TPU found"),
        ("fail-prepare", "cannot run it: .*a newer runtime"),
    ],
)
def test_a_delegate_that_refuses_in_this_process_is_a_hardware_error(
    stub: str, behaviour: str, words: str
) -> None:
    with pytest.raises(HardwareError, match=words):
        loaded(delegate_library=stub, delegate_options={"device": behaviour})


@pytest.mark.parametrize(
    ("library", "words"),
    [("libedgetpu-not-here.so.1", "cannot open shared object"), ("libm.so.6", "not a TFLite")],
)
def test_a_library_that_cannot_be_used_in_this_process_is_a_hardware_error(library: str, words: str) -> None:
    with pytest.raises(HardwareError, match=words):
        loaded(delegate_library=library)


def test_a_compiled_model_on_the_cpu_is_told_apart_from_a_broken_one() -> None:
    with pytest.raises(InputError, match="compiled for the Edge TPU"):
        loaded()


def test_the_other_runtime_passes_the_same_tests(request: pytest.FixtureRequest) -> None:
    python = request.config.getoption("--tflite-python")
    if python is None:
        pytest.skip("tflite-runtime is not tried: make tflite")
    root = Path(__file__).parents[2]
    which = "from device.adapters.interpreter_tflite import find_runtime; print(find_runtime())"
    found = subprocess.run([python, "-c", which], cwd=root, capture_output=True, text=True, check=False)
    assert found.stdout.strip() == "tflite_runtime.interpreter", found.stdout + found.stderr
    tests = [
        "contracts/test_interpreter.py",
        "unit/test_delegate.py",
        "unit/test_edgetpu.py",
        "unit/test_interpreter_tflite.py",
    ]
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(f"tests/{test}" for test in tests)]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
