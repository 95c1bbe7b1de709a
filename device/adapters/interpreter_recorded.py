# SPDX-License-Identifier: Apache-2.0
"""The Interpreter that plays a script instead of a model: for tests and replays.

It is as harsh as the port allows: the arrays it hands out are the same each time, and the next `invoke` overwrites
them, so that whoever keeps one finds out here and not on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from device.errors import HardwareError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from device.ports import TensorDetail

Outputs = Mapping[str, "NDArray[Any]"]
Script = Sequence[Outputs] | Callable[["NDArray[Any]"], Outputs]


class RecordedInterpreter:
    """Plays `script`: the raw outputs of each invocation in order, or a function of the input tensor.

    fail_after: this many invocations work, the next ones raise HardwareError, as when the Edge TPU is pulled out.
    A list that has come to its end raises HardwareError too.
    """

    def __init__(
        self,
        input_detail: TensorDetail,
        outputs: Mapping[str, TensorDetail],
        script: Script,
        *,
        fail_after: int | None = None,
    ) -> None:
        self._input = input_detail
        self._outputs = dict(outputs)
        self._script = script
        self._fail_after = fail_after
        self._buffers = {name: np.zeros(detail.shape, detail.dtype) for name, detail in outputs.items()}
        self._tensors = {name: buffer.copy() for name, buffer in self._buffers.items()}
        self.invocations = 0

    @property
    def input(self) -> TensorDetail:
        """The single input tensor."""
        return self._input

    @property
    def outputs(self) -> Mapping[str, TensorDetail]:
        """The output tensors by name."""
        return self._outputs

    def invoke(self, tensor: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
        """The script's next outputs. Raises ValueError (shape, dtype, a script that does not fit) and HardwareError."""
        if tensor.shape != self._input.shape or tensor.dtype != self._input.dtype:
            expected = f"{self._input.dtype} {self._input.shape}"
            raise ValueError(
                f"input {self._input.name}: expected {expected}, got {tensor.dtype} {tensor.shape}"
            )
        if self._fail_after is not None and self.invocations >= self._fail_after:
            raise HardwareError(f"inference failed: scripted after {self._fail_after} invocations")
        played = self._next(tensor)
        if set(played) != set(self._outputs):
            raise ValueError(f"script: expected outputs {sorted(self._outputs)}, got {sorted(played)}")
        self.invocations += 1
        for name, values in played.items():
            np.copyto(self._buffers[name], values, casting="no")
            np.copyto(self._tensors[name], values, casting="no")
        return dict(self._buffers)

    def _next(self, tensor: NDArray[Any]) -> Outputs:
        if callable(self._script):
            return self._script(tensor)
        if self.invocations >= len(self._script):
            raise HardwareError(
                f"inference failed: the recording has ended after {len(self._script)} invocations"
            )
        return self._script[self.invocations]
