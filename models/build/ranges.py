# SPDX-License-Identifier: Apache-2.0
"""What values each tensor takes: observed by running the float model, or known from its BatchNorms.

BatchNorm's mean and deviation were taken over the authors' whole training set; any pictures we may use are a handful
of people. Where a network kept its BatchNorms (SFace) they are the better witness, and no picture is needed at all
(the idea is from Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from lower import Range

if TYPE_CHECKING:
    from collections.abc import Iterable

    from network import Layer, Network, Statistics
    from numpy.typing import NDArray


def run(model: bytes, value: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """One inference; outputs by name."""
    interpreter = Interpreter(model_content=model)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], value)
    interpreter.invoke()
    return {item["name"]: interpreter.get_tensor(item["index"]) for item in interpreter.get_output_details()}


def observe(
    model: bytes, network: Network, values: Iterable[NDArray[np.float32]], outliers: float
) -> dict[str, Range]:
    """What every activation reaches in all but the share `outliers` of `values` (input tensors), in the float model.

    The rarest extremes are left to saturate: a range that holds them all makes every other value coarser.
    """
    interpreter = Interpreter(
        model_content=model,
        experimental_preserve_all_tensors=True,
        # A delegate would fuse operators and leave the tensors between them empty.
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    given = interpreter.get_input_details()[0]["index"]
    index = {item["name"]: item["index"] for item in interpreter.get_tensor_details() if item["name"]}
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


def from_statistics(network: Network, first: float, last: float) -> dict[str, Range]:
    """Ranges that hold every channel's mean plus and minus some deviations, for layers that carry statistics.

    The number of deviations grows from `first` at the first layer to `last` at the last: early maps are large and
    what saturates is averaged away by the layers that follow, in the late ones every value counts.
    A PReLU follows from the layer before it: positive values pass, negative ones are scaled by alpha.
    """
    made = {layer.output: layer for layer in network.layers}
    ranges = {}
    for layer, deviations in zip(network.layers, np.linspace(first, last, len(network.layers)), strict=True):
        source = made.get(layer.inputs[0])
        if layer.kind == "prelu" and source is not None and source.statistics is not None:
            ranges[layer.output] = _through_prelu(layer, source.statistics, deviations)
        elif layer.statistics is not None:
            mean, spread = layer.statistics.mean, layer.statistics.deviation * deviations
            ranges[layer.output] = Range(float((mean - spread).min()), float((mean + spread).max()))
    return ranges


def _through_prelu(layer: Layer, statistics: Statistics, deviations: float) -> Range:
    mean, spread = statistics.mean, statistics.deviation * deviations
    negative = layer.weights * np.minimum(mean - spread, 0.0)
    ends = np.concatenate([negative, np.maximum(mean + spread, 0.0)])
    return Range(float(ends.min()), float(ends.max()))
