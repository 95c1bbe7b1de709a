# SPDX-License-Identifier: Apache-2.0
"""YuNet's maps decoded by hand, float and int8 alike; suppression; and from lores back to main."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from device.adapters.interpreter_recorded import RecordedInterpreter
from device.geometry import Box
from device.ports import TensorDetail
from device.vision.detect import MAX_CELLS, OUTPUT_NAMES, STRIDES, Cell, Detector, StrideMaps, suppress
from device.vision.tensors import Normalisation
from tests.yunet import DETAILS, INPUT, empty_maps, yunet

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from device.records import Detection

# One cell at each stride, its values chosen so that int8 with the steps below can say them exactly.
CELL = {"cls": [0.5], "obj": [1.0], "bbox": [0.5, 0.25, 1.0, 0.5], "kps": [0.25 * k - 1 for k in range(10)]}
STEPS = {"cls": (1 / 256, -128), "obj": (1 / 254, -127), "bbox": (0.125, -3), "kps": (0.25, 7)}


def quantised(name: str, values: list[float]) -> NDArray[np.int8]:
    scale, zero_point = STEPS[name]
    return np.array([round(value / scale) + zero_point for value in values]).astype(np.int8)


def one_cell(stride: int, row: int, column: int, *, int8: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Maps that say nothing anywhere but in one cell, and their details."""
    raw, details = empty_maps(), dict(DETAILS)
    if int8:
        for key in OUTPUT_NAMES:
            scale, zero_point = STEPS[key.split("_")[0]]
            details[key] = TensorDetail(key, DETAILS[key].shape, "int8", scale, zero_point)
            raw[key] = np.full(DETAILS[key].shape, zero_point, np.int8)
    for name, values in CELL.items():
        raw[f"{name}_{stride}"][0, row, column] = quantised(name, values) if int8 else values
    return raw, details


def found(maps: tuple[dict[str, Any], dict[str, Any]], threshold: float) -> list[Detection]:
    """What a detector reads from these maps, nothing suppressed, in pixels of the input."""
    raw, details = maps
    detector = Detector(
        RecordedInterpreter(INPUT, details, [raw]),
        Normalisation("rgb", 0.0, 1.0),
        score_threshold=threshold,
        nms_iou=1.0,
    )
    return detector.detect(np.zeros((256, 320, 3), np.uint8), 320)


@pytest.mark.parametrize("int8", [False, True], ids=["float", "int8"])
@pytest.mark.parametrize("stride", STRIDES)
def test_a_cell_is_decoded_as_it_is_by_hand(stride: int, int8: bool) -> None:
    (face,) = found(one_cell(stride, 3, 5, int8=int8), 0.7)
    # Column 5, row 3; the centre half and a quarter of a stride further; size e^1 and e^0.5 strides.
    width, height = math.e * stride, math.sqrt(math.e) * stride
    assert face.box == pytest.approx((5.5 * stride - width / 2, 3.25 * stride - height / 2, width, height))
    points = [((5, 3)[k % 2] + 0.25 * k - 1) * stride for k in range(10)]
    assert face.landmarks.reshape(-1) == pytest.approx(points, rel=1e-5)
    assert face.score == pytest.approx(math.sqrt(0.5), rel=1e-5)


@pytest.mark.parametrize("int8", [False, True], ids=["float", "int8"])
def test_the_score_is_the_geometric_mean_of_cls_and_obj_and_decides(int8: bool) -> None:
    maps = one_cell(16, 0, 0, int8=int8)
    assert len(found(maps, 0.70)) == 1
    assert len(found(maps, 0.72)) == 0  # sqrt(0.5) is 0.707


