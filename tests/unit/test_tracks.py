# SPDX-License-Identifier: Apache-2.0
"""Tracks: which face is which, and that no track outlives its gap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from device.geometry import Box
from device.recognition.tracks import MIN_IOU, Tracker
from device.records import Detection
from tests.people import NS, face

if TYPE_CHECKING:
    from random import Random

GAP_NS = NS
MS = 1_000_000
LANDMARKS = np.zeros((5, 2), np.float32)
BOX = st.builds(Box, st.integers(0, 60), st.integers(0, 60), st.integers(1, 40), st.integers(1, 40))
SCENES = st.lists(
    st.tuples(st.integers(1, 700), st.lists(BOX, max_size=5)), min_size=1, max_size=12
)  # milliseconds since the last frame, and its boxes


def numbers(tracker: Tracker, at_ms: int, *faces: Detection) -> list[int]:
    return [track.number for track, _ in tracker.update(faces, at_ms * MS)]


def found(boxes: list[Box]) -> list[Detection]:
    return [Detection(box, LANDMARKS, 0.9) for box in boxes]


def test_a_face_that_moves_a_little_keeps_its_number() -> None:
    tracker = Tracker(gap_ns=GAP_NS)
    assert [numbers(tracker, t, face(t / 10, 0)) for t in (0, 100, 200, 300)] == [[1], [1], [1], [1]]


def test_a_face_elsewhere_is_another_track() -> None:
    tracker = Tracker(gap_ns=GAP_NS)
    numbers(tracker, 0, face(0, 0))
    assert numbers(tracker, 100, face(300, 0)) == [2]
    assert tracker.numbers == {1, 2}


def test_the_best_overlap_wins_and_the_other_face_is_new() -> None:
    tracker = Tracker(gap_ns=GAP_NS)
    numbers(tracker, 0, face(100, 0))
    assert numbers(tracker, 100, face(60, 0), face(110, 0)) == [2, 1]


def test_a_face_that_two_tracks_claim_goes_to_the_nearer() -> None:
    tracker = Tracker(gap_ns=GAP_NS)
    assert numbers(tracker, 0, face(0, 0), face(100, 0)) == [1, 2]
    assert numbers(tracker, 100, face(60, 0)) == [2]
    assert tracker.numbers == {1, 2}


def test_a_track_lives_through_a_gap_but_not_longer() -> None:
    tracker = Tracker(gap_ns=GAP_NS)
    numbers(tracker, 0, face(0, 0))
    assert numbers(tracker, 1000, face(0, 0)) == [1]
    assert numbers(tracker, 2001, face(0, 0)) == [2]


def test_time_alone_ends_a_track() -> None:
    tracker = Tracker(gap_ns=GAP_NS)
    numbers(tracker, 0, face(0, 0))
    tracker.expire(1000 * MS)
    assert tracker.active
    tracker.expire(1001 * MS)
    assert not tracker.active


def test_a_face_back_from_a_gap_is_marked_until_somebody_looks() -> None:
    tracker = Tracker(gap_ns=GAP_NS)
    numbers(tracker, 0, face(0, 0))
    numbers(tracker, 100)
    ((track, _),) = tracker.update([face(0, 0)], 500 * MS)
    assert track.resumed
    tracker.update([face(0, 0)], 600 * MS)
    assert track.resumed
    track.resumed = False
    tracker.update([face(0, 0)], 700 * MS)
    assert not track.resumed


def test_a_detector_that_misses_one_frame_makes_no_gap() -> None:
    tracker = Tracker(gap_ns=GAP_NS)
    for at_ms in range(0, 1000, 100):
        pairs = tracker.update([face(0, 0)] if at_ms % 200 == 0 else [], at_ms * MS)
        assert not any(track.resumed for track, _ in pairs)


def test_a_slow_camera_makes_no_gap_either() -> None:
    tracker = Tracker(gap_ns=2 * NS)
    for at_ms in range(0, 5000, 1000):
        ((track, _),) = tracker.update([face(0, 0)], at_ms * MS)
        assert (track.number, track.resumed) == (1, False)


@given(SCENES)
def test_no_two_faces_share_a_track_and_no_number_comes_twice(scenes: list[tuple[int, list[Box]]]) -> None:
    tracker = Tracker(gap_ns=GAP_NS)
    now_ms, ended, last = 0, set[int](), frozenset[int]()
    for step_ms, boxes in scenes:
        now_ms += step_ms
        got = numbers(tracker, now_ms, *found(boxes))
        assert len(set(got)) == len(got) == len(boxes)
        assert not ended & set(got)
        ended |= last - tracker.numbers
        last = tracker.numbers


@given(SCENES)
def test_no_track_outlives_its_gap(scenes: list[tuple[int, list[Box]]]) -> None:
    tracker = Tracker(gap_ns=GAP_NS)
    now_ms, seen_ms = 0, dict[int, int]()
    for step_ms, boxes in scenes:
        now_ms += step_ms
        for number in numbers(tracker, now_ms, *found(boxes)):
            seen_ms[number] = now_ms
        assert tracker.numbers == {number for number, seen in seen_ms.items() if now_ms - seen <= 1000}


@given(SCENES)
def test_a_face_that_keeps_its_track_overlaps_with_where_it_was(scenes: list[tuple[int, list[Box]]]) -> None:
    tracker = Tracker(gap_ns=GAP_NS)
    now_ms, where = 0, dict[int, Box]()
    for step_ms, boxes in scenes:
        now_ms += step_ms
        for number, box in zip(numbers(tracker, now_ms, *found(boxes)), boxes, strict=True):
            assert number not in where or where[number].iou(box) >= MIN_IOU
            where[number] = box


@given(SCENES, st.randoms(use_true_random=False))
def test_the_order_of_the_detections_does_not_matter(
    scenes: list[tuple[int, list[Box]]], random: Random
) -> None:
    one, other = Tracker(gap_ns=GAP_NS), Tracker(gap_ns=GAP_NS)
    same, now_ms = dict[int, int](), 0  # a track's number with one tracker, and with the other
    for step_ms, boxes in scenes:
        now_ms += step_ms
        distinct = sorted(set(boxes))
        if ambiguous(one, distinct):
            return
        shuffled = list(distinct)
        random.shuffle(shuffled)
        first = dict(zip(distinct, numbers(one, now_ms, *found(distinct)), strict=True))
        second = dict(zip(shuffled, numbers(other, now_ms, *found(shuffled)), strict=True))
        for box in distinct:
            assert same.setdefault(first[box], second[box]) == second[box]


def ambiguous(tracker: Tracker, boxes: list[Box]) -> bool:
    """Whether two pairs overlap equally, so that the order must decide."""
    overlaps = [track.box.iou(box) for track in tracker._tracks.values() for box in boxes]
    counted = [overlap for overlap in overlaps if overlap >= MIN_IOU]
    return len(set(counted)) < len(counted)
