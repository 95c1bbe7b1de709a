# SPDX-License-Identifier: Apache-2.0
"""What is inside a .tflite file, read without a runtime: input and output tensors, operators with their dtypes.

A .tflite file is a FlatBuffer (flatbuffers.dev/internals) of TFLite's schema; field numbers in a schema never change
meaning, so the few read here need neither the `flatbuffers` package (tflite-runtime comes without) nor a runtime: a
file compiled for the Edge TPU can be looked into where there is none. The runtimes' own listing is private
(`_get_ops_details`) and shows the graph after delegates have replaced parts of it.
Every offset is checked: a file that is not what it seems ends in InputError, never in a wrong answer or a crash.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from device.errors import InputError
from device.ports import TensorDetail

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

# The one operator that the Edge TPU's compiler leaves of all those it mapped.
EDGETPU_OPERATOR = "edgetpu-custom-op"
# TensorType of schema.fbs, in order from 0.
DTYPES = """
float32 float16 int32 uint8 int64 string bool int16 complex64 int8 float64 complex128 uint64 resource variant uint32
uint16 int4 bfloat16 int2 uint4
""".split()  # noqa: SIM905  as below
# BuiltinOperator of schema.fbs, in order from 0; the STABLEHLO_ ones that follow are never in a model for a device.
OPERATORS = """
ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE EMBEDDING_LOOKUP FLOOR
FULLY_CONNECTED HASHTABLE_LOOKUP L2_NORMALIZATION L2_POOL_2D LOCAL_RESPONSE_NORMALIZATION LOGISTIC
LSH_PROJECTION LSTM MAX_POOL_2D MUL RELU RELU_N1_TO_1 RELU6 RESHAPE RESIZE_BILINEAR RNN SOFTMAX SPACE_TO_DEPTH
SVDF TANH CONCAT_EMBEDDINGS SKIP_GRAM CALL CUSTOM EMBEDDING_LOOKUP_SPARSE PAD UNIDIRECTIONAL_SEQUENCE_RNN GATHER
BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND TRANSPOSE MEAN SUB DIV SQUEEZE UNIDIRECTIONAL_SEQUENCE_LSTM STRIDED_SLICE
BIDIRECTIONAL_SEQUENCE_RNN EXP TOPK_V2 SPLIT LOG_SOFTMAX DELEGATE BIDIRECTIONAL_SEQUENCE_LSTM CAST PRELU MAXIMUM
ARG_MAX MINIMUM LESS NEG PADV2 GREATER GREATER_EQUAL LESS_EQUAL SELECT SLICE SIN TRANSPOSE_CONV SPARSE_TO_DENSE
TILE EXPAND_DIMS EQUAL NOT_EQUAL LOG SUM SQRT RSQRT SHAPE POW ARG_MIN FAKE_QUANT REDUCE_PROD REDUCE_MAX PACK
LOGICAL_OR ONE_HOT LOGICAL_AND LOGICAL_NOT UNPACK REDUCE_MIN FLOOR_DIV REDUCE_ANY SQUARE ZEROS_LIKE FILL
FLOOR_MOD RANGE RESIZE_NEAREST_NEIGHBOR LEAKY_RELU SQUARED_DIFFERENCE MIRROR_PAD ABS SPLIT_V UNIQUE CEIL
REVERSE_V2 ADD_N GATHER_ND COS WHERE RANK ELU REVERSE_SEQUENCE MATRIX_DIAG QUANTIZE MATRIX_SET_DIAG ROUND
HARD_SWISH IF WHILE NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 SCATTER_ND SELECT_V2 DENSIFY SEGMENT_SUM
BATCH_MATMUL PLACEHOLDER_FOR_GREATER_OP_CODES CUMSUM CALL_ONCE BROADCAST_TO RFFT2D CONV_3D IMAG REAL COMPLEX_ABS
HASHTABLE HASHTABLE_FIND HASHTABLE_IMPORT HASHTABLE_SIZE REDUCE_ALL CONV_3D_TRANSPOSE VAR_HANDLE READ_VARIABLE
ASSIGN_VARIABLE BROADCAST_ARGS RANDOM_STANDARD_NORMAL BUCKETIZE RANDOM_UNIFORM MULTINOMIAL GELU
DYNAMIC_UPDATE_SLICE RELU_0_TO_1 UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_SUM ATAN2
UNSORTED_SEGMENT_MIN SIGN BITCAST BITWISE_XOR RIGHT_SHIFT
""".split()  # noqa: SIM905  one name a line would be 160 lines
CUSTOM = OPERATORS.index("CUSTOM")


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator of the graph; tensors in order, constants among the inputs."""

    name: str
    inputs: tuple[TensorDetail, ...]
    outputs: tuple[TensorDetail, ...]

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The dtypes of its tensors, each once, sorted."""
        return tuple(sorted({tensor.dtype for tensor in self.inputs + self.outputs}))


@dataclass(frozen=True, slots=True)
class ModelFile:
    """What a .tflite file holds. The signatures give tensors the names that their model's author meant."""

    inputs: tuple[TensorDetail, ...]
    outputs: tuple[TensorDetail, ...]
    signature_inputs: Mapping[str, TensorDetail]
    signature_outputs: Mapping[str, TensorDetail]
    operators: tuple[Operator, ...]

    def named(self, wanted_outputs: Iterable[str]) -> tuple[dict[str, TensorDetail], dict[str, TensorDetail]]:
        """Inputs and outputs by name: the tensors' own or, where a wanted one is not among those, the signature's."""
        outputs = {tensor.name: tensor for tensor in self.outputs}
        if not set(wanted_outputs) <= set(outputs) and self.signature_outputs:
            return dict(self.signature_inputs), dict(self.signature_outputs)
        return {tensor.name: tensor for tensor in self.inputs}, outputs

    @property
    def compiled(self) -> bool:
        """Whether (part of) it was compiled for the Edge TPU. Without, the delegate would leave all to the CPU."""
        return any(operator.name == EDGETPU_OPERATOR for operator in self.operators)


