# SPDX-License-Identifier: Apache-2.0
"""Boxes, polygons and transforms, against arithmetic done by hand and against other ways of computing the same."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from device.geometry import Box, invert_affine, polygon_contains, similarity_transform

POSITION = st.floats(-500, 500)
BOXES = st.builds(Box, POSITION, POSITION, st.floats(0, 500), st.floats(0, 500))
POINTS = st.lists(st.tuples(POSITION, POSITION), min_size=2, max_size=8)
L_SHAPE = [(0.0, 0.0), (4.0, 0.0), (4.0, 2.0), (2.0, 2.0), (2.0, 4.0), (0.0, 4.0)]


def test_half_overlapping_squares_share_a_third() -> None:
    assert Box(0, 0, 10, 10).iou(Box(5, 0, 10, 10)) == pytest.approx(50 / 150)


def test_a_box_within_a_box_shares_the_ratio_of_the_areas() -> None:
    assert Box(0, 0, 10, 10).iou(Box(2, 3, 5, 4)) == pytest.approx(20 / 100)


@pytest.mark.parametrize("other", [Box(10, 0, 5, 5), Box(0, 30, 10, 10), Box(3, 3, 0, 0)])
def test_touching_distant_and_empty_boxes_share_nothing(other: Box) -> None:
    assert Box(0, 0, 10, 10).iou(other) == 0.0


def test_a_box_is_centred_between_its_edges() -> None:
    assert Box(10, 20, 4, 8).centre == (12, 24)


@given(BOXES, BOXES)
def test_overlap_is_symmetric_and_between_nothing_and_all(one: Box, other: Box) -> None:
    overlap = one.iou(other)
    assert 0.0 <= overlap <= 1.0 + 1e-9
    assert overlap == other.iou(one)


@given(BOXES)
def test_a_box_overlaps_itself_wholly(box: Box) -> None:
    assume(box.w > 1e-3 and box.h > 1e-3)
    assert box.iou(box) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("point", "inside"),
    [((1, 1), True), ((3, 1), True), ((1, 3), True), ((3, 3), False), ((-1, 1), False), ((5, 1), False)],
)
def test_a_polygon_with_a_notch_leaves_the_notch_out(point: tuple[float, float], inside: bool) -> None:
    assert polygon_contains(L_SHAPE, point) is inside
    assert polygon_contains(L_SHAPE[::-1], point) is inside


def test_two_zones_that_share_an_edge_share_no_point() -> None:
    left = [(0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)]
    right = [(0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 1.0)]
    assert [polygon_contains(zone, (0.5, 0.5)) for zone in (left, right)].count(True) == 1


@given(
    corners=st.integers(3, 12),
    stretch=st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)),
    turn=st.floats(0, math.tau),
    point=st.tuples(st.floats(-12, 12), st.floats(-12, 12)),
)
def test_inside_a_convex_polygon_is_left_of_all_its_edges(
    corners: int, stretch: tuple[float, float], turn: float, point: tuple[float, float]
) -> None:
    polygon = [
        (
            stretch[0] * math.cos(turn + math.tau * k / corners),
            stretch[1] * math.sin(turn + math.tau * k / corners),
        )
        for k in range(corners)
    ]
    sides = []
    for (x1, y1), (x2, y2) in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        sides.append((x2 - x1) * (point[1] - y1) - (y2 - y1) * (point[0] - x1))
    assume(min(abs(side) for side in sides) > 1e-6)
    assert polygon_contains(polygon, point) is all(side > 0 for side in sides)


def test_a_quarter_turn_of_twice_the_size_is_found() -> None:
    source = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)]
    target = [(3.0, 4.0), (3.0, 6.0), (1.0, 4.0)]  # x goes down, y goes left, all doubled
    assert np.allclose(similarity_transform(source, target), [[0, -2, 3], [2, 0, 4]])


def test_where_no_transform_fits_the_one_with_least_squares_is_found() -> None:
    rng = np.random.default_rng(7)
    source, target = rng.normal(size=(5, 2)), rng.normal(size=(5, 2))
    # The same problem as plain linear least squares in a, b, shift x, shift y.
    rows, wanted = [], []
    for (x, y), (u, v) in zip(source, target, strict=True):
        rows += [[x, -y, 1, 0], [y, x, 0, 1]]
        wanted += [u, v]
    a, b, shift_x, shift_y = np.linalg.lstsq(np.array(rows), np.array(wanted), rcond=None)[0]
    found = similarity_transform(source.tolist(), target.tolist())
    assert np.allclose(found, [[a, -b, shift_x], [b, a, shift_y]])


def test_a_mirrored_target_is_never_met_by_mirroring() -> None:
    (a, b, _), (d, e, _) = similarity_transform(
        [(0.0, 0.0), (2.0, 0.0), (0.0, 1.0)], [(0.0, 0.0), (-2.0, 0.0), (0.0, 1.0)]
    )
    assert a * e - b * d > 0


def test_points_that_coincide_have_no_scale() -> None:
    with pytest.raises(ValueError, match="coincide"):
        similarity_transform([(1.0, 1.0)] * 3, [(1.0, 0.0), (0.0, 1.0), (0.0, 0.0)])


@given(points=POINTS, scale=st.floats(0.01, 100), turn=st.floats(-math.pi, math.pi), x=POSITION, y=POSITION)
def test_any_similarity_is_recovered(
    points: list[tuple[float, float]], scale: float, turn: float, x: float, y: float
) -> None:
    source = np.array(points)
    assume(source.std(axis=0).max() > 1.0)
    c, s = scale * math.cos(turn), scale * math.sin(turn)
    target = source @ np.array([[c, s], [-s, c]]) + (x, y)
    found = np.array(similarity_transform(source.tolist(), target.tolist()))
    assert np.allclose(found[:, :2], [[c, -s], [s, c]], atol=1e-6 * scale)
    assert np.allclose(source @ found[:, :2].T + found[:, 2], target, atol=1e-6 * (1 + np.abs(target).max()))


def test_the_inverse_leads_back() -> None:
    matrix = np.array([[2.0, 1.0, 5.0], [0.5, 3.0, -7.0]])
    inverse = np.array(invert_affine(((2.0, 1.0, 5.0), (0.5, 3.0, -7.0))))
    point = np.array([11.0, 13.0])
    there = matrix[:, :2] @ point + matrix[:, 2]
    assert np.allclose(inverse[:, :2] @ there + inverse[:, 2], point)


def test_a_flat_map_has_no_inverse() -> None:
    with pytest.raises(ValueError, match="singular"):
        invert_affine(((1.0, 2.0, 0.0), (2.0, 4.0, 0.0)))
