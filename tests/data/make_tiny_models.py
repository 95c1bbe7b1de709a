# SPDX-License-Identifier: Apache-2.0
"""Writes the tiny models of the tests: `python tests/data/make_tiny_models.py`.

All four compute the same from `pixels` (1, 4, 4, 3): `cls_8`, the mean over the channels (1, 4, 4, 1), and `cls_16`,
its 2x2 maximum (1, 2, 2, 1), so that a test can work the result out by hand. The names are two of a detector's.

tiny_int8       CONV_2D and MAX_POOL_2D, int8: pixels scale 1, outputs scale 1, zero point -128, so q = real - 128
tiny_float      the same in float32
tiny_signature  tiny_float with the converter's anonymous tensor names; only its signature knows `cls_8` and `cls_16`
tiny_edgetpu    one `edgetpu-custom-op`, as the Edge TPU's compiler leaves it; stub_delegate.c runs it

Nothing was trained and no picture was used: the weights are ones.
"""

from __future__ import annotations

from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

HERE = Path(__file__).parent
KINDS = {
    "int8": schema.TensorType.INT8,
    "int32": schema.TensorType.INT32,
    "float32": schema.TensorType.FLOAT32,
}
EMPTY_BUFFER = 0


def tensor(
    name: str, shape: list[int], dtype: str, buffer: int, quantised: tuple[float, int] | None
) -> schema.TensorT:
    """A tensor; `quantised` is (scale, zero point)."""
    made = schema.TensorT()
    made.name, made.shape, made.type, made.buffer = name, shape, KINDS[dtype], buffer
    if quantised is not None:
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale, made.quantization.zeroPoint = [quantised[0]], [quantised[1]]
    return made


def operator(
    code: int, inputs: list[int], outputs: list[int], kind: int, options: object
) -> schema.OperatorT:
    """An operator with its built-in options (`kind` 0: none)."""
    made = schema.OperatorT()
    made.opcodeIndex, made.inputs, made.outputs = code, inputs, outputs
    made.builtinOptionsType, made.builtinOptions = kind, options
    return made


def convolution(code: int) -> schema.OperatorT:
    """`cls_8` from `pixels`: a 1x1 convolution."""
    options = schema.Conv2DOptionsT()
    options.padding, options.strideW, options.strideH = schema.Padding.VALID, 1, 1
    return operator(code, [0, 3, 4], [1], schema.BuiltinOptions.Conv2DOptions, options)


def pooling(code: int) -> schema.OperatorT:
    """`cls_16` from `cls_8`: a 2x2 maximum."""
    options = schema.Pool2DOptionsT()
    options.padding, options.strideW, options.strideH = schema.Padding.VALID, 2, 2
    options.filterWidth, options.filterHeight = 2, 2
    return operator(code, [1], [2], schema.BuiltinOptions.Pool2DOptions, options)


def operator_code(builtin: int, custom: str | None = None) -> schema.OperatorCodeT:
    """An entry of the table of operators; small numbers stand in both fields, as converters write them."""
    made = schema.OperatorCodeT()
    made.builtinCode, made.deprecatedBuiltinCode, made.version = builtin, min(builtin, 127), 1
    made.customCode = custom
    return made


def signature(names: dict[str, int], inputs: dict[str, int]) -> schema.SignatureDefT:
    """The signature `serving_default` that gives tensors their names."""

    def entries(table: dict[str, int]) -> list[schema.TensorMapT]:
        made = []
        for name, index in table.items():
            entry = schema.TensorMapT()
            entry.name, entry.tensorIndex = name, index
            made.append(entry)
        return made

    made = schema.SignatureDefT()
    made.signatureKey, made.subgraphIndex = "serving_default", 0
    made.inputs, made.outputs = entries(inputs), entries(names)
    return made


def buffer(content: np.ndarray | None = None) -> schema.BufferT:
    """A buffer of constants; tensors without constants share the empty one."""
    made = schema.BufferT()
    if content is not None:
        made.data = np.frombuffer(content.tobytes(), np.uint8)
    return made


def model(dtype: str, *, anonymous: bool = False, compiled: bool = False) -> bytes:
    """One of the four models, as the bytes of a .tflite file."""
    int8 = dtype == "int8"
    quantised = (1.0, -128) if int8 else None
    names = ["serving_default_pixels:0", "StatefulPartitionedCall:1", "StatefulPartitionedCall:0"]
    graph = schema.SubGraphT()
    graph.name = "main"
    graph.tensors = [
        tensor(name, shape, dtype, EMPTY_BUFFER, quantised)
        for name, shape in zip(
            names if anonymous else ["pixels", "cls_8", "cls_16"],
            [[1, 4, 4, 3], [1, 4, 4, 1], [1, 2, 2, 1]],
            strict=True,
        )
    ]
    made = schema.ModelT()
    made.version, made.description = 3, "a tiny model of Porter's tests"
    made.buffers = [buffer()]
    if compiled:
        made.operatorCodes = [operator_code(schema.BuiltinOperator.CUSTOM, "edgetpu-custom-op")]
        graph.operators = [operator(0, [0], [1, 2], 0, None)]
    else:
        # int8: weights of one third, scale 1/3 and q = 1, so that the accumulator stays exact.
        weights = np.ones((1, 1, 1, 3), np.int8) if int8 else np.full((1, 1, 1, 3), 1 / 3, np.float32)
        bias = np.zeros(1, np.int32 if int8 else np.float32)
        made.buffers += [buffer(weights), buffer(bias)]
        third = (1 / 3, 0) if int8 else None
        graph.tensors += [
            tensor("weights", [1, 1, 1, 3], dtype, 1, third),
            tensor("bias", [1], "int32" if int8 else dtype, 2, third),
        ]
        made.operatorCodes = [
            operator_code(schema.BuiltinOperator.CONV_2D),
            operator_code(schema.BuiltinOperator.MAX_POOL_2D),
        ]
        graph.operators = [convolution(0), pooling(1)]
    graph.inputs, graph.outputs = [0], [2, 1]
    made.subgraphs = [graph]
    if anonymous:
        made.signatureDefs = [signature({"cls_8": 1, "cls_16": 2}, {"pixels": 0})]
    builder = flatbuffers.Builder(1024)
    builder.Finish(made.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def main() -> None:
    """Writes the four files beside this script."""
    (HERE / "tiny_int8.tflite").write_bytes(model("int8"))
    (HERE / "tiny_float.tflite").write_bytes(model("float32"))
    (HERE / "tiny_signature.tflite").write_bytes(model("float32", anonymous=True))
    (HERE / "tiny_edgetpu.tflite").write_bytes(model("int8", compiled=True))


if __name__ == "__main__":
    main()
