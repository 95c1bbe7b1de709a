# SPDX-License-Identifier: Apache-2.0
"""Verification as at the door: one picture of a pair is a reference, the other a probe; then the other way."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest

from device.measure.dataset import Pair
from device.measure.embeddings import FIRST_LOOK, PictureSet, VariantEmbeddings
from device.measure.verification import verify

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from device.measure.variants import EmbedderVariant


def unit(x: float, y: float) -> NDArray[np.float32]:
    return np.array([x, y], np.float32) / np.float32(np.hypot(x, y))


def test_each_picture_is_once_the_reference_and_once_the_probe() -> None:
    """Probes of one person are at right angles, their references alike: only as at the door are they one person."""
    a, b, c = Path("ann/1.jpg"), Path("ann/2.jpg"), Path("bob/1.jpg")
    each = VariantEmbeddings(cast("EmbedderVariant", None))
    each.rows = {"a": unit(1, 0), "b": unit(0, 1), "c": unit(0, 1)}
    each.references = {"a": unit(0.5, 0.8), "b": unit(0.8, 0.5), "c": unit(-1, 0.1)}
    each.look = dict.fromkeys("abc", FIRST_LOOK)
    pictures = PictureSet(keys={a: "a", b: "b", c: "c"}, variants=[each])
    pairs = [Pair(a, b if same else c, same, fold) for fold in (1, 2) for same in (True, False)]
    result = verify(pairs, pictures, each)
    assert result.genuine.tolist() == [0.0, 0.0]  # the protocol: probes alike
    assert result.folds.accuracy == 0.5
    # Ann: 0.8 / |(0.5, 0.8)| = 0.848 both ways. Bob: the mean of that and -1 / |(-1, 0.1)| = -0.995. Halfway: 0.387.
    assert result.at_the_door.accuracy == 1.0
    assert result.at_the_door.thresholds[0] == pytest.approx(0.387, abs=0.001)
