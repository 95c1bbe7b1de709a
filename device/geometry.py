# SPDX-License-Identifier: Apache-2.0
"""Boxes, polygons and the similarity transform. Plain arithmetic on pixels; nothing here knows what a face is."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

Point = tuple[float, float]
# Rows a, b, c and d, e, f of a map: x, y go to a x + b y + c, d x + e y + f.
Affine = tuple[tuple[float, float, float], tuple[float, float, float]]


class Box(NamedTuple):
    """An axis-aligned box in pixels: left, top, width, height. May reach beyond the picture."""

    x: float
    y: float
    w: float
    h: float

    @property
    def centre(self) -> Point:
        """Its middle, x and y in pixels."""
        return self.x + self.w / 2, self.y + self.h / 2

    def iou(self, other: Box) -> float:
        """Intersection over union, 0 (apart) to 1 (the same); 0 for empty boxes."""
        width = min(self.x + self.w, other.x + other.w) - max(self.x, other.x)
        height = min(self.y + self.h, other.y + other.h) - max(self.y, other.y)
        if width <= 0 or height <= 0:
            return 0.0
        inter = width * height
        return inter / (self.w * self.h + other.w * other.h - inter)


def polygon_contains(polygon: Sequence[Point], point: Point) -> bool:
    """Whether `point` lies inside `polygon` (even-odd rule; at least three corners; edges may go either way)."""
    x, y = point
    inside = False
    x1, y1 = polygon[-1]
    for x2, y2 in polygon:
        if (y1 > y) != (y2 > y) and x < (x2 - x1) * (y - y1) / (y2 - y1) + x1:
            inside = not inside
        x1, y1 = x2, y2
    return inside


def similarity_transform(source: Sequence[Point], target: Sequence[Point]) -> Affine:
    """The rotation, uniform scale and shift that map `source` closest to `target`, in the least-squares sense.

    source, target: two points or more, in the same order.
    Never mirrors. In two dimensions the Umeyama (1991) problem is linear: with the points as complex numbers,
    the best factor is <source, target> / <source, source> after both are centred, and its angle and length are
    rotation and scale. Raises ValueError where all source points coincide (no scale exists).
    """
    # Plain complex numbers: for five points they are ten times faster than arrays.
    s = [complex(x, y) for x, y in source]
    t = [complex(x, y) for x, y in target]
    s_mean, t_mean = sum(s) / len(s), sum(t) / len(t)
    s_centred = [p - s_mean for p in s]
    spread = sum(p.real * p.real + p.imag * p.imag for p in s_centred)
    if not spread > 0.0:
        raise ValueError("similarity_transform: all source points coincide")
    factor = sum(p.conjugate() * (q - t_mean) for p, q in zip(s_centred, t, strict=True)) / spread
    shift = t_mean - factor * s_mean
    a, b = factor.real, factor.imag
    return (a, -b, shift.real), (b, a, shift.imag)


def invert_affine(matrix: Affine) -> Affine:
    """The inverse of an affine map. Raises ValueError where it has none."""
    (a, b, c), (d, e, f) = matrix
    det = a * e - b * d
    if det == 0.0:
        raise ValueError("invert_affine: the map is singular")
    return (e / det, -b / det, (b * f - c * e) / det), (-d / det, a / det, (c * d - a * f) / det)
