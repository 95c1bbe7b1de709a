# SPDX-License-Identifier: Apache-2.0
"""What values each tensor takes, observed by running the float model on pictures.

For a network that comes with its BatchNorms folded (YuNet). Where they were kept (SFace), equalise.py knows better:
their mean and deviation were taken over the authors' whole training set; the pictures we may use show two people.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from lower import Range

if TYPE_CHECKING:
    from collections.abc import Iterable

    from network import Network
    from numpy.typing import NDArray


def run(model: bytes, value: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """One inference; outputs by name."""
    interpreter = Interpreter(model_content=model)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], value)
    interpreter.invoke()
    return {item["name"]: interpreter.get_tensor(item["index"]) for item in interpreter.get_output_details()}


def transparent(model: bytes) -> tuple[Interpreter, int, dict[str, int]]:
    """An interpreter that keeps every tensor, the index of its input, and those of all tensors by name."""
    interpreter = Interpreter(
        model_content=model,
        experimental_preserve_all_tensors=True,
        # A delegate would fuse operators and leave the tensors between them empty.
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    given = interpreter.get_input_details()[0]["index"]
    index = {item["name"]: item["index"] for item in interpreter.get_tensor_details() if item["name"]}
    return interpreter, given, index


def observe(
    model: bytes, network: Network, values: Iterable[NDArray[np.float32]], outliers: float
) -> dict[str, Range]:
    """What every activation reaches in all but the share `outliers` of `values` (input tensors), in the float model.

    The rarest extremes are left to saturate: a range that holds them all makes every other value coarser.
    """
    interpreter, given, index = transparent(model)
    lows: dict[str, list[float]] = {layer.output: [] for layer in network.layers}
    highs: dict[str, list[float]] = {layer.output: [] for layer in network.layers}
    for value in values:
        interpreter.set_tensor(given, value)
        interpreter.invoke()
        for name, extremes in lows.items():
            tensor = interpreter.get_tensor(index[name])
            extremes.append(float(tensor.min()))
            highs[name].append(float(tensor.max()))
    return {
        name: Range(float(np.quantile(lows[name], outliers)), float(np.quantile(highs[name], 1.0 - outliers)))
        for name in lows
    }
