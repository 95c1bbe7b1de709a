# SPDX-License-Identifier: Apache-2.0
"""From layers to TFLite operators, in one of three forms: float, dynamic (int8 weights, float values), int8.

The int8 rules are TFLite's quantisation specification: values by tensor with a zero point; weights by output channel
and symmetric; biases int32 at scale (input x weights). Pads, pools and copies keep their input's scale; a sigmoid's
is 1/256 by definition. Symmetric padding with stride 2 is not TFLite's SAME, which pads right and below first:
there the padding is an operator of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from tflite_file import Operator, Quantisation, Tensor, tflite_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from network import Layer, Network
    from numpy.typing import NDArray

Scheme = Literal["float", "dynamic", "int8"]
SAME, VALID = schema.Padding.SAME, schema.Padding.VALID
# Below this, int8 weights save nothing worth their rounding: TensorFlow's converter draws the same line.
DYNAMIC_MIN_WEIGHTS = 1024
# Oldest versions that know int8 ("int8") or int8 weights by channel beside float values ("dynamic"). The Edge TPU's
# compiler refuses RESIZE_NEAREST_NEIGHBOR 3 (google-coral/edgetpu issues 114, 206, 420).
VERSIONS = {
    "CONV_2D": {"dynamic": 5, "int8": 3},
    "DEPTHWISE_CONV_2D": {"int8": 3},
    "PAD": {"int8": 2},
    "ADD": {"int8": 2},
    "MAX_POOL_2D": {"int8": 2},
    "RESIZE_NEAREST_NEIGHBOR": {"int8": 2},
    "LOGISTIC": {"int8": 2},
}


@dataclass(frozen=True, slots=True)
class Range:
    """The smallest and largest value a tensor must be able to hold."""

    low: float
    high: float

    def quantisation(self) -> Quantisation:
        """int8 over this range, widened so that 0 is a level of its own (padding must be exact)."""
        low, high = min(self.low, 0.0), max(self.high, 0.0)
        scale = max(high - low, 1e-8) / 255.0
        return Quantisation(np.float32(scale), int(np.clip(round(-128 - low / scale), -128, 127)))


def rounded_weights(weights: NDArray[np.float64], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """int8 levels, symmetric, and their scales by channel of `axis`, shaped to multiply the levels with."""
    others = tuple(number for number in range(weights.ndim) if number != axis)
    largest = np.abs(weights).max(others, keepdims=True)
    scale = (np.maximum(largest, 1e-12) / 127).astype(np.float32).astype(np.float64)
    return np.clip(np.rint(weights / scale), -127, 127).astype(np.int8), scale


class Lowering:
    """Builds the tensors and operators of one network, at one size and in one scheme."""

    def __init__(
        self,
        network: Network,
        shape: tuple[int, int],
        scheme: Scheme,
        *,
        given: Quantisation | None = None,
        ranges: Mapping[str, Range] | None = None,
    ) -> None:
        self._network = network
        self._scheme = scheme
        self._ranges = ranges or {}
        self._tensors: dict[str, Tensor] = {}
        self._operators: list[Operator] = []
        self._value(network.input, (1, *shape, 3), given)
        for layer in network.layers:
            getattr(self, f"_{layer.kind}")(layer)

    def tflite(self, description: str) -> bytes:
        """The file's bytes."""
        network = self._network
        return tflite_bytes(
            list(self._tensors.values()), self._operators, [network.input], list(network.outputs), description
        )

    def _value(self, name: str, shape: tuple[int, ...], quantisation: Quantisation | None = None) -> None:
        """A tensor that is computed. int8: its quantisation is given, or comes from its range."""
        if self._scheme != "int8":
            self._tensors[name] = Tensor(name, shape, "float32")
            return
        self._tensors[name] = Tensor(
            name, shape, "int8", None, quantisation or self._ranges[name].quantisation()
        )

    def _constant(self, name: str, data: NDArray[Any], quantisation: Quantisation | None = None) -> str:
        self._tensors[name] = Tensor(name, data.shape, data.dtype.name, data, quantisation)
        return name

    def _operator(
        self, name: str, inputs: tuple[str, ...], output: str, options: Any = None, scheme: str | None = None
    ) -> None:
        version = VERSIONS.get(name, {}).get(scheme or self._scheme, 1)
        self._operators.append(Operator(name, version, inputs, (output,), options))

    def _like(self, name: str) -> Quantisation | None:
        return self._tensors[name].quantisation

    def _scale(self, name: str) -> NDArray[np.float32]:
        quantisation = self._tensors[name].quantisation
        if quantisation is None:
            raise ValueError(f"{name} is not quantised")
        return quantisation.scale

    def _padded(self, layer: Layer) -> tuple[str, int]:
        """The convolution's input, padded by an operator where TFLite's paddings differ; and which of those to use."""
        (source,) = layer.inputs
        if layer.pad == 0:
            return source, VALID
        if layer.stride == 1 and layer.weights.shape[1] == 2 * layer.pad + 1:
            return source, SAME
        _, height, width, channels = self._tensors[source].shape
        name = f"{layer.output}/padded"
        edge = [layer.pad, layer.pad]
        sizes = self._constant(f"{name}/sizes", np.array([[0, 0], edge, edge, [0, 0]], np.int32))
        self._value(name, (1, height + sum(edge), width + sum(edge), channels), self._like(source))
        self._operator("PAD", (source, sizes), name, schema.PadOptionsT())
        return name, VALID

    def _conv(self, layer: Layer) -> None:
        options = schema.Conv2DOptionsT()
        self._convolution(layer, "CONV_2D", options, axis=0)

    def _depthwise(self, layer: Layer) -> None:
        options = schema.DepthwiseConv2DOptionsT()
        options.depthMultiplier = 1
        self._convolution(layer, "DEPTHWISE_CONV_2D", options, axis=3)

    def _convolution(self, layer: Layer, name: str, options: Any, axis: int) -> None:
        source, padding = self._padded(layer)
        options.padding = padding
        options.strideW = options.strideH = layer.stride
        options.dilationWFactor = options.dilationHFactor = 1
        activation = schema.ActivationFunctionType
        options.fusedActivationFunction = activation.RELU if layer.relu else activation.NONE
        scheme = self._scheme
        # Depthwise weights stay float in "dynamic": 72 KB more, but 8.2 ms against 13.7 for SFace (LiteRT 2.3, two
        # threads), and cosine to float 0.9995 against 0.9990, as fewer convolutions round their input.
        if scheme == "dynamic" and (layer.kind == "depthwise" or layer.weights.size < DYNAMIC_MIN_WEIGHTS):
            scheme = "float"
        constants = self._weights(layer, source, axis, scheme)
        _, height, width, _ = self._tensors[source].shape
        edge = layer.weights.shape[1] if padding == VALID else 1
        shape = (
            1,
            (height - edge) // layer.stride + 1,
            (width - edge) // layer.stride + 1,
            layer.weights.shape[axis],
        )
        self._value(layer.output, shape)
        self._operator(name, (source, *constants), layer.output, options, scheme)

    def _weights(self, layer: Layer, source: str, axis: int, scheme: str) -> tuple[str, str]:
        names = f"{layer.output}/weights", f"{layer.output}/bias"
        if scheme == "float":
            self._constant(names[0], layer.weights.astype(np.float32))
            self._constant(names[1], layer.bias.astype(np.float32))
            return names
        levels, by_channel = rounded_weights(layer.weights, axis)
        scale = by_channel.reshape(-1).astype(np.float32)
        self._constant(names[0], levels, Quantisation(scale, axis=axis))
        if scheme == "dynamic":
            self._constant(names[1], layer.bias.astype(np.float32))
            return names
        bias_scale = self._scale(source) * scale
        bias = np.rint(layer.bias / bias_scale.astype(np.float64))
        self._constant(names[1], bias.clip(-(2**31), 2**31 - 1).astype(np.int32), Quantisation(bias_scale))
        return names

    def _prelu(self, layer: Layer) -> None:
        """Alpha as [1, 1, C]: the one form that the Edge TPU takes."""
        (source,) = layer.inputs
        alpha = layer.weights.reshape(1, 1, -1)
        name = f"{layer.output}/alpha"
        if self._scheme == "int8":
            scale = np.float32(max(float(np.abs(alpha).max()), 1e-8) / 127)
            self._constant(name, np.rint(alpha / scale).astype(np.int8), Quantisation(scale))
        else:
            self._constant(name, alpha.astype(np.float32))
        self._value(layer.output, self._tensors[source].shape)
        self._operator("PRELU", (source, name), layer.output)

    def _sigmoid(self, layer: Layer) -> None:
        (source,) = layer.inputs
        self._value(layer.output, self._tensors[source].shape, Quantisation(np.float32(1 / 256), -128))
        self._operator("LOGISTIC", (source,), layer.output)

    def _add(self, layer: Layer) -> None:
        self._value(layer.output, self._tensors[layer.inputs[0]].shape)
        self._operator("ADD", layer.inputs, layer.output, schema.AddOptionsT())

    def _maxpool(self, layer: Layer) -> None:
        (source,) = layer.inputs
        options = schema.Pool2DOptionsT()
        options.padding = VALID
        options.strideW = options.strideH = options.filterWidth = options.filterHeight = layer.stride
        _, height, width, channels = self._tensors[source].shape
        shape = (1, height // layer.stride, width // layer.stride, channels)
        self._value(layer.output, shape, self._like(source))
        self._operator("MAX_POOL_2D", (source,), layer.output, options)

    def _upsample(self, layer: Layer) -> None:
        (source,) = layer.inputs
        _, height, width, channels = self._tensors[source].shape
        size = np.array([2 * height, 2 * width], np.int32)
        sizes = self._constant(f"{layer.output}/size", size)
        self._value(layer.output, (1, 2 * height, 2 * width, channels), self._like(source))
        self._operator(
            "RESIZE_NEAREST_NEIGHBOR", (source, sizes), layer.output, schema.ResizeNearestNeighborOptionsT()
        )

    def _flatten(self, layer: Layer) -> None:
        (source,) = layer.inputs
        shape = (1, int(np.prod(self._tensors[source].shape)))
        name = self._constant(f"{layer.output}/shape", np.array(shape, np.int32))
        self._value(layer.output, shape, self._like(source))
        options = schema.ReshapeOptionsT()
        options.newShape = list(shape)
        self._operator("RESHAPE", (source, name), layer.output, options)
