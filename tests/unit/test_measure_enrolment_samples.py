# SPDX-License-Identifier: Apache-2.0
"""What an enrolment refuses and what poisoned galleries do: the counting by hand, the rest on a drawn photo."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from device.measure.accuracy_enrolment import enrolment_section
from device.measure.enrolment_samples import LINES, NO_LIMIT, EnrolmentSamples, bad_samples, counts
from device.measure.metrics import wilson
from device.measure.poisoned import PARTLY, POISONS, Poisoned, Reference, searched

X, Y, Z = np.eye(3, dtype=np.float32)
LANDMARKS = np.array([[80, 100], [120, 100], [103, 122.8], [84, 146], [116, 146]], np.float32)


def between(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Halfway, of unit length: 0.71 from both."""
    middle: NDArray[np.float32] = (one + other) / np.float32(np.sqrt(2))
    return middle


def test_refusals_are_counted_by_reason_and_what_is_taken_is_none_of_them() -> None:
    figures = counts(["too_small", None, "sharpness", "too_small"])
    assert (figures["samples"], figures["taken"], figures["refused"]) == (4, 1, 0.75)
    assert figures["reasons"] == {"sharpness": 1, "too_small": 2}
    assert figures["refused_95"] == wilson(3, 4)
    assert counts([])["refused"] is None


def test_what_is_no_limit_is_told_and_does_not_count_as_beyond_one() -> None:
    figures = EnrolmentSamples(80)
    figures.good = [None, None, "pose"]
    figures.bad = {("motion", 0.2): ["sharpness", "sharpness"], ("jpeg", 10): [None, None]}
    told = figures.as_json()
    assert (told["beyond"]["samples"], told["beyond"]["refused"]) == (2, 1.0)
    assert [level["refused"] for level in told["levels"]] == [1.0, 0.0]
    assert told["good"]["taken"] == 2
    assert "jpeg" in NO_LIMIT


def test_every_limit_has_its_levels_and_motion_its_four_lines() -> None:
    ways = bad_samples()
    moved = [way for way in ways if (way.curve, way.level) == ("motion", 0.2)]
    assert len(moved) == len(LINES) == 4
    assert {way.view for way in ways if way.curve.endswith("door_large")} == {"door_large"}
    assert {"width", "motion", "defocus", "light", "gain", "yaw", "jpeg"} <= {way.curve for way in ways}


def test_each_way_changes_the_photo_and_keeps_its_size() -> None:
    photo = np.random.default_rng(1).integers(60, 200, (240, 200, 3), np.uint8)
    for way in bad_samples():
        worse = way.change(photo, LANDMARKS, np.random.default_rng(0))
        assert worse.shape == photo.shape
        assert way.curve.startswith("width") == bool((worse == photo).all()), way.curve


def test_a_gallery_is_searched_for_those_who_are_in_it_and_with_all_strangers() -> None:
    probes = [("ann", X), ("ben", X), ("cid", Z)]
    figures = searched({"ann": [X], "ben": [Y]}, probes, [Z, between(Y, Z)], [X], 0.5)
    assert (figures["subjects"], figures["references"], figures["probes"]) == (2, 2, 2)
    assert (figures["misses"], figures["mistaken"]) == (1, 1)  # ben looks like ann here
    assert (figures["strangers"], figures["alarms"]) == (2, 1)
    assert (figures["bad_strangers"], figures["bad_alarms"]) == (1, 1)


def test_where_nobody_is_enrolled_nobody_is_found() -> None:
    figures = searched({}, [("ann", X)], [X], [], 0.5)
    assert (figures["subjects"], figures["probes"], figures["fnir"]) == (0, 0, None)
    assert (figures["strangers"], figures["alarms"]) == (1, 0)


def poisoned() -> Poisoned:
    """Ann and Ben with three clean references each; motion makes everybody look like Z, and one such is taken."""
    made = Poisoned({"ann": [X, X, X], "ben": [Y, Y, Y]}, [("ann", X), ("ben", Y)], [between(Y, Z), Z])
    motion = POISONS[0].curve
    made.bad[motion] = [
        Reference("ann", Z, None),
        Reference("ann", Z, "sharpness"),
        Reference("ann", Z, "sharpness"),
        Reference("ben", Z, "sharpness"),
    ]
    made.bad_strangers[motion] = [Z, Z]
    return made


def line(lines: list[dict[str, Any]], bad: int | str, refusing: bool) -> dict[str, Any]:
    """The motion's line with these references."""
    (found,) = (
        each
        for each in lines
        if (each["poison"], each["bad_references"], each["refusing"]) == (POISONS[0].curve, bad, refusing)
    )
    return found


def test_the_refusal_keeps_bad_references_out_and_the_false_matches_with_them() -> None:
    lines = poisoned().as_json(0.9)
    bad, refused = line(lines, "all", False), line(lines, "all", True)
    assert (bad["subjects"], bad["references"], bad["bad_fpir"]) == (2, 4, 1.0)
    assert (refused["subjects"], refused["references"]) == (1, 1)
    assert line(lines, 0, False)["bad_fpir"] == 0.0


def test_a_part_of_the_references_is_replaced_and_the_refusal_leaves_the_clean_rest() -> None:
    lines = poisoned().as_json(0.9)
    mixed, refused = line(lines, PARTLY, False), line(lines, PARTLY, True)
    assert mixed["references"] == (3 - PARTLY) * 2 + PARTLY + 1  # two of Ann's, the only one of Ben's
    assert mixed["fnir"] == 1.0
    assert refused["references"] == (3 - PARTLY) * 2 + 1
    assert refused["fnir"] == 0.5


@pytest.fixture
def degraded() -> dict[str, Any]:
    """The part of evaluate.json that the page's section is made of."""
    samples = EnrolmentSamples(80)
    samples.good = [None] * 39 + ["sharpness"]
    samples.bad = {("motion", 0.2): ["sharpness"] * 50, ("yaw", 60.0): ["turned_away"] * 50}
    return {
        "threshold": 0.42,
        "gate": {"enrolment_min_quality": 0.4, "min_face_px": 80},
        "enrolment": samples.as_json(),
        "poisoned": poisoned().as_json(0.9),
    }


def test_the_page_says_that_all_is_refused_only_where_it_is(degraded: dict[str, Any]) -> None:
    text = enrolment_section(degraded)
    assert "Beyond the limits 100.00 % (96.30-100.00) of 100 are refused: all of them." in text
    assert "Of 40 good samples 2.50 % (0.44-12.88) are refused; at most 5 % was asked for: met." in text
    worse = copy.deepcopy(degraded)
    worse["enrolment"]["beyond"] = counts([None, "pose"])
    worse["enrolment"]["good"] = counts([None, "pose"])
    text = enrolment_section(worse)
    assert "; **1 are taken**." in text
    assert "asked for: **not met**." in text


def test_the_page_has_a_line_a_gallery_and_nothing_where_nothing_was_measured(
    degraded: dict[str, Any],
) -> None:
    text = enrolment_section(degraded)
    assert "| motion over 30% of the face's width | all | no | 4 of 2 |" in text
    assert text.count("| all | yes |") == len(POISONS)
    assert enrolment_section({}) == ""
