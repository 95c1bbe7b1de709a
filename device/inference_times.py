# SPDX-License-Identifier: Apache-2.0
"""How long a model's inferences take: an interpreter that times the one it wraps, over the last so many."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from device.ports import Interpreter, TensorDetail

KEPT = 256


class TimedInterpreter:
    """An `Interpreter`. `took_s` belongs to its thread; another may read `percentiles_ms`."""

    def __init__(self, interpreter: Interpreter) -> None:
        self._interpreter = interpreter
        self.took_s: deque[float] = deque(maxlen=KEPT)
        self.count = 0

    @property
    def input(self) -> TensorDetail:
        """The single input tensor."""
        return self._interpreter.input

    @property
    def outputs(self) -> Mapping[str, TensorDetail]:
        """The output tensors by name."""
        return self._interpreter.outputs

    def invoke(self, tensor: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
        """Runs the model."""
        began = time.perf_counter()
        result = self._interpreter.invoke(tensor)
        self.took_s.append(time.perf_counter() - began)
        self.count += 1
        return result

    def percentiles_ms(self) -> tuple[float, float] | None:
        """p50 and p95 of the last KEPT inferences, milliseconds; None before the first."""
        took = sorted(self.took_s.copy())
        if not took:
            return None
        p50, p95 = (took[min(len(took) - 1, int(share * len(took)))] for share in (0.5, 0.95))
        return round(p50 * 1e3, 2), round(p95 * 1e3, 2)
