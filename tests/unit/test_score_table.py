# SPDX-License-Identifier: Apache-2.0
"""The table of how often scores are reached, from people who are vectors."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from device.errors import InputError
from device.measure.embeddings import PictureSet, VariantEmbeddings
from device.measure.score_table import COUNTED, REFERENCES, SCORES, extended, plan_templates, score_table
from device.measure.variants import EmbedderVariant
from device.recognition.gallery import template_of
from device.recognition.operating_point import ScoreTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

DIMENSION = 24


def people(number: int, photos: int) -> list[Path]:
    """Photos of so many people, each in a folder of their name."""
    return [Path(f"{who:03}") / f"{photo}.jpg" for who in range(number) for photo in range(photos)]


def embedded(photos: Sequence[Path], rows: NDArray[np.float32]) -> tuple[PictureSet, VariantEmbeddings]:
    """What `embed_pictures` would have made of them."""
    embedder: Any = SimpleNamespace(dimension=DIMENSION)
    variant = VariantEmbeddings(EmbedderVariant("v", embedder, "v.tflite", "0" * 64, "none"))
    variant.rows = {str(photo): row for photo, row in zip(photos, rows, strict=True)}
    variant.references = variant.rows
    pictures = PictureSet(keys={photo: str(photo) for photo in photos}, variants=[variant])
    return pictures, variant


def faces(photos: Sequence[Path], spread: float) -> NDArray[np.float32]:
    """A random direction a person, and a random step from it a photo."""
    random = np.random.default_rng(3)
    middles = {photo.parent: random.normal(size=DIMENSION) for photo in photos}
    rows = np.array([middles[photo.parent] + spread * random.normal(size=DIMENSION) for photo in photos])
    unit: NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


def test_the_table_is_one_that_a_manifest_may_carry_and_counts_what_is_there() -> None:
    photos = people(60, 9)
    rows = faces(photos, 0.6)
    plan = plan_templates(photos)
    table = score_table(plan, *embedded(photos, rows), template_of)
    assert msgspec.convert({"data": "vectors", **table}, ScoreTable).references == REFERENCES
    assert table["comparisons"] == 60 * 59 * 9
    scores = rows @ np.stack([template_of(rows[members]) for members in plan.members]).T
    own = np.array([int(photo.parent.name) for photo in photos])[:, np.newaxis] == np.arange(60)
    fresh = own.copy()
    for owner, members in enumerate(plan.members):
        fresh[members, owner] = False
    place = int(np.flatnonzero(SCORES == 0.4)[0])
    assert table["fmr"][place] == pytest.approx(np.mean(scores[~own] >= 0.4), rel=0.01)
    assert table["fnmr"][place] == pytest.approx(np.mean(scores[fresh] < 0.4), rel=0.01, abs=1e-9)
    assert table["fmr_low"][place] < table["fmr"][place] < table["fmr_high"][place]


def test_a_photo_is_never_compared_with_a_template_that_it_is_part_of() -> None:
    photos = people(4, REFERENCES)
    table = score_table(plan_templates(photos), *embedded(photos, faces(photos, 0.5)), template_of)
    assert table["comparisons"] == 4 * 3 * REFERENCES
    assert set(table["fnmr"]) == {1.0}, (
        "no photo is left to search with, so nothing says that anybody is found"
    )


def test_pictures_without_a_face_are_left_out() -> None:
    photos = people(4, 7)
    rows = faces(photos, 0.5)
    rows[::7] = np.nan
    given = embedded(photos, rows)
    assert score_table(plan_templates(photos), *given, template_of)["comparisons"] == 4 * 3 * 6


def test_below_what_was_counted_the_last_decade_goes_on() -> None:
    counted = 10 ** (-2 - 10 * (SCORES - SCORES[0]))  # a decade each 0.1 of score
    cut = np.where(counted >= COUNTED, counted, 0.0)
    assert extended(cut) == pytest.approx(counted, rel=0.15)


def test_one_person_with_photos_enough_is_too_few() -> None:
    with pytest.raises(InputError, match="at least two people with 5 photos, found 1"):
        plan_templates([*people(1, 5), Path("b") / "1.jpg"])
