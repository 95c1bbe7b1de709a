# SPDX-License-Identifier: Apache-2.0
"""What the TFLite adapter refuses to load, and how it says so."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from device.adapters.interpreter_tflite import TfliteInterpreter, find_runtime
from device.errors import InputError
from tests import tiny

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from device.ports import TensorDetail

INT8 = tiny.DATA / "tiny_int8.tflite"


def load(
    path: Path, input_detail: TensorDetail = tiny.INT8_INPUT, **changed: TensorDetail
) -> TfliteInterpreter:
    """Loads `path` with a manifest that expects these tensors."""
    outputs = {**tiny.INT8_OUTPUTS, **changed}
    return TfliteInterpreter(path, expected_input=input_detail, expected_outputs=outputs)


def test_a_missing_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.tflite: not a model"):
        load(tmp_path / "nothing.tflite")


def test_a_file_that_is_no_model_is_an_input_error(tmp_path: Path) -> None:
    path = tmp_path / "photo.tflite"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(2000))
    with pytest.raises(InputError, match=r"photo\.tflite: not a model"):
        load(path)


def test_another_input_shape_is_refused_with_both_sides() -> None:
    wrong = replace(tiny.INT8_INPUT, shape=(1, 8, 8, 3))
    with pytest.raises(InputError, match=r"input pixels: expected int8 1x8x8x3 .*; found int8 1x4x4x3"):
        load(INT8, wrong)


def test_another_dtype_is_refused_with_both_sides() -> None:
    wrong = replace(tiny.INT8_OUTPUTS["cls_8"], dtype="uint8")
    with pytest.raises(InputError, match=r"output cls_8: expected uint8 1x4x4x1 .*; found int8 1x4x4x1"):
        load(INT8, cls_8=wrong)


def test_another_scale_is_refused_with_both_sides() -> None:
    wrong = replace(tiny.INT8_OUTPUTS["cls_8"], scale=0.5)
    with pytest.raises(InputError, match=r"expected int8 1x4x4x1 scale 0\.5 .*; found int8 1x4x4x1 scale 1 "):
        load(INT8, cls_8=wrong)


def test_another_zero_point_is_refused_with_both_sides() -> None:
    wrong = replace(tiny.INT8_INPUT, zero_point=0)
    with pytest.raises(InputError, match=r"zero point 0; found .* zero point -128"):
        load(INT8, wrong)


def test_a_scale_rounded_to_float32_is_the_same_scale() -> None:
    assert load(INT8, replace(tiny.INT8_INPUT, scale=1.0 + 1e-8)).input.shape == (1, 4, 4, 3)


def test_another_input_name_is_refused_with_both_sides() -> None:
    with pytest.raises(InputError, match="inputs: expected face; found pixels"):
        load(INT8, replace(tiny.INT8_INPUT, name="face"))


def test_an_output_that_the_file_lacks_is_refused() -> None:
    with pytest.raises(InputError, match="outputs: expected cls_16, cls_32, cls_8; found cls_16, cls_8"):
        load(INT8, cls_32=tiny.INT8_OUTPUTS["cls_8"])


def test_an_output_that_the_manifest_does_not_name_is_refused() -> None:
    with pytest.raises(InputError, match="outputs: expected cls_8; found cls_16, cls_8"):
        TfliteInterpreter(
            INT8, expected_input=tiny.INT8_INPUT, expected_outputs={"cls_8": tiny.INT8_OUTPUTS["cls_8"]}
        )


def test_every_difference_is_told_at_once() -> None:
    wrong = replace(tiny.INT8_OUTPUTS["cls_8"], scale=0.5)
    with pytest.raises(InputError, match=r"input pixels: .*output cls_8: "):
        load(INT8, replace(tiny.INT8_INPUT, zero_point=0), cls_8=wrong)


def installed(*packages: str) -> Callable[[str], bool]:
    """A machine on which only these packages are installed."""
    return lambda package: package in packages


def test_auto_takes_litert_first() -> None:
    both = installed("ai_edge_litert", "tflite_runtime")
    assert find_runtime("auto", both) == "ai_edge_litert.interpreter"


def test_auto_takes_tflite_runtime_where_it_is_alone() -> None:
    assert find_runtime("auto", installed("tflite_runtime")) == "tflite_runtime.interpreter"


def test_a_runtime_asked_for_by_name_is_taken() -> None:
    both = installed("ai_edge_litert", "tflite_runtime")
    assert find_runtime("tflite-runtime", both) == "tflite_runtime.interpreter"


def test_a_runtime_that_is_not_installed_is_never_replaced_by_the_other() -> None:
    with pytest.raises(InputError, match="runtime tflite-runtime is not installed") as caught:
        find_runtime("tflite-runtime", installed("ai_edge_litert"))
    assert "pip install" in caught.value.hint


def test_without_any_runtime_the_hint_names_both() -> None:
    with pytest.raises(InputError, match="no TFLite runtime is installed") as caught:
        find_runtime("auto", installed())
    assert "ai-edge-litert" in caught.value.hint
    assert "tflite-runtime" in caught.value.hint
