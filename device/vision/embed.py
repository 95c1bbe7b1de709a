# SPDX-License-Identifier: Apache-2.0
"""Embedding: an aligned crop becomes a vector of unit length, so that a dot product is the cosine.

Called only for a face that presents itself (recognition/presentation.py): passers-by are never templated.
An interpreter's tensors keep the last crop and what became of it until the next invocation: `forget` overwrites them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from device.vision.tensors import InputEncoder, Normalisation, dequantise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from device.ports import Interpreter

OUTPUT_NAME = "embedding"


class Embedder:
    """Embeds aligned crops. Belongs to the thread of its interpreter."""

    def __init__(self, interpreter: Interpreter, normalisation: Normalisation) -> None:
        if OUTPUT_NAME not in interpreter.outputs:
            raise ValueError(f"not an embedder: output {OUTPUT_NAME} is missing")
        self._interpreter = interpreter
        self._encoder = InputEncoder(interpreter.input, normalisation)
        self._detail = interpreter.outputs[OUTPUT_NAME]
        self._holds_face = False

    @property
    def dimension(self) -> int:
        """Length D of an embedding."""
        return self._detail.shape[-1]

    def embed(self, crop: NDArray[np.uint8]) -> NDArray[np.float32]:
        """crop: (112, 112, 3) uint8 RGB. Returns (D,) float32 of unit length; zeros where the model gave zeros."""
        self._holds_face = True
        raw = self._interpreter.invoke(self._encoder.encode(crop))[OUTPUT_NAME]
        values = dequantise(raw.reshape(-1), self._detail)
        raw.fill(0)  # the embedding at another length: small blocks wait for reuse with what they held
        return unit(values)

    def embed_mirrored(self, crop: NDArray[np.uint8]) -> NDArray[np.float32]:
        """As `embed`, of the crop and its mirror image together: the mean of the two, of unit length.

        Two invocations, so for references only: neither side's light and parting of the hair counts for all.
        """
        both, mirrored = self.embed(crop), self.embed(np.ascontiguousarray(crop[:, ::-1]))
        both += mirrored
        mirrored.fill(0.0)
        return unit(both)

    def dropped(self) -> None:
        """The interpreter's tensors are gone, and whatever face was in them."""
        self._holds_face = False

    def forget(self) -> NDArray[np.float32] | None:
        """Embeds a black crop, where a face was embedded last, so that nothing of it stays in the interpreter.

        Returns what came out, for whoever else has to be overwritten; None where there was nothing to forget.
        """
        if not self._holds_face:
            return None
        black = self.embed(np.zeros((self._encoder.height_px, self._encoder.width_px, 3), np.uint8))
        self._holds_face = False
        return black


def unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """`vector` ((D,) float32) itself, at length 1; zeros stay. In its place: a copy would stay in freed memory."""
    length = math.sqrt(float(vector @ vector))
    if length > 0.0:
        vector /= np.float32(length)
    return vector
