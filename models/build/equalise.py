# SPDX-License-Identifier: Apache-2.0
"""Makes a network fit for int8 before it is lowered: channels that share a scale get tails of one length.

A tensor has one scale, and its worst channel sets it. PReLU lets a positive factor through, so a convolution's output
channel may be scaled by any s > 0 where the next convolution's weights for it are divided by s: the float network
stays the same (Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction").
SFace's BatchNorms have already given every channel the deviation 1, so it is not the deviations that differ but how
many of them a channel's rarest values reach: 3 to 30. No BatchNorm knows that; pictures do, and two people turned out
to agree on it (see `shared_tails`).

What may surprise: the mean of what the weights' rounding adds is taken out of the biases at the end, from the
BatchNorms alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from lower import Range, rounded_weights
from network import Network, Statistics
from ranges import transparent

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from network import Layer
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# Of a dense (1x1) convolution's input channels only this power of the wanted factor is taken: its weights share a
# scale by output channel, so what evens out the values makes the weights uneven. Depthwise weights have a scale each.
DENSE_POWER = 0.75
LEAST_TAIL = (
    0.3  # deviations, added to every observed tail: a channel that two people never moved is not dead
)
RATIOS = np.geomspace(0.2, 5.0, 41)  # of a range's negative to its positive part


@dataclass(frozen=True, slots=True)
class Tails:
    """How far a convolution's output channels reach below and above their mean, in deviations; (C,) each."""

    below: Floats
    above: Floats


def observed_tails(model: bytes, network: Network, values: Iterable[NDArray[np.float32]]) -> dict[str, Tails]:
    """The extremes of every channel that has statistics, over `values` (input tensors), in the float model."""
    interpreter, given, index = transparent(model)
    layers = _convolutions(network)
    lows = {name: np.full(statistics.mean.shape, np.inf) for name, statistics in layers.items()}
    highs = {name: -low for name, low in lows.items()}
    for value in values:
        interpreter.set_tensor(given, value)
        interpreter.invoke()
        for name, low in lows.items():
            tensor = interpreter.get_tensor(index[name])
            np.minimum(low, tensor.min((0, 1, 2)), out=low)
            np.maximum(highs[name], tensor.max((0, 1, 2)), out=highs[name])
    return {
        name: Tails(
            np.maximum((each.mean - lows[name]) / each.deviation, 0.0) + LEAST_TAIL,
            np.maximum((highs[name] - each.mean) / each.deviation, 0.0) + LEAST_TAIL,
        )
        for name, each in layers.items()
    }


def shared_tails(people: Sequence[Mapping[str, Tails]], first: float, last: float) -> dict[str, Tails]:
    """Tails to build with: as long as `first` (first convolution) to `last` (last one) deviations in the middle of
    a tensor's channels, and shaped as all of the two `people` show, so far as they agree.

    A channel's distance from the median, on a log scale, is multiplied by the correlation between the two: 0.9 in
    early layers, where it is about edges and colours, and near 0 in the last, where it is about who they are.
    """
    one, other = people
    tails = {}
    for name, middle in zip(one, np.linspace(first, last, len(one)), strict=True):
        pairs = ((one[name].below, other[name].below), (one[name].above, other[name].above))
        longest = [np.maximum(*pair) for pair in pairs]
        medians = [float(np.median(each)) for each in longest]
        usual = math.sqrt(medians[0] * medians[1])
        below, above = (
            middle * median / usual * (each / median) ** _agreement(*pair)
            for each, median, pair in zip(longest, medians, pairs, strict=True)
        )
        tails[name] = Tails(below, above)
    return tails


