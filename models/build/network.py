# SPDX-License-Identifier: Apache-2.0
"""An ONNX graph as a short list of layers in TFLite's layout (NHWC), with every BatchNorm folded away.

Knows only the operators that YuNet and SFace use and stops at any other: a graph that is half understood would give a
model that is half right. What it keeps beside weights is what BatchNorm knew: mean and deviation of each channel over
the authors' whole training set, which says more about ranges than the few pictures we may calibrate on.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import onnx
from onnx import numpy_helper

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

Kind = Literal["conv", "depthwise", "prelu", "sigmoid", "add", "maxpool", "upsample", "flatten"]


@dataclass(frozen=True, slots=True)
class Statistics:
    """Mean and standard deviation of each channel, as a BatchNorm saw them in training."""

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]


def _nothing() -> NDArray[np.float64]:
    return np.zeros(0)


@dataclass(frozen=True, slots=True)
class Layer:
    """One operator.

    Weights: conv (out, height, width, in), depthwise (1, height, width, channels), prelu (channels,); else empty.
    """

    kind: Kind
    inputs: tuple[str, ...]
    output: str
    weights: NDArray[np.float64] = field(default_factory=_nothing)
    bias: NDArray[np.float64] = field(default_factory=_nothing)
    stride: int = 1
    pad: int = 0
    relu: bool = False
    statistics: Statistics | None = None


@dataclass(frozen=True, slots=True)
class Network:
    """Layers in the order they run."""

    input: str
    outputs: tuple[str, ...]
    layers: tuple[Layer, ...]

    def with_layer(self, index: int, layer: Layer) -> Network:
        """A copy with one layer replaced."""
        return replace(self, layers=(*self.layers[:index], layer, *self.layers[index + 1 :]))


def read_network(path: Path, renamed: dict[str, str]) -> Network:
    """Reads an ONNX file; `renamed` gives outputs better names. Raises ValueError for an unknown operator."""
    return _Reader(onnx.load(path).graph).read(renamed)


def reverse_channels(network: Network) -> Network:
    """The same network for pictures whose channels come in the other order (BGR to RGB): the first weights turn."""
    first = network.layers[0]
    if first.kind != "conv" or first.inputs != (network.input,):
        raise ValueError("the channel order can only be folded into a convolution that reads the picture")
    return network.with_layer(0, replace(first, weights=first.weights[..., ::-1].copy()))


class _Reader:
    """Walks the graph once; `_names` maps a tensor to the one that carries its values here."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._constants = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
        self._layers: list[Layer] = []
        self._made_by: dict[str, int] = {}
        self._names: dict[str, str] = {}
        self._affine: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
        used = [name for node in graph.node for name in node.input]
        self._uses = {name: used.count(name) for name in set(used)}
        self._handlers: dict[str, Callable[[Any], None]] = {
            "Conv": self._conv,
            "Gemm": self._gemm,
            "BatchNormalization": self._batch_norm,
            "PRelu": self._prelu,
            "Relu": self._relu,
            "Sigmoid": lambda node: self._add(Layer("sigmoid", self._inputs(node, 1), node.output[0])),
            "Add": lambda node: self._add(Layer("add", self._inputs(node, 2), node.output[0])),
            "MaxPool": self._max_pool,
            "Resize": self._resize,
            "Constant": self._constant,
        }
        # SFace's Sub and Mul are left to the input's quantisation, YuNet's rows stay maps, Dropout was for training.
        for passed in ("Sub", "Mul", "Dropout", "Flatten", "Transpose", "Reshape"):
            self._handlers[passed] = self._pass

    def read(self, renamed: dict[str, str]) -> Network:
        given = [item.name for item in self._graph.input if item.name not in self._constants]
        if given[0] != "input":
            self._names[given[0]] = "input"
        for node in self._graph.node:
            handler = self._handlers.get(node.op_type)
            if handler is None:
                raise ValueError(f"operator {node.op_type} ({node.output[0]}) is not known to this builder")
            handler(node)
        outputs = [item.name for item in self._graph.output]
        names = {self._resolve(name): renamed.get(name, name) for name in outputs}
        layers = tuple(
            replace(
                layer,
                inputs=tuple(names.get(name, name) for name in layer.inputs),
                output=names.get(layer.output, layer.output),
            )
            for layer in self._layers
        )
        return Network("input", tuple(renamed.get(name, name) for name in outputs), layers)

    def _resolve(self, name: str) -> str:
        while name in self._names:
            name = self._names[name]
        return name

    def _inputs(self, node: onnx.NodeProto, count: int) -> tuple[str, ...]:
        return tuple(self._resolve(name) for name in node.input[:count])

    def _array(self, name: str) -> NDArray[np.float64]:
        return np.asarray(self._constants[name], np.float64)

    def _add(self, layer: Layer) -> None:
        self._made_by[layer.output] = len(self._layers)
        self._layers.append(layer)

    def _pass(self, node: onnx.NodeProto) -> None:
        self._names[node.output[0]] = node.input[0]

    def _constant(self, node: onnx.NodeProto) -> None:
        self._constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)

    def _conv(self, node: onnx.NodeProto) -> None:
        options = _options(node)
        weights = self._array(node.input[1])
        bias = self._array(node.input[2]) if len(node.input) > 2 else np.zeros(len(weights))
        group = options.get("group", 1)
        if group not in {1, len(weights)} or (group > 1 and weights.shape[1] != 1):
            raise ValueError(f"{node.output[0]}: convolution in {group} groups is not known to this builder")
        pads, strides = options.get("pads", [0] * 4), options.get("strides", [1, 1])
        if len(set(pads)) != 1 or len(set(strides)) != 1:
            raise ValueError(f"{node.output[0]}: pads {pads} or strides {strides} differ by side")
        kind: Kind = "depthwise" if group > 1 else "conv"
        order = (1, 2, 3, 0) if group > 1 else (0, 2, 3, 1)
        self._add(
            Layer(
                kind,
                self._inputs(node, 1),
                node.output[0],
                weights.transpose(order),
                bias,
                strides[0],
                pads[0],
            )
        )

    def _gemm(self, node: onnx.NodeProto) -> None:
        """A dense layer over a map is a convolution as large as the map, and as such quantised by channel."""
        (source,) = self._inputs(node, 1)
        weights, bias = self._array(node.input[1]), self._array(node.input[2])
        channels = _channels(self._layers, self._made_by, source)
        edge = round((weights.shape[1] / channels) ** 0.5)
        weights = weights.reshape(-1, channels, edge, edge).transpose(0, 2, 3, 1)
        if source in self._affine:
            scale, shift = self._affine.pop(source)
            bias = bias + (weights * shift).sum((1, 2, 3))
            weights = weights * scale
        name = f"{node.output[0]}_map"
        self._add(Layer("conv", (source,), name, weights, bias))
        self._add(Layer("flatten", (name,), node.output[0]))

    def _batch_norm(self, node: onnx.NodeProto) -> None:
        gamma, beta, mean, variance = (self._array(name) for name in node.input[1:5])
        deviation = np.sqrt(variance + _options(node).get("epsilon", 1e-5))
        scale = gamma / deviation
        shift = beta - mean * scale
        (source,) = self._inputs(node, 1)
        self._names[node.output[0]] = source
        index = self._made_by[source]
        if self._layers[index].kind == "flatten":
            index -= 1
        layer = self._layers[index]
        if layer.kind in {"conv", "depthwise"}:
            by_channel = scale[:, None, None, None] if layer.kind == "conv" else scale
            self._layers[index] = replace(
                layer,
                weights=layer.weights * by_channel,
                bias=layer.bias * scale + shift,
                statistics=Statistics(beta, np.abs(gamma)),
            )
        else:  # it stands before the layer that will take it in
            self._affine[source] = scale, shift
            self._layers[index] = replace(layer, statistics=Statistics(mean, np.sqrt(variance)))

    def _prelu(self, node: onnx.NodeProto) -> None:
        self._add(
            Layer("prelu", self._inputs(node, 1), node.output[0], self._array(node.input[1]).reshape(-1))
        )

    def _relu(self, node: onnx.NodeProto) -> None:
        (source,) = self._inputs(node, 1)
        index = self._made_by.get(source, -1)
        if (
            index < 0
            or self._layers[index].kind not in {"conv", "depthwise"}
            or self._uses[node.input[0]] != 1
        ):
            raise ValueError(
                f"{node.output[0]}: a Relu that no convolution can take in is not known to this builder"
            )
        self._layers[index] = replace(self._layers[index], relu=True)
        self._names[node.output[0]] = source

    def _max_pool(self, node: onnx.NodeProto) -> None:
        options = _options(node)
        if options["kernel_shape"] != [2, 2] or options["strides"] != [2, 2] or any(options.get("pads", [])):
            raise ValueError(f"{node.output[0]}: only 2x2 pooling is known to this builder")
        self._add(Layer("maxpool", self._inputs(node, 1), node.output[0], stride=2))

    def _resize(self, node: onnx.NodeProto) -> None:
        options = _options(node)
        scales = [float(value) for value in self._constants.get(node.input[2], np.zeros(0))]
        if options.get("mode") != b"nearest" or scales != [1.0, 1.0, 2.0, 2.0]:
            raise ValueError(
                f"{node.output[0]}: only resizing to twice the size, nearest, is known to this builder"
            )
        self._add(Layer("upsample", self._inputs(node, 1), node.output[0]))


def _options(node: onnx.NodeProto) -> dict[str, Any]:
    return {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}


def _channels(layers: list[Layer], made_by: dict[str, int], name: str) -> int:
    """Channels of an activation: those of the nearest weights above it."""
    layer = layers[made_by[name]]
    if layer.weights.size == 0:
        return _channels(layers, made_by, layer.inputs[0])
    return layer.weights.shape[0] if layer.kind == "conv" else layer.weights.shape[-1]
