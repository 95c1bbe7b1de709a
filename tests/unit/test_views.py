# SPDX-License-Identifier: Apache-2.0
"""The smaller views: exact sizes, and averages rather than picked pixels."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from device.vision.views import fitted, lores_and_luma, scaled


@pytest.mark.parametrize(
    ("size", "limit", "expected"),
    [
        ((1280, 720), (320, 256), (320, 180)),
        ((640, 480), (320, 256), (320, 240)),
        ((480, 640), (320, 256), (192, 256)),
        ((300, 200), (320, 256), (300, 200)),
        ((5000, 2), (320, 256), (320, 1)),
    ],
)
def test_fitted_keeps_the_aspect_and_never_enlarges(
    size: tuple[int, int], limit: tuple[int, int], expected: tuple[int, int]
) -> None:
    """Computed by hand."""
    assert fitted(size, limit) == expected


def test_each_lores_pixel_is_the_average_of_those_it_covers() -> None:
    """A chessboard of single pixels becomes grey; picking every fourth pixel would give black or white."""
    board = (np.indices((720, 1280)).sum(axis=0) % 2 * 255).astype(np.uint8)
    lores, luma = lores_and_luma(np.dstack([board] * 3), (320, 256))
    assert lores.shape == (180, 320, 3)
    assert luma.shape == (45, 80)
    assert np.all(np.abs(lores.astype(int) - 127) <= 1)
    assert np.all(np.abs(luma.astype(int) - 127) <= 2)


@pytest.mark.parametrize("factor", [1.3, 2.5, 3.7])
def test_ratios_that_are_no_whole_numbers_stay_free_of_aliasing(factor: float) -> None:
    """Fine stripes come out as grey, give or take what a triangle filter leaves."""
    stripes = (np.indices((400, 600))[1] % 2 * 255).astype(np.uint8)
    size = (round(600 / factor), round(400 / factor))
    small = np.asarray(scaled(Image.fromarray(stripes), size)).astype(float)
    assert small.shape == (size[1], size[0])
    assert abs(small.mean() - 127.5) < 2
    assert small.std() < 75  # 127.5 would be the stripes themselves


def test_a_constant_picture_stays_constant() -> None:
    """No darker rim, at any size."""
    for width, height in ((641, 479), (1279, 717), (333, 777)):
        main = np.full((height, width, 3), (200, 100, 50), np.uint8)
        lores, luma = lores_and_luma(main, (320, 256))
        assert np.all(lores == (200, 100, 50))
        assert len(np.unique(luma)) == 1


def test_a_picture_that_fits_is_its_own_lores() -> None:
    """Shared, not copied; the luma of a tiny one is as wide as it is."""
    main = np.zeros((40, 60, 3), np.uint8)
    lores, luma = lores_and_luma(main, (320, 256))
    assert lores is main
    assert luma.shape == (40, 60)