def read_model(path: Path) -> ModelFile:
    """Reads `path`. Raises InputError: missing, unreadable, not a .tflite file, truncated."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if data[4:8] != b"TFL3":
        raise InputError(f"{path}: not a .tflite file: expected b'TFL3' at byte 4, found {data[4:8]!r}")
    try:
        return _model(_Table(data, _offset(data, 0)))
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a whole .tflite file ({len(data)} bytes): {error}") from error


def _offset(data: bytes, at: int) -> int:
    """Follows the unsigned offset at `at`."""
    return at + int(struct.unpack_from("<I", data, at)[0])


class _Table:
    """A FlatBuffer table: fields by number, each absent or at an offset that its vtable gives."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at
        vtable = at - int(struct.unpack_from("<i", data, at)[0])
        if vtable < 0:  # `unpack_from` would count from the end
            raise IndexError(f"table at {at} points before the file")
        (size,) = struct.unpack_from("<H", data, vtable)
        self._fields = struct.unpack_from(f"<{max(0, size - 4) // 2}H", data, vtable + 4)

    def _where(self, field: int) -> int | None:
        offset = self._fields[field] if field < len(self._fields) else 0
        return self._at + offset if offset else None

    def number(self, field: int, kind: str) -> int:
        """A scalar of `struct` format `kind`; absent: 0."""
        at = self._where(field)
        return 0 if at is None else int(struct.unpack_from(f"<{kind}", self._data, at)[0])

    def text(self, field: int) -> str:
        """A string; absent: empty."""
        at = self._where(field)
        if at is None:
            return ""
        start = _offset(self._data, at)
        (length,) = struct.unpack_from("<I", self._data, start)
        return bytes(struct.unpack_from(f"<{length}s", self._data, start + 4)[0]).decode("utf-8")

    def numbers(self, field: int, kind: str) -> tuple[float, ...]:
        """A vector of scalars; absent: empty."""
        at = self._where(field)
        if at is None:
            return ()
        start = _offset(self._data, at)
        (length,) = struct.unpack_from("<I", self._data, start)
        return struct.unpack_from(f"<{length}{kind}", self._data, start + 4)

    def integers(self, field: int, kind: str) -> tuple[int, ...]:
        """A vector of whole numbers; absent: empty."""
        return tuple(int(number) for number in self.numbers(field, kind))

    def table(self, field: int) -> _Table | None:
        """A table; absent: None."""
        at = self._where(field)
        return None if at is None else _Table(self._data, _offset(self._data, at))

    def tables(self, field: int) -> list[_Table]:
        """A vector of tables; absent: empty."""
        at = self._where(field)
        if at is None:
            return []
        start = _offset(self._data, at)
        count = len(self.integers(field, "I"))
        return [_Table(self._data, _offset(self._data, start + 4 + 4 * index)) for index in range(count)]


def _model(model: _Table) -> ModelFile:
    names = [_operator_name(code) for code in model.tables(1)]
    graph = model.tables(2)[0]
    tensors = [_tensor(tensor) for tensor in graph.tables(0)]
    operators = tuple(
        Operator(
            names[operator.number(0, "I")],
            tuple(_at(tensors, index) for index in operator.integers(1, "i") if index != -1),  # -1: left out
            tuple(_at(tensors, index) for index in operator.integers(2, "i") if index != -1),
        )
        for operator in graph.tables(3)
    )
    signatures = model.tables(7)
    if len(signatures) != 1:  # none, or nobody knows which is meant
        signatures = []
    return ModelFile(
        inputs=tuple(_at(tensors, index) for index in graph.integers(1, "i")),
        outputs=tuple(_at(tensors, index) for index in graph.integers(2, "i")),
        signature_inputs={e.text(0): _at(tensors, e.number(1, "I")) for s in signatures for e in s.tables(0)},
        signature_outputs={
            e.text(0): _at(tensors, e.number(1, "I")) for s in signatures for e in s.tables(1)
        },
        operators=operators,
    )


def _at(tensors: list[TensorDetail], index: int) -> TensorDetail:
    if not 0 <= index < len(tensors):
        raise IndexError(f"tensor {index} of {len(tensors)}")
    return tensors[index]


def _operator_name(code: _Table) -> str:
    """The newer field holds codes above 126; old files fill only the older, one byte wide."""
    number = max(code.number(0, "b"), code.number(3, "i"))
    if number == CUSTOM:
        return code.text(1) or "CUSTOM"
    return OPERATORS[number] if number < len(OPERATORS) else f"BUILTIN_{number}"


def _tensor(tensor: _Table) -> TensorDetail:
    """A tensor; quantised by axis (weights) counts as scale 0: only whole-tensor figures matter outside a kernel."""
    kind = tensor.number(1, "b")
    quantisation = tensor.table(4)
    scales = quantisation.numbers(2, "f") if quantisation else ()
    zero_points = quantisation.integers(3, "q") if quantisation else ()
    return TensorDetail(
        name=tensor.text(3),
        shape=tensor.integers(0, "i"),
        dtype=DTYPES[kind] if 0 <= kind < len(DTYPES) else f"type {kind}",
        scale=scales[0] if len(scales) == 1 else 0.0,
        zero_point=zero_points[0] if len(zero_points) == 1 else 0,
    )
