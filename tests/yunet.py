# SPDX-License-Identifier: Apache-2.0
"""A YuNet that finds what a test says: the maps it would have given for these faces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from device.adapters.interpreter_recorded import RecordedInterpreter
from device.ports import TensorDetail
from device.vision.detect import STRIDES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Found = tuple[tuple[float, float, float, float], NDArray[np.float32], float]
    """Box (left, top, width, height) and (5, 2) landmarks in pixels of the input, and the score."""

WIDTH_PX, HEIGHT_PX = 320, 256
CHANNELS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
INPUT = TensorDetail("input", (1, HEIGHT_PX, WIDTH_PX, 3), "int8", 1.0, -128)
DETAILS = {
    f"{name}_{stride}": TensorDetail(
        f"{name}_{stride}", (1, HEIGHT_PX // stride, WIDTH_PX // stride, channels), "float32"
    )
    for stride in STRIDES
    for name, channels in CHANNELS.items()
}


def empty_maps() -> dict[str, NDArray[Any]]:
    """Maps without a face."""
    return {name: np.zeros(detail.shape, np.float32) for name, detail in DETAILS.items()}


def maps_of(faces: Sequence[Found]) -> dict[str, NDArray[Any]]:
    """Maps with these faces, each in the cell of stride 8 that holds its box's middle."""
    maps = empty_maps()
    for (left, top, width, height), landmarks, score in faces:
        middle = np.array([left + width / 2, top + height / 2]) / 8
        cell = np.clip(np.floor(middle), 0, (WIDTH_PX // 8 - 1, HEIGHT_PX // 8 - 1))
        at = 0, int(cell[1]), int(cell[0])
        assert maps["cls_8"][at][0] == 0, "two faces in one cell"
        maps["cls_8"][at] = maps["obj_8"][at] = score
        maps["bbox_8"][at] = [*(middle - cell), *np.log(np.array([width, height]) / 8)]
        maps["kps_8"][at] = (landmarks / 8 - cell).reshape(-1)
    return maps


def yunet(faces: Callable[[NDArray[np.int8]], Sequence[Found]]) -> RecordedInterpreter:
    """An interpreter that finds `faces(tensor)`."""
    return RecordedInterpreter(INPUT, DETAILS, lambda tensor: maps_of(faces(tensor)))
