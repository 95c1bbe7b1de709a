# SPDX-License-Identifier: Apache-2.0
"""Five-point alignment: a face, turned and scaled onto the embedder's template.

The template is ArcFace's (Deng et al. 2019; insightface `arcface_src`), which SFace was trained on as well.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from device.geometry import invert_affine, similarity_transform

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from device.geometry import Affine

CROP_PX = 112
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
TEMPLATE.setflags(write=False)
TEMPLATE_POINTS = [(x, y) for x, y in TEMPLATE.tolist()]


def align(picture: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Cuts the face with these landmarks out of `picture`.

    picture: (H, W, 3) uint8 RGB. landmarks: (5, 2) x, y in its pixels, the centre of the first pixel at 0, 0.
    Returns (112, 112, 3) uint8 RGB; what lies outside the picture is black. Raises ValueError for landmarks that
    all coincide or are not finite.
    """
    # Plain numbers up to Pillow: ten of them are not worth an array's calls.
    points = [(x, y) for x, y in landmarks.tolist()]
    if not all(math.isfinite(x) and math.isfinite(y) for x, y in points):
        raise ValueError("align: landmarks are not finite")
    to_picture = invert_affine(similarity_transform(points, TEMPLATE_POINTS))
    region, left, top = region_of(picture, to_picture)
    if region.size == 0:
        return np.zeros((CROP_PX, CROP_PX, 3), np.uint8)
    (a, b, c), (d, e, f) = to_picture
    return sampled(Image.fromarray(region), (a, b, c - left, d, e, f - top))


def sampled(image: Image.Image, to_image: tuple[float, ...]) -> NDArray[np.uint8]:
    """Draws the crop: pixel (x, y) is at (a x + b y + c, d x + e y + f) of `image`, pixel middles at whole numbers.

    Bilinear sampling reads 2 x 2 pixels. Where a crop pixel covers more than that, it is the mean of 2 x 2 samples of
    an image that was averaged down until they lie at most two pixels apart: half the time of bilinear sampling there,
    and nearer to the mean over the whole pixel.
    """
    a, b, c, d, e, f = to_image
    step = math.hypot(a, d)
    per_px, how = (1, Image.Resampling.BILINEAR) if step < 2.0 else (2, Image.Resampling.NEAREST)
    shrink = int(step / 2)
    if shrink >= 2:
        image = image.reduce(shrink)
        a, b, d, e = a / shrink, b / shrink, d / shrink, e / shrink
        c, f = (c + 0.5) / shrink - 0.5, (f + 0.5) / shrink - 0.5
    # Pillow counts from pixel corners: crop pixel (x, y) is at (x + 0.5, y + 0.5), and so is its source.
    coefficients = (
        a / per_px,
        b / per_px,
        c + 0.5 - (a + b) / 2,
        d / per_px,
        e / per_px,
        f + 0.5 - (d + e) / 2,
    )
    size = (CROP_PX * per_px, CROP_PX * per_px)
    crop = image.transform(size, Image.Transform.AFFINE, coefficients, how).reduce(per_px)
    return np.frombuffer(crop.tobytes(), np.uint8).reshape(CROP_PX, CROP_PX, 3)


def region_of(picture: NDArray[np.uint8], to_picture: Affine) -> tuple[NDArray[np.uint8], int, int]:
    """The part of `picture` that the crop can touch, and its left and top: a megapixel need not be converted."""
    (a, b, c), (d, e, f) = to_picture
    height, width = picture.shape[:2]
    slack = 2 + int(math.hypot(a, d))
    left, right = span(a * CROP_PX, b * CROP_PX, c, slack, width)
    top, bottom = span(d * CROP_PX, e * CROP_PX, f, slack, height)
    return picture[top:bottom, left:right], left, top


def span(across: float, down: float, start: float, slack: int, limit: int) -> tuple[int, int]:
    """First and last + 1 pixel, within 0 and `limit`, of a crop whose edges reach `across` and `down` from `start`."""
    first = start + min(0.0, across) + min(0.0, down) - slack
    last = start + max(0.0, across) + max(0.0, down) + slack
    return min(limit, max(0, math.floor(first))), min(limit, max(0, math.ceil(last)))
