# SPDX-License-Identifier: Apache-2.0
"""Embedding: unit length, and with its mirror image where a reference is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from device.adapters.interpreter_recorded import RecordedInterpreter
from device.ports import TensorDetail
from device.vision.align import CROP_PX
from device.vision.embed import Embedder
from device.vision.tensors import Normalisation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


RAW = Normalisation("rgb", 0.0, 1.0)


def halves(tensor: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
    """The mean of the picture's left and right half, and nothing else."""
    middle = CROP_PX // 2
    means = [float(tensor[0, :, :middle].mean()), float(tensor[0, :, middle:].mean()), 0.0]
    return {"embedding": np.array([means], np.float32)}


def interpreter() -> RecordedInterpreter:
    return RecordedInterpreter(
        TensorDetail("input", (1, CROP_PX, CROP_PX, 3), "float32"),
        {"embedding": TensorDetail("embedding", (1, 3), "float32")},
        halves,
    )


def half_lit(left: int, right: int) -> NDArray[np.uint8]:
    crop = np.full((CROP_PX, CROP_PX, 3), left, np.uint8)
    crop[:, CROP_PX // 2 :] = right
    return crop


def test_a_mirrored_embedding_is_the_same_from_both_sides_and_has_unit_length() -> None:
    embedder = Embedder(interpreter(), RAW)
    from_left, from_right = half_lit(200, 0), half_lit(0, 200)
    assert embedder.embed(from_left).tolist() == [1.0, 0.0, 0.0]
    assert embedder.embed(from_right).tolist() == [0.0, 1.0, 0.0]
    both = embedder.embed_mirrored(from_left)
    assert both == pytest.approx(np.array([0.5**0.5, 0.5**0.5, 0.0]))
    assert both == pytest.approx(embedder.embed_mirrored(from_right))


def test_a_model_that_gives_nothing_gives_nothing_mirrored() -> None:
    assert Embedder(interpreter(), RAW).embed_mirrored(half_lit(0, 0)).tolist() == [0.0, 0.0, 0.0]


def test_what_the_model_said_is_overwritten_once_it_is_read() -> None:
    """Never 3: at another length it would be the embedding all the same."""
    played = interpreter()
    kept: list[NDArray[Any]] = []

    class Keeper:
        input, outputs = played.input, played.outputs

        def invoke(self, tensor: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
            result = played.invoke(tensor)
            assert result["embedding"].any()
            kept.append(result["embedding"])
            return result

    embedding = Embedder(Keeper(), RAW).embed(half_lit(200, 0))
    assert embedding.tolist() == [1.0, 0.0, 0.0]
    assert not kept[0].any()
