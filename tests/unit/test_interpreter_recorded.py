# SPDX-License-Identifier: Apache-2.0
"""The scripted interpreter: order, end and failures of a script."""

from __future__ import annotations

import numpy as np
import pytest

from device.adapters.interpreter_recorded import RecordedInterpreter
from device.errors import HardwareError
from device.ports import TensorDetail

INPUT = TensorDetail("pixels", (1, 2), "int8")
OUTPUTS = {"sum": TensorDetail("sum", (1,), "int32")}
TENSOR = np.zeros((1, 2), np.int8)


def sums(*values: int) -> list[dict[str, np.ndarray]]:
    """A script of one number an invocation."""
    return [{"sum": np.array([value], np.int32)} for value in values]


def test_a_list_is_played_in_order_and_counted() -> None:
    interpreter = RecordedInterpreter(INPUT, OUTPUTS, sums(3, 5))
    assert [int(interpreter.invoke(TENSOR)["sum"][0]) for _ in range(2)] == [3, 5]
    assert interpreter.invocations == 2


def test_a_list_that_has_ended_is_a_hardware_error() -> None:
    interpreter = RecordedInterpreter(INPUT, OUTPUTS, sums(3))
    interpreter.invoke(TENSOR)
    with pytest.raises(HardwareError, match="the recording has ended after 1"):
        interpreter.invoke(TENSOR)


def test_it_fails_after_the_scripted_number_of_invocations() -> None:
    interpreter = RecordedInterpreter(INPUT, OUTPUTS, sums(3, 5, 7), fail_after=1)
    interpreter.invoke(TENSOR)
    for _ in range(2):
        with pytest.raises(HardwareError, match="scripted after 1"):
            interpreter.invoke(TENSOR)
    assert interpreter.invocations == 1


def test_outputs_are_overwritten_by_the_next_invocation() -> None:
    interpreter = RecordedInterpreter(INPUT, OUTPUTS, sums(3, 5))
    kept = interpreter.invoke(TENSOR)["sum"]
    interpreter.invoke(TENSOR)
    assert int(kept[0]) == 5


def test_a_script_with_other_outputs_is_refused() -> None:
    interpreter = RecordedInterpreter(INPUT, OUTPUTS, [{"mean": np.zeros(1, np.int32)}])
    with pytest.raises(ValueError, match="expected outputs"):
        interpreter.invoke(TENSOR)


def test_a_script_with_another_dtype_is_refused() -> None:
    interpreter = RecordedInterpreter(
        INPUT, OUTPUTS, lambda tensor: {"sum": tensor.sum(keepdims=True)[0].astype(float)}
    )
    with pytest.raises(TypeError, match="cast"):
        interpreter.invoke(TENSOR)