def equalised(network: Network, tails: Mapping[str, Tails]) -> tuple[Network, dict[str, Range]]:
    """The same float network with its channels scaled, and the range of every tensor.

    Statistics are scaled along. A last convolution, which no PReLU follows, is left as it is.
    """
    layers = list(network.layers)
    reader = {name: index for index, layer in enumerate(layers) for name in layer.inputs}
    ranges = {}
    for index, layer in enumerate(layers):
        if layer.output not in tails or layer.statistics is None:
            continue
        mean, deviation = layer.statistics.mean, layer.statistics.deviation
        low = np.minimum(mean - tails[layer.output].below * deviation, -1e-3)
        high = np.maximum(mean + tails[layer.output].above * deviation, 1e-3)
        after = layers[reader[layer.output]]
        if after.kind != "prelu":
            ranges[layer.output] = Range(float(low.min()), float(high.max()))
            continue
        at = reader[after.output]
        factor = _factor(low, high, after.weights, 1.0 if layers[at].kind == "depthwise" else DENSE_POWER)
        passed_low, passed_high = _through(after.weights, low, high)
        ranges[layer.output] = Range(float((factor * low).min()), float((factor * high).max()))
        ranges[after.output] = Range(float((factor * passed_low).min()), float((factor * passed_high).max()))
        layers[index] = _scaled(layers[index], factor)
        # The last axis is the input channel in both forms: of a depthwise convolution it is the output's as well.
        layers[at] = replace(layers[at], weights=layers[at].weights / factor)
    return replace(network, layers=tuple(layers)), ranges


def bias_corrected(network: Network) -> Network:
    """Takes the mean of what rounding its weights adds out of each convolution's bias.

    The mean of its input is known: a normal distribution with BatchNorm's mean and deviation, through the PReLU.
    The first convolution reads pixels, of which nothing is known, and stays as it is.
    """
    made = {layer.output: layer for layer in network.layers}
    layers = []
    for layer in network.layers:
        between = made.get(layer.inputs[0])
        if layer.kind not in {"conv", "depthwise"} or between is None or between.kind != "prelu":
            layers.append(layer)
            continue
        statistics = made[between.inputs[0]].statistics
        if statistics is None:
            raise ValueError(f"{between.inputs[0]}: no statistics to correct a bias by")
        axis = 0 if layer.kind == "conv" else 3
        levels, scale = rounded_weights(layer.weights, axis)
        added = levels * scale - layer.weights
        others = tuple(number for number in range(4) if number != axis)
        shift = (added * _mean_through(between.weights, statistics)).sum(others)
        layers.append(replace(layer, bias=layer.bias - shift))
    return replace(network, layers=tuple(layers))


def _convolutions(network: Network) -> dict[str, Statistics]:
    return {
        layer.output: layer.statistics
        for layer in network.layers
        if layer.statistics is not None and layer.kind in {"conv", "depthwise"}
    }


def _agreement(one: Floats, other: Floats) -> float:
    return max(0.0, float(np.corrcoef(np.log(one), np.log(other))[0, 1]))


def _factor(low: Floats, high: Floats, alpha: Floats, power: float) -> Floats:
    """(C,) factors that bring every channel to the same length, with the range's asymmetry that rounds least.

    Rounding's variance, in the channel's own unit, is that of the tensor's step over the factor; the tensors before
    and after the PReLU both round.
    """
    best, least = np.ones_like(high), math.inf
    passed_low, passed_high = _through(alpha, low, high)
    for ratio in RATIOS:
        factor = np.maximum(high, -low / ratio) ** -power
        before = (factor * high).max() - (factor * low).min()
        after = (factor * passed_high).max() - (factor * passed_low).min()
        variance = float((before**2 + after**2) * np.mean(factor**-2))
        if variance < least:
            best, least = factor, variance
    return best


def _through(alpha: Floats, low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """A PReLU's range by channel: positive values pass, negative ones are scaled by alpha, which may be negative."""
    turned = alpha * low
    return np.minimum(turned, 0.0), np.maximum(turned, high)


def _mean_through(alpha: Floats, statistics: Statistics) -> Floats:
    """Mean of a normal distribution after a PReLU."""
    ratio = statistics.mean / statistics.deviation
    density = np.exp(-(ratio**2) / 2) / math.sqrt(2 * math.pi)
    above = (1 + np.array([math.erf(each / math.sqrt(2)) for each in ratio])) / 2
    positive = statistics.mean * above + statistics.deviation * density
    mean: Floats = positive + alpha * (statistics.mean - positive)
    return mean


def _scaled(layer: Layer, factor: Floats) -> Layer:
    statistics = layer.statistics
    return replace(
        layer,
        weights=layer.weights * (factor[:, None, None, None] if layer.kind == "conv" else factor),
        bias=layer.bias * factor,
        statistics=statistics and Statistics(statistics.mean * factor, statistics.deviation * factor),
    )
