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
from device.vision.tensors import InputEncoder, Normalisation, dequantise, letterbox

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from device.ports import Interpreter, TensorDetail

STRIDES = (8, 16, 32)
MAPS = ("cls", "obj", "bbox", "kps")
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
        self._score_threshold = score_threshold
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
        rows = decode(raw, self._interpreter.outputs, self._score_threshold)
        kept = suppress(rows, self._nms_iou)
        return [as_detection(rows[index], to_main) for index in kept]


def decode(
    raw: Mapping[str, NDArray[Any]], details: Mapping[str, TensorDetail], score_threshold: float
) -> NDArray[np.float32]:
    """Every cell whose score reaches the threshold: (N, 15) x, y, w, h, five landmarks x, y, score, in input pixels."""
    found = [decode_stride(raw, details, stride, score_threshold) for stride in STRIDES]
    return np.concatenate(found)


def decode_stride(
    raw: Mapping[str, NDArray[Any]], details: Mapping[str, TensorDetail], stride: int, score_threshold: float
) -> NDArray[np.float32]:
    """The rows of one stride.

    sqrt(cls * obj) >= t needs cls >= t * t, as obj <= 1: cells are sifted on the raw cls map, in its quantised
    levels, so that of some 1,700 cells only the few that may be faces are ever converted.
    """
    cls_map = raw[f"cls_{stride}"]
    columns = cls_map.shape[2]
    cells = np.flatnonzero(cls_map.reshape(-1) >= raw_level(details[f"cls_{stride}"], score_threshold**2))
    if cells.size == 0:
        return np.empty((0, 15), np.float32)

    def values(name: str) -> NDArray[np.float32]:
        key = f"{name}_{stride}"
        tensor = raw[key]
        return dequantise(tensor.reshape(-1, tensor.shape[3])[cells], details[key])

    score = np.sqrt(np.clip(values("cls"), 0.0, 1.0) * np.clip(values("obj"), 0.0, 1.0))
    keep = score[:, 0] >= score_threshold
    cell = np.stack([cells % columns, cells // columns], axis=1).astype(np.float32)
    box = values("bbox")
    centre = (cell + box[:, :2]) * stride
    # A damaged model could say e^80 px: beyond the largest picture a box means nothing, and inf would poison NMS.
    size = np.exp(np.minimum(box[:, 2:], 9.0)) * stride
    landmarks = values("kps").reshape(-1, 5, 2)
    points = ((landmarks + cell[:, np.newaxis]) * stride).reshape(-1, 10)
    return np.concatenate([centre - size / 2, size, points, score], axis=1)[keep]


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
    """One row of `decode` in pixels of the main stream."""
    x, y, w, h = (float(value) * factor for value in row[:4])
    return Detection(Box(x, y, w, h), row[4:14].reshape(5, 2) * np.float32(factor), float(row[14]))
