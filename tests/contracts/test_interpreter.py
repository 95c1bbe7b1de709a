# SPDX-License-Identifier: Apache-2.0
"""What every Interpreter promises (`ports.Interpreter`), over TFLite on CPU and delegate, and the recorded one.

All compute the mean over the channels and its 2x2 maximum of the same picture, so the outcome is known by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from device.adapters.interpreter_recorded import RecordedInterpreter
from device.adapters.interpreter_tflite import TfliteInterpreter
from device.errors import HardwareError
from tests import tiny

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from device.ports import Interpreter


@dataclass(frozen=True)
class Case:
    """An interpreter under test, and how its tensors stand for real numbers."""

    interpreter: Interpreter
    offset: int
    dtype: str

    def tensor(self, picture: NDArray[np.uint8]) -> NDArray[Any]:
        """The input tensor of a picture."""
        return (picture.astype(np.int16) + self.offset).astype(self.dtype)

    def real(self, raw: NDArray[Any]) -> list[float]:
        """The real values of an output tensor, in order."""
        return [float(value) for value in raw.ravel().astype(np.float64) - self.offset]


@pytest.fixture(scope="session")
def stub_delegate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in for libedgetpu, compiled."""
    return tiny.build_stub_delegate(tmp_path_factory.mktemp("stub"))


def script(tensor: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """What the tiny int8 model computes."""
    mean = tensor.astype(np.int16).mean(axis=3, keepdims=True).round().astype(np.int8)
    return {"cls_8": mean, "cls_16": mean.reshape(1, 2, 2, 2, 2, 1).max(axis=(2, 4))}


@pytest.fixture(params=["recorded", "tflite-int8", "tflite-float", "tflite-signature", "tflite-delegate"])
def case(request: pytest.FixtureRequest) -> Case:
    """Each adapter in turn."""
    if request.param == "recorded":
        return Case(RecordedInterpreter(tiny.INT8_INPUT, tiny.INT8_OUTPUTS, script), -128, "int8")
    if request.param in {"tflite-float", "tflite-signature"}:
        path = tiny.DATA / f"tiny_{request.param.removeprefix('tflite-')}.tflite"
        made = TfliteInterpreter(path, expected_input=tiny.FLOAT_INPUT, expected_outputs=tiny.FLOAT_OUTPUTS)
        return Case(made, 0, "float32")
    if request.param == "tflite-int8":
        path = tiny.DATA / "tiny_int8.tflite"
        made = TfliteInterpreter(path, expected_input=tiny.INT8_INPUT, expected_outputs=tiny.INT8_OUTPUTS)
        return Case(made, -128, "int8")
    made = TfliteInterpreter(
        tiny.DATA / "tiny_edgetpu.tflite",
        expected_input=tiny.INT8_INPUT,
        expected_outputs=tiny.INT8_OUTPUTS,
        delegate_library=str(request.getfixturevalue("stub_delegate")),
    )
    return Case(made, -128, "int8")


def test_outputs_are_told_apart_by_name(case: Case) -> None:
    outputs = case.interpreter.invoke(case.tensor(tiny.picture()))
    assert case.real(outputs["cls_8"]) == pytest.approx(tiny.CLS_8)
    assert case.real(outputs["cls_16"]) == pytest.approx(tiny.CLS_16)
    assert set(outputs) == {"cls_8", "cls_16"}


def test_tensors_have_the_shape_and_dtype_that_the_details_say(case: Case) -> None:
    outputs = case.interpreter.invoke(case.tensor(tiny.picture()))
    assert case.interpreter.input.shape == (1, 4, 4, 3)
    assert case.interpreter.input.name == "pixels"
    for name, detail in case.interpreter.outputs.items():
        assert detail.name == name
        assert outputs[name].shape == detail.shape
        assert outputs[name].dtype == np.dtype(detail.dtype)


def test_invoking_again_while_the_last_outputs_are_held_works(case: Case) -> None:
    held = case.interpreter.invoke(case.tensor(tiny.picture()))
    black = case.interpreter.invoke(case.tensor(np.zeros((1, 4, 4, 3), np.uint8)))
    assert case.real(black["cls_8"]) == [0] * 16
    assert held["cls_8"].shape == (1, 4, 4, 1)


def test_the_caller_keeps_its_input_tensor(case: Case) -> None:
    tensor = case.tensor(tiny.picture())
    before = tensor.copy()
    case.interpreter.invoke(tensor)
    assert np.array_equal(tensor, before)


def test_a_tensor_of_another_shape_is_refused(case: Case) -> None:
    with pytest.raises(ValueError, match="4"):
        case.interpreter.invoke(np.zeros((1, 4, 3, 3), case.dtype))


def test_a_tensor_of_another_dtype_is_refused(case: Case) -> None:
    with pytest.raises(ValueError, match=r"(?i)int32"):
        case.interpreter.invoke(np.zeros((1, 4, 4, 3), np.int32))


@pytest.fixture(params=["recorded", "tflite-delegate"])
def failing(request: pytest.FixtureRequest) -> Interpreter:
    """Interpreters whose accelerator fails."""
    if request.param == "recorded":
        return RecordedInterpreter(tiny.INT8_INPUT, tiny.INT8_OUTPUTS, script, fail_after=0)
    return TfliteInterpreter(
        tiny.DATA / "tiny_edgetpu.tflite",
        expected_input=tiny.INT8_INPUT,
        expected_outputs=tiny.INT8_OUTPUTS,
        delegate_library=str(request.getfixturevalue("stub_delegate")),
        delegate_options={"device": "fail-invoke"},
    )


def test_a_delegate_that_fails_while_running_is_a_hardware_error(failing: Interpreter) -> None:
    with pytest.raises(HardwareError, match="inference failed"):
        failing.invoke(np.zeros((1, 4, 4, 3), np.int8))
