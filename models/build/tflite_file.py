# SPDX-License-Identifier: Apache-2.0
"""Writes a .tflite file: tensors and operators in, bytes out; the same input always gives the same bytes.

Written by hand rather than by TensorFlow's converter: the names that the product looks outputs up by are the tensors'
own, the operator versions are ours to choose (the Edge TPU's compiler is old and refuses new ones; with TensorFlow 2.21
they happen to be the same), and the environment is 1.5 GB smaller.
Buffers are aligned to 16 bytes, as the schema demands and the object API forgets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

if TYPE_CHECKING:
    from numpy.typing import NDArray

TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "int8": schema.TensorType.INT8,
    "int32": schema.TensorType.INT32,
}
SCHEMA_VERSION = 3


@dataclass(frozen=True, slots=True)
class Quantisation:
    """value = scale * (q - zero_point); several scales are one for each entry of dimension `axis`, zero point 0."""

    scale: NDArray[np.float32]
    zero_point: int = 0
    axis: int = 0


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor; `data` where it is a constant."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    data: NDArray[Any] | None = None
    quantisation: Quantisation | None = None


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator: its TFLite name, version, tensors by name, and options as (schema class, fields)."""

    name: str
    version: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    options: Any = None


class _AlignedBuffer(schema.BufferT):
    """A buffer whose bytes start at a multiple of 16 (`force_align: 16` in schema.fbs)."""

    def Pack(self, builder: flatbuffers.Builder) -> int:  # noqa: N802  the object API's name
        if self.data is None:
            return int(super().Pack(builder))
        content = self.data.tobytes()
        builder.StartVector(1, len(content), 16)
        builder.head -= len(content)
        builder.Bytes[builder.head : builder.head + len(content)] = content
        data = builder.EndVector()
        schema.BufferStart(builder)
        schema.BufferAddData(builder, data)
        return int(schema.BufferEnd(builder))


def tflite_bytes(
    tensors: list[Tensor], operators: list[Operator], given: list[str], made: list[str], description: str
) -> bytes:
    """The file. `given` and `made` name the graph's inputs and outputs; a signature lists them under the same names."""
    model = schema.ModelT()
    model.version = SCHEMA_VERSION
    model.description = description
    codes = sorted({(operator.name, operator.version) for operator in operators})
    model.operatorCodes = [_operator_code(name, version) for name, version in codes]
    model.buffers = [schema.BufferT()]  # buffer 0 is the empty one, by convention
    index = {tensor.name: number for number, tensor in enumerate(tensors)}
    if len(index) != len(tensors):
        raise ValueError("two tensors have the same name")
    graph = schema.SubGraphT()
    graph.name = "main"
    graph.tensors = [_tensor(tensor, model.buffers) for tensor in tensors]
    graph.inputs = [index[name] for name in given]
    graph.outputs = [index[name] for name in made]
    graph.operators = [_operator(item, codes.index((item.name, item.version)), index) for item in operators]
    model.subgraphs = [graph]
    model.signatureDefs = [_signature(given, made, index)]
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _operator_code(name: str, version: int) -> schema.OperatorCodeT:
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name)
    code.version = version
    return code


def _tensor(tensor: Tensor, buffers: list[schema.BufferT]) -> schema.TensorT:
    made = schema.TensorT()
    made.name = tensor.name
    made.shape = list(tensor.shape)
    made.type = TYPES[tensor.dtype]
    made.buffer = 0
    made.hasRank = True
    if tensor.data is not None:
        buffer = _AlignedBuffer()
        buffer.data = np.ascontiguousarray(tensor.data)
        made.buffer = len(buffers)
        buffers.append(buffer)
    if tensor.quantisation is not None:
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale = np.atleast_1d(tensor.quantisation.scale).astype(np.float32)
        zero_points = np.full(made.quantization.scale.shape, tensor.quantisation.zero_point, np.int64)
        made.quantization.zeroPoint = zero_points
        made.quantization.quantizedDimension = tensor.quantisation.axis
    return made


def _operator(operator: Operator, code: int, index: dict[str, int]) -> schema.OperatorT:
    made = schema.OperatorT()
    made.opcodeIndex = code
    made.inputs = [index[name] for name in operator.inputs]
    made.outputs = [index[name] for name in operator.outputs]
    if operator.options is not None:
        made.builtinOptions = operator.options
        kind = type(operator.options).__name__.removesuffix("T")
        made.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
    return made


def _signature(given: list[str], made: list[str], index: dict[str, int]) -> schema.SignatureDefT:
    signature = schema.SignatureDefT()
    signature.signatureKey = "serving_default"
    signature.inputs = [_mapping(name, index[name]) for name in given]
    signature.outputs = [_mapping(name, index[name]) for name in made]
    return signature


def _mapping(name: str, tensor: int) -> schema.TensorMapT:
    mapping = schema.TensorMapT()
    mapping.name = name
    mapping.tensorIndex = tensor
    return mapping