def two_cells(second_bbox: list[float]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Cells (2, 2) and (2, 3) at stride 8: the first certain, the second with a score of one half."""
    raw, details = empty_maps(), dict(DETAILS)
    for column, sure, box, kps in ((2, 1.0, [0.5, 0.5, 2.0, 2.0], 0.0), (3, 0.5, second_bbox, 1.0)):
        raw["cls_8"][0, 2, column] = raw["obj_8"][0, 2, column] = sure
        raw["bbox_8"][0, 2, column], raw["kps_8"][0, 2, column] = box, [kps] * 10
    return raw, details


def test_the_landmarks_of_a_face_are_the_mean_of_all_its_cells_by_the_square_of_their_score() -> None:
    # The same box seen from both cells. Landmarks (16, 16) and (32, 24), weights 1 and 1/4.
    face = found(two_cells([-0.5, 0.5, 2.0, 2.0]), 0.4)[0]
    assert face.score == 1.0
    assert face.landmarks == pytest.approx(np.tile([19.2, 17.6], (5, 1)), rel=1e-6)


def test_a_neighbouring_faces_cell_moves_no_landmark() -> None:
    face = found(two_cells([4.0, 0.5, 2.0, 2.0]), 0.4)[0]
    assert face.landmarks == pytest.approx(np.full((5, 2), 16.0))


def test_a_high_cls_with_a_low_obj_is_no_face() -> None:
    raw, details = one_cell(8, 1, 1, int8=False)
    raw["obj_8"][0, 1, 1] = 0.1
    assert found((raw, details), 0.6) == []


def test_every_cell_above_the_threshold_is_found_by_the_sieve() -> None:
    rng = np.random.default_rng(3)
    raw, details = one_cell(8, 0, 0, int8=True)
    for name in ("cls", "obj"):
        raw[f"{name}_8"] = rng.integers(-128, 128, DETAILS["cls_8"].shape).astype(np.int8)
    real = {n: (raw[f"{n}_8"].astype(float) - STEPS[n][1]) * STEPS[n][0] for n in ("cls", "obj")}
    expected = np.sqrt(np.clip(real["cls"], 0, 1) * np.clip(real["obj"], 0, 1)) >= 0.6
    assert len(found((raw, details), 0.6)) == np.count_nonzero(expected) > 100


@pytest.mark.parametrize("size", [[80, 3e38], [-3e38, -3e38]], ids=["endless", "nothing"])
def test_what_a_damaged_model_says_stays_a_number(size: list[float]) -> None:
    raw, details = one_cell(32, 2, 2, int8=False)
    raw["bbox_32"][0, 2, 2] = [0, 0, *size]
    (face,) = found((raw, details), 0.5)
    assert np.isfinite(face.box).all()
    assert np.isfinite(face.landmarks).all()


def kept(limit: float, *boxes: tuple[float, float, float, float]) -> list[int]:
    """Which of these boxes, the best first, are left after suppression."""
    maps = StrideMaps(DETAILS, 8, 0.6)
    cells = [Cell(0.9 - 0.1 * place, Box(*box), place, 0, maps) for place, box in enumerate(boxes)]
    return [cell.column for cell in suppress(cells, limit)]


def test_of_two_boxes_on_one_face_the_better_stays() -> None:
    boxes = (1, 0, 10, 10), (20, 0, 10, 10), (0, 0, 10, 10)  # the first and the last share 90 of 110
    assert kept(0.3, *boxes) == [0, 1]
    assert kept(0.9, *boxes) == [0, 1, 2]


def test_overlap_of_exactly_the_limit_is_not_above_it() -> None:
    boxes = (0, 0, 10, 10), (0, 0, 5, 10)  # half
    assert kept(0.5, *boxes) == [0, 1]
    assert kept(0.49, *boxes) == [0]


def test_a_box_suppressed_by_the_best_suppresses_nobody() -> None:
    boxes = (0, 0, 10, 10), (6, 0, 10, 10), (12, 0, 10, 10)  # a chain: neighbours share 40 of 160
    assert kept(0.2, *boxes) == [0, 2]


@pytest.mark.parametrize("boxes", [(), ((0, 0, 10, 10),)])
def test_nothing_and_one_box_need_no_suppression(
    boxes: tuple[tuple[float, float, float, float], ...],
) -> None:
    assert kept(0.3, *boxes) == list(range(len(boxes)))


def test_of_a_wall_of_faces_the_best_are_looked_at_and_in_bounded_time() -> None:
    raw = empty_maps()
    raw["cls_8"][:] = 1.0
    raw["obj_8"][:] = np.linspace(0.5, 1.0, raw["obj_8"].size).reshape(raw["obj_8"].shape)
    faces = found((raw, dict(DETAILS)), 0.6)
    assert len(faces) == MAX_CELLS
    assert [face.score for face in faces] == sorted((face.score for face in faces), reverse=True)
    assert faces[0].score == 1.0


def test_faces_come_back_in_pixels_of_main() -> None:
    # main 1280 x 960, lores 640 x 480, the detector's input 320 x 256: half again.
    landmarks = np.array([[100, 60], [120, 60], [110, 72], [103, 84], [117, 84]], np.float32)
    interpreter = yunet(lambda _: [((90.0, 50.0, 40.0, 48.0), landmarks, 0.81)])
    detector = Detector(interpreter, Normalisation("rgb", 0.0, 1.0), score_threshold=0.6, nms_iou=0.3)
    (found,) = detector.detect(np.zeros((480, 640, 3), np.uint8), 1280)
    assert detector.size_px == (320, 256)
    assert found.box == pytest.approx((360, 200, 160, 192), abs=1e-3)
    assert found.landmarks == pytest.approx(landmarks * 4, abs=1e-3)
    assert found.score == pytest.approx(0.81, abs=1e-6)


def test_a_model_that_is_no_yunet_is_refused_and_what_is_missing_is_named() -> None:
    outputs = {name: detail for name, detail in DETAILS.items() if name != "kps_16"}
    with pytest.raises(ValueError, match="kps_16"):
        Detector(
            RecordedInterpreter(INPUT, outputs, []),
            Normalisation("rgb", 0.0, 1.0),
            score_threshold=0.6,
            nms_iou=0.3,
        )
