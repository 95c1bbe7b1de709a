# SPDX-License-Identifier: Apache-2.0
"""Face detection: YuNet's twelve maps, decoded by tensor name, then non-maximum suppression.

YuNet (Wu et al. 2023, "YuNet: A Tiny Millisecond-level Face Detector") is anchor-free: at each cell of strides 8,
16 and 32 it gives cls and obj (their geometric mean is the score), a box as offset of the centre and log of the
size, and five landmarks as offsets, all in units of the stride.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from device.geometry import Box
from device.records import Detection
from device.vision.tensors import InputEncoder, Normalisation, letterbox

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from device.ports import Interpreter, TensorDetail

STRIDES = (8, 16, 32)
MAPS = ("cls", "obj", "bbox", "kps")
NO_ROWS = np.empty((0, 15), np.float32)
NO_ROWS.setflags(write=False)
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
        rows = np.concatenate([maps.decode(raw) for maps in self._strides])
        kept = suppress(rows, self._nms_iou)
        return [as_detection(rows[index], to_main) for index in kept]


class StrideMaps:
    """The four maps of one stride, and how to read faces from what the model puts there."""

    def __init__(self, details: Mapping[str, TensorDetail], stride: int, score_threshold: float) -> None:
        self._names = [f"{name}_{stride}" for name in MAPS]
        maps = [details[name] for name in self._names]
        _, rows, columns, _ = maps[0].shape
        widths = [detail.shape[3] for detail in maps]
        # One scale for each of the 16 numbers of a cell; a float tensor's numbers are real as they are.
        self._scales = np.repeat([detail.scale or 1.0 for detail in maps], widths).astype(np.float32)
        self._zeros = np.repeat([detail.zero_point for detail in maps], widths).astype(np.float32)
        self._obj = f"obj_{stride}"
        self._least = raw_level(details[self._obj], score_threshold**2)
        self._threshold = score_threshold
        self._stride = np.float32(stride)
        self._cells = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=2).reshape(-1, 2)

    def decode(self, raw: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Cells whose score reaches the threshold: (N, 15) x, y, w, h, five landmarks x, y, score, in input pixels.

        sqrt(cls * obj) >= t needs obj >= t * t, as cls <= 1: cells are sifted on the raw obj map, in its quantised
        levels, so that of some 1,700 cells only the few that may be faces are ever converted. cls would sift nothing:
        it was trained on faces only and is high everywhere else.
        """
        found = np.flatnonzero(raw[self._obj] >= self._least)
        if found.size == 0:
            return NO_ROWS
        picked = [raw[name].reshape(-1, raw[name].shape[3])[found] for name in self._names]
        values = (np.concatenate(picked, axis=1, dtype=np.float32) - self._zeros) * self._scales
        cell = self._cells[found].astype(np.float32)
        score = np.sqrt(values[:, :1].clip(0.0, 1.0) * values[:, 1:2].clip(0.0, 1.0))
        centre = (cell + values[:, 2:4]) * self._stride
        # A damaged model could say e^80 px: beyond the largest picture a box means nothing, and inf would poison NMS.
        size = np.exp(np.minimum(values[:, 4:6], np.float32(9.0))) * self._stride
        points = (values[:, 6:].reshape(-1, 5, 2) + cell[:, np.newaxis]) * self._stride
        rows = np.concatenate((centre - size / 2, size, points.reshape(-1, 10), score), axis=1)
        return rows.compress(score[:, 0] >= self._threshold, axis=0)


def raw_level(detail: TensorDetail, value: float) -> float:
    """The smallest raw level that can stand for `value` or more, one level of slack for rounding."""
    if detail.scale == 0.0:
        return value
    return math.floor(value / detail.scale) + detail.zero_point - 1


def suppress(rows: NDArray[np.float32], iou_limit: float) -> Sequence[int]:
    """Greedy non-maximum suppression: indices to keep, best score first."""
    if len(rows) < 2:
        return range(len(rows))
    left, top = rows[:, 0], rows[:, 1]
    right, bottom = left + rows[:, 2], top + rows[:, 3]
    area = rows[:, 2] * rows[:, 3]
    order = np.argsort(-rows[:, 14], kind="stable")
    kept: list[int] = []
    while order.size:
        best, order = int(order[0]), order[1:]
        kept.append(best)
        width = np.minimum(right[best], right[order]) - np.maximum(left[best], left[order])
        height = np.minimum(bottom[best], bottom[order]) - np.maximum(top[best], top[order])
        inter = np.maximum(width, 0) * np.maximum(height, 0)
        order = order[inter <= iou_limit * (area[best] + area[order] - inter)]
    return kept


def as_detection(row: NDArray[np.float32], factor: float) -> Detection:
    """One row of `StrideMaps.decode` in pixels of the main stream."""
    x, y, w, h = (float(value) * factor for value in row[:4])
    return Detection(Box(x, y, w, h), row[4:14].reshape(5, 2) * np.float32(factor), float(row[14]))
