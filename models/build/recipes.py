# SPDX-License-Identifier: Apache-2.0
"""The models we ship and how each of their files is made; the words of the manifests that are not measured.

Every figure here was chosen by measuring (models/README.md says what); change one, and measure again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from calibration import SEED, Portrait, crops, scenes
from checks import require_same
from equalise import bias_corrected, equalised, observed_tails, shared_tails
from lower import Lowering
from network import Network, read_network, reverse_channels
from ranges import observe, run
from sources import SFACE, YUNET, Source
from tflite_file import Quantisation

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL import Image

SCENES = 160
OUTLIERS = 0.1  # share of the scenes whose extremes may saturate
PIXEL = Quantisation(np.float32(1.0), -128)  # value = pixel
# SFace wants (pixel - 127.5) / 128. With this the level is pixel - 128, exactly, for all 256 of them; it reads half a
# level high, which `_half_level_lower` takes out of the first bias.
SFACE_PIXEL = Quantisation(np.float32(1 / 128), -1)
# Crops of each portrait that the tails' shapes are taken from, and how many deviations the middle channel of a tensor
# holds, in the first and in the last convolution.
CROPS = 60
FIRST_DEVIATIONS, LAST_DEVIATIONS = 4.5, 5.5
PORTRAITS_TEXT = (
    "astronaut.png (NASA, Eileen Collins) and grace_hopper.jpg (United States Navy), both public domain"
)


@dataclass(frozen=True, slots=True)
class Variant:
    """One .tflite file."""

    name: str
    content: bytes
    delegates: tuple[str, ...]
    quantisation: str
    calibration: str


@dataclass(frozen=True, slots=True)
class Model:
    """One folder of models/."""

    name: str
    task: str
    source: Source
    size: tuple[int, int]
    offset: float
    scale: float
    notes: str
    variants: tuple[Variant, ...]


def read_yunet(path: Path) -> Network:
    """YuNet for RGB: its authors trained it on BGR, so the channels of its first weights are reversed."""
    return reverse_channels(read_network(path, {}))


def read_sface(path: Path) -> Network:
    """SFace, trained on RGB already; its Sub and Mul are left to the input."""
    return read_network(path, {"fc1": "embedding"})


def find_landmarks(network: Network, images: list[Image.Image]) -> list[Portrait]:
    """The five landmarks of the one large face in each picture, by the float detector."""
    portraits = []
    width, height = 320, 320
    model = Lowering(network, (height, width), "float").tflite("")
    for image in images:
        factor = min(width / image.width, height / image.height)
        canvas = np.zeros((1, height, width, 3), np.float32)
        small = image.resize((round(image.width * factor), round(image.height * factor)))
        canvas[0, : small.height, : small.width] = np.asarray(small)
        outputs = run(model, canvas)
        scores = {stride: outputs[f"cls_{stride}"] * outputs[f"obj_{stride}"] for stride in (8, 16, 32)}
        stride = max(scores, key=lambda each: float(scores[each].max()))
        y, x = np.unravel_index(int(scores[stride].argmax()), scores[stride].shape)[1:3]
        points = outputs[f"kps_{stride}"][0, y, x].reshape(5, 2).astype(np.float64)
        portraits.append(Portrait(image, (points + np.array([x, y])) * stride / factor))
    return portraits


def build_yunet(network: Network, portraits: list[Portrait], width: int, height: int) -> Model:
    """The detector at one input size, which is fixed in the file."""
    shape = height, width
    float_model = Lowering(network, shape, "float").tflite("")
    pictures = [
        picture[np.newaxis].astype(np.float32) for picture in scenes(portraits, width, height, SCENES)
    ]
    ranges = observe(float_model, network, pictures, OUTLIERS)
    content = Lowering(network, shape, "int8", given=PIXEL, ranges=ranges).tflite(
        "YuNet face detector (MIT, Shiqi Yu), int8, RGB; built by Porter"
    )
    variant = Variant(
        "int8",
        content,
        ("cpu", "edgetpu"),
        "int8 in and out; weights by output channel; input level = pixel - 128",
        f"{SCENES} scenes of {PORTRAITS_TEXT}, varied in place, size (8 px between the eyes and up), turn, light, "
        f"focus and noise on plain backgrounds, some without a face; seed {SEED}; ranges hold the extremes of all but "
        f"{OUTLIERS:.0%} of the scenes",
    )
    notes = (
        "YuNet was trained on BGR; the channels of its first convolution are reversed, so it takes RGB. Outputs are "
        "the twelve maps at strides 8, 16 and 32 before any decoding. The score of a cell is sqrt(cls * obj)."
    )
    return Model(f"yunet-{width}x{height}", "detector", YUNET, (width, height), 0.0, 1.0, notes, (variant,))


def build_sface(network: Network, portraits: list[Portrait]) -> Model:
    """The embedder: dynamic-range for the CPU, fully int8 for the Edge TPU."""
    shape = 112, 112
    dynamic = Variant(
        "dynamic",
        Lowering(network, shape, "dynamic").tflite(
            "SFace face embedder (Apache-2.0), int8 weights, RGB; built by Porter"
        ),
        ("cpu",),
        "int8 weights by output channel, float values; depthwise and first convolutions stay float",
        "none needed: no value is quantised ahead of time",
    )
    float_model = Lowering(network, shape, "float").tflite("")
    people = [
        observed_tails(float_model, network, (sface_input(crop) for crop in crops(portrait, CROPS)))
        for portrait in portraits
    ]
    even, ranges = equalised(network, shared_tails(people, FIRST_DEVIATIONS, LAST_DEVIATIONS))
    crop = sface_input(crops(portraits[0], 1)[0])
    require_same(float_model, Lowering(even, shape, "float").tflite(""), crop)
    int8 = Variant(
        "int8",
        Lowering(
            _half_level_lower(bias_corrected(even)), shape, "int8", given=SFACE_PIXEL, ranges=ranges
        ).tflite("SFace face embedder (Apache-2.0), int8, RGB; built by Porter"),
        ("edgetpu", "cpu"),
        "int8 in and out; weights by output channel; input level = pixel - 128 (the half level to offset 127.5 is in "
        "the first bias)",
        f"ranges are {FIRST_DEVIATIONS:g} (first convolution) to {LAST_DEVIATIONS:g} (last) deviations around the "
        "means in SFace's own BatchNorms, where its authors' training left them; channels are scaled to tails of one "
        f"length, as {CROPS} crops each of {PORTRAITS_TEXT} show them, varied in size, place, light, focus and noise; "
        f"seed {SEED}; biases are corrected for the weights' rounding from the BatchNorms",
    )
    notes = (
        "int8 is larger than the Edge TPU's 8 MB of memory: part of it is streamed over USB at each inference. Its "
        "authors trained it on photos of people collected from the web, who were not asked; accuracy may differ "
        "between groups of people: measure with those who will use it."
    )
    return Model("sface", "embedder", SFACE, (112, 112), 127.5, 128.0, notes, (dynamic, int8))


def sface_input(crop: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A crop as the float model takes it."""
    values: NDArray[np.float32] = ((crop[np.newaxis].astype(np.float32) - 127.5) / 128).astype(np.float32)
    return values


def _half_level_lower(network: Network) -> Network:
    """The network for an input that reads half of 1/128 too high everywhere."""
    first = network.layers[0]
    return network.with_layer(0, replace(first, bias=first.bias - first.weights.sum((1, 2, 3)) * (0.5 / 128)))
