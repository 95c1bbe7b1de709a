# SPDX-License-Identifier: Apache-2.0
"""Which samples become references: varied, none twice, no outlier; and what is said about them is true."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from device.recognition.references import Sample, choose, summary_of
from device.records import PoseName, Quality
from tests.enrolling import ANOTHER, GOOD, ME, TURNS, sample_of


def sample(number: int, pose: PoseName = "front", quality: Quality = GOOD) -> Sample:
    return Sample(sample_of(ME, number), quality, pose)


def test_every_pose_that_is_there_is_kept() -> None:
    samples = [sample(n) for n in range(10)] + [
        sample(20 + n, pose) for n, pose in enumerate(TURNS) if pose != "front"
    ]
    assert {one.pose for one in choose(samples, 5)} == set(TURNS)


def test_of_one_pose_the_best_sample_is_kept() -> None:
    fair = replace(GOOD, sharpness=0.7)
    samples = [sample(0, quality=fair), sample(1), sample(2, quality=fair)]
    assert choose(samples, 1) == [samples[1]]


def test_the_rest_are_those_farthest_from_the_ones_that_are_kept() -> None:
    near = replace(sample(0), embedding=sample_of(ME, 0) + np.float32(0.05) * ANOTHER)
    near = replace(near, embedding=near.embedding / np.linalg.norm(near.embedding))
    samples = [sample(0), near, sample(1), sample(2)]
    assert choose(samples, 3) == [samples[0], samples[2], samples[3]]


def test_the_same_sample_is_kept_once() -> None:
    assert len(choose([sample(0)] * 9 + [sample(1)] * 3, 8)) == 2


def test_a_sample_far_from_the_others_is_left_out_even_where_it_is_the_only_one_of_its_pose() -> None:
    stray = Sample(0.5 * ME + np.sqrt(np.float32(0.75)) * ANOTHER, GOOD, "left")
    kept = choose([sample(n) for n in range(6)] + [stray], 8)
    assert len(kept) == 6
    assert {one.pose for one in kept} == {"front"}


def test_nothing_and_samples_without_direction_give_nothing() -> None:
    assert choose([], 8) == []
    assert choose([Sample(np.zeros(32, np.float32), GOOD, "front")], 8) == []


def kept(quality: Quality = GOOD, nearest: float = -1.0, poses: int = 5) -> list[Sample]:
    names = list(TURNS)[:poses]
    return [Sample(sample_of(ME, n), quality, names[n % poses], nearest) for n in range(5)]


def test_good_references_are_called_good() -> None:
    summary = summary_of(kept(), too_close=0.5)
    assert (summary.verdict, summary.sentence, summary.references) == ("good", "good", 5)
    assert summary.similarity == pytest.approx(0.96, abs=0.005)
    assert summary.nearest is None


@pytest.mark.parametrize(
    ("quality", "verdict", "said"),
    [
        (replace(GOOD, exposure=0.5), "again", "more light"),
        (replace(GOOD, sharpness=0.5), "again", "holding still"),
        (replace(GOOD, size=0.5), "again", "nearer"),
        (replace(GOOD, size=0.6), "usable", "size was only fair"),
        (replace(GOOD, pose=0.1), "good", "good"),
    ],
)
def test_the_weakest_part_is_named(quality: Quality, verdict: str, said: str) -> None:
    summary = summary_of(kept(quality), too_close=0.5)
    assert summary.verdict == verdict
    assert said in summary.sentence


def test_a_lookalike_is_told_by_score_and_by_nothing_else() -> None:
    summary = summary_of(kept(nearest=0.44), too_close=0.5)
    assert (summary.verdict, summary.nearest) == ("usable", 0.44)
    assert "looks much alike" in summary.sentence
    assert summary_of(kept(nearest=0.39), too_close=0.5).verdict == "good"


def test_few_poses_are_told() -> None:
    summary = summary_of(kept(poses=2), too_close=0.5)
    assert (summary.verdict, summary.poses) == ("usable", ("front", "left"))
    assert "seen from few sides (front, left)" in summary.sentence


def test_references_that_differ_much_are_told() -> None:
    vectors = np.eye(32, dtype=np.float32)[:5] + np.float32(0.5) * np.eye(32, dtype=np.float32)[9]
    samples = [replace(one, embedding=v / np.linalg.norm(v)) for one, v in zip(kept(), vectors, strict=True)]
    summary = summary_of(samples, too_close=0.5)
    assert (summary.verdict, summary.similarity) == ("again", 0.2)
    assert "differ much" in summary.sentence
