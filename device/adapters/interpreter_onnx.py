# SPDX-License-Identifier: Apache-2.0
"""The Interpreter on onnxruntime: a model's float source as a yardstick for its .tflite variants. Evaluation only.

The port speaks NHWC like TFLite; ONNX sources from PyTorch and MXNet want NCHW, so the input is transposed here.
What a source does to its pixels it does inside: SFace's takes RGB from 0 to 255 (opencv_zoo, and the first two nodes
of its graph, Sub 127.5 and Mul 1/128).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np

from device.errors import HardwareError, InputError
from device.ports import TensorDetail

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

ERRORS = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NotImplemented", "RuntimeException")
ERRORS_ONLY = 3  # onnxruntime's severity: SFace's source alone makes 280 warnings


class OnnxInterpreter:
    """One .onnx model with one (1, 3, H, W) float32 input and one float32 output, which is given out as `output_name`.

    Raises InputError: onnxruntime missing, no such file, not a model, other tensors.
    """

    def __init__(self, path: Path, *, output_name: str, threads: int = 1) -> None:
        try:
            runtime = importlib.import_module("onnxruntime")
        except ImportError as error:
            hint = "`pip install onnxruntime` (it is in the extra `evaluate`)"
            raise InputError(f"onnxruntime cannot be imported: {error}", hint=hint) from error
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = ERRORS_ONLY
        if not path.is_file():
            raise InputError(f"{path}: expected an ONNX model, found no such file")
        # onnxruntime's errors share no base class but Exception.
        kinds = runtime.capi.onnxruntime_pybind11_state
        self._errors = tuple(getattr(kinds, name) for name in ERRORS)
        try:
            self._session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except self._errors as error:
            raise InputError(f"{path}: not a model that onnxruntime can load: {_line(error)}") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        shape = inputs[0].shape if len(inputs) == 1 else []
        if len(shape) != 4 or shape[:2] != [1, 3] or inputs[0].type != "tensor(float)" or len(outputs) != 1:
            found = ", ".join(f"{tensor.type} {tensor.shape}" for tensor in (*inputs, *outputs))
            raise InputError(f"{path}: expected a float input [1, 3, H, W] and one output, found {found}")
        self._path = path
        self._names = inputs[0].name, outputs[0].name
        self._input = TensorDetail(inputs[0].name, (1, shape[2], shape[3], 3), "float32")
        self._outputs = {output_name: TensorDetail(output_name, tuple(outputs[0].shape), "float32")}

    @property
    def input(self) -> TensorDetail:
        """The single input tensor, as (1, H, W, 3)."""
        return self._input

    @property
    def outputs(self) -> Mapping[str, TensorDetail]:
        """The output tensor by the name it was given."""
        return self._outputs

    def invoke(self, tensor: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
        """Runs the model. Raises ValueError (shape, dtype) and HardwareError (the run failed)."""
        if tensor.shape != self._input.shape or tensor.dtype != np.float32:
            expected = f"float32 {self._input.shape}"
            raise ValueError(
                f"input {self._input.name}: expected {expected}, got {tensor.dtype} {tensor.shape}"
            )
        planes = np.ascontiguousarray(tensor.transpose(0, 3, 1, 2))
        try:
            (output,) = self._session.run([self._names[1]], {self._names[0]: planes})
        except self._errors as error:
            raise HardwareError(f"{self._path.name}: inference failed: {_line(error)}") from error
        return dict.fromkeys(self._outputs, output)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
