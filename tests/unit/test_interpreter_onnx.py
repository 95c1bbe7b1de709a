# SPDX-License-Identifier: Apache-2.0
"""The yardstick's interpreter, on models written here byte by byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from device.adapters.interpreter_onnx import OnnxInterpreter
from device.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("onnxruntime", reason="an extra of its own: pip install -e '.[evaluate]'")


def part(number: int, content: bytes | int | str) -> bytes:
    """A field of a protocol buffer; lengths here are below 128."""
    if isinstance(content, int):
        return bytes([number << 3, content])
    raw = content.encode() if isinstance(content, str) else content
    assert len(raw) < 128
    return bytes([number << 3 | 2, len(raw)]) + raw


def tensor(name: str, *shape: int) -> bytes:
    """A ValueInfoProto of floats."""
    sizes = b"".join(part(1, part(1, size)) for size in shape)
    return part(1, name) + part(2, part(1, part(1, 1) + part(2, sizes)))


def flatten_model(*shape: int) -> bytes:
    """A model with the one operator Flatten (onnx.proto: ir_version 1, graph 7, opset_import 8)."""
    width = int(np.prod(shape[1:]))
    node = part(1, "data") + part(2, "rows") + part(4, "Flatten")
    graph = (
        part(1, node) + part(2, "g") + part(11, tensor("data", *shape)) + part(12, tensor("rows", 1, width))
    )
    assert len(graph) < 128
    return part(1, 8) + part(7, graph) + part(8, part(2, 13))


def test_pictures_go_in_as_rows_and_columns_and_reach_the_model_as_planes(tmp_path: Path) -> None:
    path = tmp_path / "flatten.onnx"
    path.write_bytes(flatten_model(1, 3, 2, 2))
    interpreter = OnnxInterpreter(path, output_name="embedding")
    assert (interpreter.input.shape, interpreter.input.dtype) == ((1, 2, 2, 3), "float32")
    assert interpreter.outputs["embedding"].shape == (1, 12)
    pixels = np.arange(12, dtype=np.float32).reshape(1, 2, 2, 3)
    planes = interpreter.invoke(pixels)["embedding"]
    assert planes.tolist() == [[0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]]


def test_a_tensor_of_another_shape_or_dtype_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "flatten.onnx"
    path.write_bytes(flatten_model(1, 3, 2, 2))
    interpreter = OnnxInterpreter(path, output_name="embedding")
    for wrong in (np.zeros((1, 3, 2, 2), np.float32), np.zeros((1, 2, 2, 3), np.uint8)):
        with pytest.raises(ValueError, match="expected float32"):
            interpreter.invoke(wrong)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file"),
        (b"", "not a model"),
        (b"not a protocol buffer", "not a model"),
        (flatten_model(1, 3, 2, 2)[:-9], "not a model"),
        (flatten_model(1, 12), "expected a float input"),
        (flatten_model(1, 4, 2, 2), "expected a float input"),
    ],
    ids=["missing", "empty", "text", "truncated", "no picture", "four channels"],
)
def test_what_is_no_such_model_is_refused_by_name(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "source.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        OnnxInterpreter(path, output_name="embedding")
    assert str(path) in caught.value.message
    assert said in caught.value.message
