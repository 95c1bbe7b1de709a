# SPDX-License-Identifier: Apache-2.0
"""The smaller views of a captured picture: what the detector sees and what the motion gate sees.

Detection depends on how a picture is made smaller: taking every fourth pixel loses far faces. Here each new pixel is
an average of those it covers: an exact box average by the whole-number part of the ratio (Pillow's `reduce`, several
times faster than `resize`), then an antialiased step for the rest, which is always less than a factor of two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

Size = tuple[int, int]  # width, height in pixels
LUMA_WIDTH_PX = 80


def fitted(size_px: Size, limit_px: Size) -> Size:
    """The largest size of the same aspect that fits into `limit_px`; never larger than `size_px`, never empty."""
    width, height = size_px
    scale = min(1.0, limit_px[0] / width, limit_px[1] / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def scaled(picture: Image.Image, size_px: Size) -> Image.Image:
    """`picture` at `size_px`, which is not larger; the picture itself where that is its size already."""
    if picture.size == size_px:
        return picture
    return picture.resize(size_px, Image.Resampling.BILINEAR, reducing_gap=1.0)


def luma_of(lores: Image.Image) -> NDArray[np.uint8]:
    """(h, w) uint8 luma (BT.601), about 80 pixels wide, or as wide as `lores` where that is less."""
    grey = lores.convert("L")
    factor = max(1, round(grey.width / LUMA_WIDTH_PX))
    return np.array(grey.reduce(factor) if factor > 1 else grey, dtype=np.uint8)


def lores_and_luma(main: NDArray[np.uint8], lores_px: Size) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The two smaller views of `main`, (H, W, 3) uint8 RGB: `Frame.lores` within `lores_px`, and `Frame.luma`.

    Where `main` fits into `lores_px` as it is, lores is main, not a copy.
    """
    picture = Image.fromarray(main)
    lores = scaled(picture, fitted(picture.size, lores_px))
    return main if lores is picture else np.array(lores, dtype=np.uint8), luma_of(lores)
