# SPDX-License-Identifier: Apache-2.0
"""Pictures with half the colour (YUV 4:2:0), as a camera's ISP gives them: BT.601 in full range, rows padded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from device.vision.views import Size, luma_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMATS = ("YUV420", "NV12")  # as picamera2 calls them: colour in two planes, or in one with U and V in turn


def rgb_and_luma(
    yuv: NDArray[np.uint8], form: str, size_px: Size
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """(h, w, 3) uint8 RGB and the motion gate's luma, of a picture in one of `FORMATS`.

    yuv: (h * 3 / 2, stride) uint8: h rows of Y, then the colour: all of U and all of V, whose rows have half the
    stride, so that two of them fill one row of the array (YUV420); or U and V of a pixel side by side (NV12). The
    columns beyond `size_px`, which is even, are padding.
    """
    width, height = size_px
    stride = yuv.shape[1]
    if form == "NV12":
        pairs = yuv[height:].reshape(height // 2, stride // 2, 2)[:, : width // 2]
        chroma = (pairs[..., 0], pairs[..., 1])
    else:
        planes = yuv[height:].reshape(2, height // 2, stride // 2)[..., : width // 2]
        chroma = (planes[0], planes[1])
    y = Image.fromarray(np.ascontiguousarray(yuv[:height, :width]))
    u, v = (
        Image.fromarray(np.ascontiguousarray(c)).resize(size_px, Image.Resampling.BILINEAR) for c in chroma
    )
    return np.array(Image.merge("YCbCr", (y, u, v)).convert("RGB"), dtype=np.uint8), luma_of(y)
