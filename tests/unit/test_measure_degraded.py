# SPDX-License-Identifier: Apache-2.0
"""Figures of bad conditions by hand, galleries of several sizes, and the whole measurement on a tiny folder."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from device.geometry import Box
from device.measure.conditions import LIGHT, MOTION, VIEWS, WIDTHS_PX, WORN, conditions
from device.measure.dataset import Search
from device.measure.degraded import STRANGERS, chosen
from device.measure.degraded_points import Sample, by_quality, by_yaw, point_of
from device.measure.door import at_width
from device.measure.galleries import DRAWS, draws
from device.records import Detection

NOT_FOUND = Sample("not_found")


def probe(own: float, *, first: bool = True, refusal: str | None = None, best: float | None = None) -> Sample:
    return Sample(refusal, own if best is None else best, own, first, 0.5, 5.0)


def stranger(best: float, refusal: str | None = None) -> Sample:
    return Sample(refusal, best)


def test_a_face_that_is_not_found_is_a_miss_and_a_refusal_and_no_mistake() -> None:
    point = point_of([NOT_FOUND, probe(0.6)], [NOT_FOUND], 0.4)
    assert (point["probes"], point["misses"], point["fnir"], point["mistaken"]) == (2, 1, 0.5, 0)
    assert (point["not_found"], point["refused"]) == (1, {"not_found": 1})
    assert (point["accepted_probes"], point["accepted_fnir"]) == (1, 0.0)
    assert (point["strangers"], point["alarms"], point["accepted_strangers"]) == (1, 0, 0)


def test_somebody_else_first_is_a_miss_and_a_mistake_only_from_the_threshold_on() -> None:
    samples = [
        probe(0.5, first=False, best=0.6),  # another name
        probe(0.1, first=False, best=0.3),  # no name
        probe(0.4),  # the threshold itself is enough
        probe(0.39),
    ]
    point = point_of(samples, [], 0.4)
    assert (point["misses"], point["mistaken"]) == (3, 1)
    assert point["fnir"] == 0.75


def test_what_the_door_refuses_is_in_all_and_not_in_accepted() -> None:
    probes = [probe(0.1, refusal="too_small"), probe(0.9, refusal="low_quality"), probe(0.9), probe(0.2)]
    strangers = [stranger(0.5, "too_small"), stranger(0.1), stranger(0.4)]
    point = point_of(probes, strangers, 0.4)
    assert (point["misses"], point["fnir"]) == (2, 0.5)
    assert (point["accepted_probes"], point["accepted_misses"], point["accepted_fnir"]) == (2, 1, 0.5)
    assert point["refused"] == {"low_quality": 1, "too_small": 1}
    assert (point["alarms"], point["strangers"], point["accepted_alarms"]) == (2, 3, 1)
    assert point["accepted_fpir"] == 0.5


def test_where_nobody_is_accepted_there_is_no_rate() -> None:
    point = point_of([NOT_FOUND], [NOT_FOUND], 0.4)
    assert (point["accepted_fnir"], point["accepted_fpir"]) == (None, None)
    assert point["accepted_fnir_95"] == (0.0, 1.0)


def test_bins_take_their_lower_edge_and_the_last_its_upper_one_too() -> None:
    turned = [Sample(None, 0.9, 0.9, True, 0.5, yaw) for yaw in (0.0, -9.9, 10.0, -25.0, 90.0, math.nan)]
    assert [each["probes"] for each in by_yaw(turned, 0.4)] == [2, 1, 1, 0, 1]
    graded = [Sample(None, 0.9, 0.9, True, quality, 0.0) for quality in (0.0, 0.2, 0.39, 0.8, 1.0)]
    assert [each["probes"] for each in by_quality(graded, 0.4)] == [1, 0, 1, 1, 0, 0, 2]


def test_every_curve_goes_from_mild_to_hard_and_through_the_default_door() -> None:
    ways = conditions()
    assert [way.level for way in ways if way.curve == "width"] == list(WIDTHS_PX) == sorted(WIDTHS_PX)[::-1]
    assert [way.level for way in ways if way.curve == "motion"] == sorted(MOTION)
    assert [way.level for way in ways if way.curve == "light"] == sorted(LIGHT)[::-1]
    assert {way.level for way in ways if way.curve == "worn"} == set(WORN) == {"mask", "sunglasses", "cap"}
    assert {way.view for way in ways if not way.curve.startswith("width")} == {"door"}
    assert {way.view for way in ways} == set(VIEWS)
    assert 40 in WIDTHS_PX


def test_each_way_changes_the_photo_as_its_level_says() -> None:
    photo = np.full((60, 60, 3), 200, np.uint8)
    photo[:, 30] = 0
    landmarks = np.array([[20, 20], [40, 20], [30, 30], [22, 42], [38, 42]], np.float32)
    changed = {
        (way.curve, way.level): way.change(photo, landmarks, np.random.default_rng(0)) for way in conditions()
    }
    assert (changed["none", 100.0] == photo).all()
    # 5 % of a face 100 px wide: the dark line weighs a fifth over five pixels; beyond them nothing changes.
    assert np.flatnonzero((changed["motion", 0.05] != photo).any(axis=(0, 2))).tolist() == [
        28,
        29,
        30,
        31,
        32,
    ]
    assert changed["light", 0.01].mean() < changed["light", 0.25].mean() < photo.mean()
    assert (changed["worn", "mask"] != photo).any()


def test_a_photo_is_scaled_until_its_face_is_so_wide_and_its_landmarks_with_it() -> None:
    landmarks = np.array([[9.5, 9.5], [29.5, 9.5], [19.5, 19.5], [11.5, 29.5], [27.5, 29.5]], np.float32)
    face = Detection(Box(0.0, 0.0, 40.0, 50.0), landmarks, 0.9)
    photo, moved = at_width(np.zeros((100, 80, 3), np.uint8), face, 20.0)
    assert photo.shape == (50, 40, 3)
    # Half the size: the corner between pixels 9 and 10 (9.5) becomes the one between 4 and 5.
    assert moved[0].tolist() == [4.5, 4.5]
    assert moved[1].tolist() == [14.5, 4.5]


def test_all_probes_and_always_the_same_strangers_are_chosen() -> None:
    searches = [Search(Path(f"{n}.png"), "Ann", "probe") for n in range(3)]
    searches += [Search(Path(f"s{n}.png"), f"s{n}", "stranger") for n in range(1000)]
    first = chosen(searches)
    assert first == chosen(searches)
    assert sum(search.role == "probe" for search in first) == 3
    assert len({search.picture for search in first}) == 3 + STRANGERS


def test_small_galleries_are_drawn_from_the_enrolled_and_large_ones_are_filled_up_with_others() -> None:
    enrolled = ["Ann", "Ben", "Cid"]
    searches = [Search(Path(f"{n}{r}"), n, r) for n in enrolled for r in ("enrol", "probe")]
    searches.append(Search(Path("x"), "Xen", "stranger"))
    others = {f"o{n}": [Search(Path(f"o{n}{k}"), f"o{n}", "enrol") for k in range(2)] for n in range(4)}

    def people(drawn: list[Search], role: str) -> set[str]:
        return {search.identity for search in drawn if search.role == role}

    rng = np.random.default_rng(1)
    small = list(draws(searches, enrolled, others, 2, rng))
    assert len(small) == DRAWS
    for drawn in small:
        assert len(people(drawn, "enrol")) == 2
        assert people(drawn, "enrol") == people(drawn, "probe")
        assert people(drawn, "stranger") == {"Xen"}
    assert list(draws(searches, enrolled, others, 3, rng)) == [searches]
    for drawn in draws(searches, enrolled, others, 5, rng):
        assert len(people(drawn, "enrol")) == 5
        assert people(drawn, "probe") == set(enrolled)
