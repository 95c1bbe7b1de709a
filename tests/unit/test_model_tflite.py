# SPDX-License-Identifier: Apache-2.0
"""Reading .tflite files without a runtime: the tiny models by hand, and anything else without a crash."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.adapters.model_tflite import read_model
from device.errors import InputError
from tests import tiny

if TYPE_CHECKING:
    from pathlib import Path

INT8 = (tiny.DATA / "tiny_int8.tflite").read_bytes()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file to write to."""
    return tmp_path_factory.mktemp("models") / "model.tflite"


def test_inputs_and_outputs_are_those_of_the_file() -> None:
    model = read_model(tiny.DATA / "tiny_int8.tflite")
    assert model.inputs == (tiny.INT8_INPUT,)
    assert {tensor.name: tensor for tensor in model.outputs} == tiny.INT8_OUTPUTS


def test_operators_are_listed_with_their_dtypes() -> None:
    model = read_model(tiny.DATA / "tiny_int8.tflite")
    assert [(operator.name, operator.dtypes) for operator in model.operators] == [
        ("CONV_2D", ("int32", "int8")),
        ("MAX_POOL_2D", ("int8",)),
    ]
    assert [tensor.name for tensor in model.operators[0].inputs] == ["pixels", "weights", "bias"]


def test_a_compiled_file_is_known_by_its_operator() -> None:
    assert read_model(tiny.DATA / "tiny_edgetpu.tflite").compiled
    assert not read_model(tiny.DATA / "tiny_int8.tflite").compiled


def test_the_signature_names_anonymous_tensors() -> None:
    model = read_model(tiny.DATA / "tiny_signature.tflite")
    inputs, outputs = model.named(["cls_8", "cls_16"])
    assert {name: tensor.shape for name, tensor in inputs.items()} == {"pixels": (1, 4, 4, 3)}
    assert {name: tensor.shape for name, tensor in outputs.items()} == {
        "cls_8": (1, 4, 4, 1),
        "cls_16": (1, 2, 2, 1),
    }


def test_a_missing_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_model(tmp_path / "nothing.tflite")


def test_another_kind_of_file_is_an_input_error(scratch: Path) -> None:
    scratch.write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(InputError, match=r"expected b'TFL3'"):
        read_model(scratch)


@given(length=st.integers(0, len(INT8) - 1))
def test_a_truncated_file_is_an_input_error_or_lost_only_padding(scratch: Path, length: int) -> None:
    scratch.write_bytes(INT8[:length])
    try:
        model = read_model(scratch)
    except InputError:
        return
    assert model == read_model(tiny.DATA / "tiny_int8.tflite")


@given(at=st.integers(0, len(INT8) - 1), value=st.integers(0, 255))
def test_a_changed_byte_never_crashes_the_reader(scratch: Path, at: int, value: int) -> None:
    changed = bytearray(INT8)
    changed[at] = value
    scratch.write_bytes(changed)
    with contextlib.suppress(InputError):
        read_model(scratch)
