# SPDX-License-Identifier: Apache-2.0
"""Face detection: YuNet's twelve maps, decoded by tensor name, then non-maximum suppression.

YuNet (Wu et al. 2023, "YuNet: A Tiny Millisecond-level Face Detector") is anchor-free: at each cell of strides 8,
16 and 32 it gives cls and obj (their geometric mean is the score), a box as offset of the centre and log of the
size, and five landmarks as offsets, all in units of the stride.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from device.geometry import Box
from device.records import Detection
from device.vision.tensors import InputEncoder, Normalisation, letterbox

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from device.ports import Interpreter, TensorDetail

STRIDES = (8, 16, 32)
MAPS = ("cls", "obj", "bbox", "kps")
SAME_FACE_IOU = 0.6
MAX_CELLS = 400
OUTPUT_NAMES = tuple(f"{name}_{stride}" for stride in STRIDES for name in MAPS)


class Detector:
    """Finds faces in a picture. Belongs to the thread of its interpreter."""

    def __init__(
        self,
        interpreter: Interpreter,
        normalisation: Normalisation,
        *,
        score_threshold: float,
        nms_iou: float,
    ) -> None:
        missing = sorted(set(OUTPUT_NAMES) - set(interpreter.outputs))
        if missing:
            raise ValueError(f"not a YuNet: outputs {', '.join(missing)} are missing")
        self._interpreter = interpreter
        self._encoder = InputEncoder(interpreter.input, normalisation)
        self._strides = [StrideMaps(interpreter.outputs, stride, score_threshold) for stride in STRIDES]
        self._nms_iou = nms_iou

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height of the input."""
        return self._encoder.width_px, self._encoder.height_px

    def detect(self, picture: NDArray[np.uint8], width_px: int) -> list[Detection]:
        """Faces in `picture` ((h, w, 3) uint8 RGB), best first, in pixels of the same view `width_px` wide."""
        canvas, factor = letterbox(picture, *self.size_px)
        raw = self._interpreter.invoke(self._encoder.encode(canvas))
        to_main = width_px / picture.shape[1] / factor
        return read_faces(raw, self._strides, self._nms_iou, to_main)


def read_faces(
    raw: Mapping[str, NDArray[Any]], strides: Sequence[StrideMaps], nms_iou: float, to_main: float
) -> list[Detection]:
    """The faces in a model's output, best first; `to_main` is the factor from input to main pixels."""
    cells = [cell for maps in strides for cell in maps.cells(raw)]
    # Suppression takes time with the square of what it gets, and a wall of faces must not stop a door.
    best = sorted(cells, key=lambda cell: -cell.score)[:MAX_CELLS]
    return [
        Detection(
            Box(*(value * to_main for value in cell.box)),
            settled_landmarks(raw, cell, best) * np.float32(to_main),
            cell.score,
        )
        for cell in suppress(best, nms_iou)
    ]


def settled_landmarks(
    raw: Mapping[str, NDArray[Any]], kept: Cell, cells: Sequence[Cell]
) -> NDArray[np.float32]:
    """(5, 2) x, y of a face, in input pixels: the mean over all cells that found the same face, weighted by score.

    One int8 cell's landmarks are noisy, and alignment hangs on them: with the mean, 97.6 instead of 97.0 % of LFW's
    matches are kept at FMR 1e-4 (models/README.md).
    """
    total, points = 0.0, [0.0] * 10
    for cell in cells:
        # The kept cell counts always: a damaged model's box of no size overlaps not even itself.
        if cell is kept or cell.box.iou(kept.box) >= SAME_FACE_IOU:
            weight = cell.score**2
            total += weight
            found = cell.maps.landmarks(raw, cell)
            points = [sum_ + weight * value for sum_, value in zip(points, found, strict=True)]
    return np.array(points, np.float32).reshape(5, 2) / np.float32(total)


class Cell(NamedTuple):
    """A cell that says it holds the middle of a face. box: in input pixels; column, row: its place in its maps."""

    score: float
    box: Box
    column: int
    row: int
    maps: StrideMaps


class StrideMaps:
    """The four maps of one stride, and how to read faces from what the model puts there.

    Only a few of some 1,700 cells are ever looked at, and those in plain Python: for so few numbers the calls into
    numpy would take longer than the arithmetic.
    """

    def __init__(self, details: Mapping[str, TensorDetail], stride: int, score_threshold: float) -> None:
        self._stride = stride
        self._cls, self._obj, self._bbox, self._kps = names = [f"{name}_{stride}" for name in MAPS]
        # A float tensor's numbers are real as they are.
        self._scales = {name: details[name].scale or 1.0 for name in names}
        self._zeros = {name: details[name].zero_point for name in names}
        self._least = raw_level(details[self._obj], score_threshold**2)
        self._threshold = score_threshold

    def cells(self, raw: Mapping[str, NDArray[Any]]) -> Iterator[Cell]:
        """The cells whose score reaches the threshold.

        sqrt(cls * obj) >= t needs obj >= t * t, as cls <= 1: cells are sifted on the raw obj map, in its quantised
        levels. cls would sift nothing: it was trained on faces only and is high everywhere else.
        """
        # One axis: `nonzero` over four takes three times as long.
        for index in (raw[self._obj] >= self._least).ravel().nonzero()[0].tolist():
            cls, obj = self._share(raw, self._cls, index), self._share(raw, self._obj, index)
            score = math.sqrt(cls * obj)
            if score >= self._threshold:
                row, column = divmod(index, raw[self._obj].shape[2])
                yield Cell(score, self._box(raw, row, column), column, row, self)

    def landmarks(self, raw: Mapping[str, NDArray[Any]], cell: Cell) -> list[float]:
        """x, y of the five landmarks of a cell's face, one after the other, in input pixels."""
        stride, place = self._stride, (cell.column, cell.row) * 5
        values = self._real(raw, self._kps, cell.row, cell.column)
        return [(value + start) * stride for value, start in zip(values, place, strict=True)]

    def _box(self, raw: Mapping[str, NDArray[Any]], row: int, column: int) -> Box:
        x, y, w, h = self._real(raw, self._bbox, row, column)
        # A damaged model could say e^80 px: beyond the largest picture a box means nothing, and inf would poison NMS.
        stride = self._stride
        width, height = math.exp(min(w, 9.0)) * stride, math.exp(min(h, 9.0)) * stride
        return Box((column + x) * stride - width / 2, (row + y) * stride - height / 2, width, height)

    def _share(self, raw: Mapping[str, NDArray[Any]], name: str, index: int) -> float:
        """A cell's number in a map with one a cell, dequantised, 0 to 1."""
        value: float = (raw[name].item(index) - self._zeros[name]) * self._scales[name]
        return min(1.0, max(0.0, value))

    def _real(self, raw: Mapping[str, NDArray[Any]], name: str, row: int, column: int) -> list[float]:
        """A cell's numbers in one map, dequantised."""
        scale, zero_point = self._scales[name], self._zeros[name]
        return [(value - zero_point) * scale for value in raw[name][0, row, column].tolist()]


def raw_level(detail: TensorDetail, value: float) -> float:
    """The smallest raw level that can stand for `value` or more, one level of slack for rounding."""
    if detail.scale == 0.0:
        return value
    return math.floor(value / detail.scale) + detail.zero_point - 1


def suppress(cells: Sequence[Cell], iou_limit: float) -> list[Cell]:
    """Greedy non-maximum suppression of cells that come best first: those that overlap a better one go."""
    kept: list[Cell] = []
    for cell in cells:
        if all(cell.box.iou(better.box) <= iou_limit for better in kept):
            kept.append(cell)
    return kept
