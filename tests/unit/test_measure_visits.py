# SPDX-License-Identifier: Apache-2.0
"""Visits of several pictures: how they are cut, fused and counted. Embeddings are given, so no model runs."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest

from device.measure.dataset import Search
from device.measure.embeddings import FIRST_LOOK, NOBODY, PictureSet, VariantEmbeddings
from device.measure.identification import AtFpir, identify
from device.measure.visits import Visits, cut, measure_visits

if TYPE_CHECKING:
    from device.measure.variants import EmbedderVariant

SINGLE = {"1e-2": AtFpir(0.5, 0, 0), "1e-3": AtFpir(0.9, 0, 0)}


class Album:
    """Pictures with embeddings chosen by the test: the cosine with Ann's template is the number given."""

    def __init__(self) -> None:
        self.variant = VariantEmbeddings(cast("EmbedderVariant", None))
        self.pictures = PictureSet(variants=[self.variant])
        self.searches: list[Search] = []
        self.others: list[Path] = []

    def add(
        self,
        person: str,
        cosine: float,
        *,
        role: str = "",
        quality: float = 1.0,
        mirrored: float | None = None,
    ) -> None:
        """A picture of somebody; without a role it is one of the pairs'."""
        path = Path(person) / f"{len(self.pictures.keys)}.jpg"
        key = self.pictures.keys[path] = hashlib.sha256(str(path).encode()).hexdigest()
        self.variant.rows[key] = towards(cosine)
        self.variant.quality[key] = quality
        self.variant.look[key] = NOBODY if np.isnan(cosine) else FIRST_LOOK
        if mirrored is not None:
            self.variant.references[key] = towards(mirrored)
        if role:
            self.searches.append(Search(path, person, role))
        else:
            self.others.append(path)

    def measured(self) -> dict[int, Visits]:
        """By number of frames."""
        found = measure_visits(self.searches, self.others, self.pictures, self.variant, SINGLE)
        return {visits.frames: visits for visits in found}


def towards(cosine: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """A vector of unit length with this cosine to the first axis."""
    return np.array([cosine, np.sqrt(1 - cosine * cosine)], np.float32)


@pytest.fixture
def album() -> Album:
    """Ann enrolled on the first axis, and a stranger with three pictures."""
    made = Album()
    made.add("Ann", 0.1, role="enrol", mirrored=1.0)
    for _ in range(3):
        made.add("Zoe", 0.2)
    return made


def test_a_template_is_made_of_the_references_as_an_enrolment_embeds_them(album: Album) -> None:
    album.add("Ann", 0.8, role="probe")
    album.add("Zoe", 0.2, role="stranger")
    found = identify(album.searches, album.pictures, album.variant)
    assert found.probes.tolist() == pytest.approx([0.8])


def test_the_frames_of_a_visit_weigh_by_their_quality(album: Album) -> None:
    for cosine, quality in ((0.9, 1.0), (0.9, 1.0), (0.3, 0.5)):
        album.add("Ann", cosine, role="probe", quality=quality)
    assert album.measured()[3].own == pytest.approx(np.full(10, (0.9 + 0.9 + 0.15) / 2.5))


def test_a_frame_without_quality_still_counts_a_little(album: Album) -> None:
    album.add("Ann", 0.7, role="probe", quality=0.0)
    assert album.measured()[1].own == pytest.approx(np.full(10, 0.7))


def test_a_picture_without_a_face_makes_no_frame(album: Album) -> None:
    album.add("Ann", 0.7, role="probe")
    album.add("Ann", np.nan, role="probe")
    measured = album.measured()
    assert list(measured) == [1]
    assert measured[1].distinct == 1


def test_lengths_that_nobody_has_the_pictures_for_are_left_out(album: Album) -> None:
    for _ in range(5):
        album.add("Ann", 0.7, role="probe")
    assert list(album.measured()) == [1, 3]  # five frames of Ann, but only three of a stranger


def test_people_of_the_open_set_table_are_no_strangers(album: Album) -> None:
    album.add("Ann", 0.7, role="probe")
    album.add("Ann", 0.95)
    assert album.measured()[1].strangers == pytest.approx([0.2])


def test_errors_are_told_at_the_visits_own_thresholds_and_at_the_single_frames(album: Album) -> None:
    album.add("Ann", 0.6, role="probe")
    figures = album.measured()[1].as_json()
    assert figures["threshold_at_fpir_1e-2"] == pytest.approx(0.2)
    assert figures["fnir_at_fpir_1e-2"] == 0
    assert (figures["fnir_single_at_fpir_1e-2"], figures["fnir_single_at_fpir_1e-3"]) == (0, 1)
    assert figures["fpir_single_at_fpir_1e-2"] == 0
    # Ten draws of one picture are still one search.
    assert figures["fnir_single_at_fpir_1e-3_95"][0] == pytest.approx(0.2065, abs=1e-3)


def test_what_is_left_over_belongs_to_no_visit() -> None:
    pictures = [Path(str(number)) for number in range(7)]
    visits = cut(pictures, 3, np.random.default_rng(1))
    assert [len(visit) for visit in visits] == [3, 3]
    assert len({path for visit in visits for path in visit}) == 6
