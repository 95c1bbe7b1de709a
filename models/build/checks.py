# SPDX-License-Identifier: Apache-2.0
"""Does the float .tflite compute what its ONNX source computes? Every output, by name, on a picture of noise.

Noise on purpose: it drives every channel, and a channel order turned twice or a border padded wrongly shows.
The source is run by onnxruntime at the size it was exported for, so the check is made at that size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
from lower import Lowering
from ranges import run

if TYPE_CHECKING:
    from pathlib import Path

    from network import Network
    from numpy.typing import NDArray

# Float32 rounding over some fifty layers; a wrong weight is off by 0.1 and more.
LARGEST_DIFFERENCE = 1e-4


class DifferenceError(Exception):
    """The rebuilt network computes something else."""


def largest_difference(network: Network, path: Path, *, bgr: bool, offset: float, scale: float) -> float:
    """The largest absolute difference of any output; `bgr`: the source takes BGR. Raises DifferenceError."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # SFace lists its weights as inputs, which is a warning each
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    shape = given.shape[2], given.shape[3]
    picture = np.random.default_rng(1).integers(0, 256, (1, *shape, 3)).astype(np.float32)
    model = Lowering(network, shape, "float").tflite("")
    found = run(model, ((picture - offset) / scale).astype(np.float32))
    source: NDArray[np.float32] = (picture[..., ::-1] if bgr else picture).transpose(0, 3, 1, 2)
    expected = session.run(None, {given.name: np.ascontiguousarray(source)})
    worst = 0.0
    for name, value in zip(network.outputs, expected, strict=True):
        worst = max(worst, float(np.abs(found[name].reshape(value.shape) - value).max()))
    if worst > LARGEST_DIFFERENCE:
        raise DifferenceError(
            f"{path.name}: differs from its source by {worst:.2g} (at most {LARGEST_DIFFERENCE:g})"
        )
    return worst


def require_same(one: bytes, other: bytes, value: NDArray[np.float32]) -> None:
    """Two float models must give the same outputs for `value` (an input tensor). Raises DifferenceError."""
    outputs, others = run(one, value), run(other, value)
    worst = max(float(np.abs(outputs[name] - others[name]).max()) for name in outputs)
    if worst > LARGEST_DIFFERENCE:
        raise DifferenceError(
            f"the scaled network differs from its source by {worst:.2g} (at most {LARGEST_DIFFERENCE:g})"
        )
