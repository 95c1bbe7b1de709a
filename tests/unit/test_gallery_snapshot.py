# SPDX-License-Identifier: Apache-2.0
"""The gallery in memory: mean templates, cosine scores, and consents that end."""

from __future__ import annotations

import math

import numpy as np
import pytest

from device.ports import EnrolledReferences
from device.recognition.gallery import MAX_SUBJECTS, Gallery, template_of
from tests.people import at, gallery, row, subject


def test_a_template_is_the_mean_of_the_references_at_unit_length() -> None:
    template = template_of(np.array([[1, 0, 0], [0, 1, 0]], np.float32))
    assert template == pytest.approx([math.sqrt(0.5), math.sqrt(0.5), 0])


def test_the_score_is_the_cosine_in_subject_order() -> None:
    scores = gallery(subject(1), subject(2), dimension=3).compare(row(0.6, 0.8, 0.0), at(0))
    assert scores.dtype == np.float32
    assert scores == pytest.approx([0.6, 0.8])


def test_the_templates_follow_their_subjects() -> None:
    enrolled = [EnrolledReferences(subject(n), np.eye(4, dtype=np.float32)[[n]]) for n in (2, 0, 3)]
    snapshot = Gallery(enrolled)
    best = int(snapshot.compare(np.eye(4, dtype=np.float32)[0], at(0)).argmax())
    assert snapshot.subjects[best].ref == "p_0000"


def test_a_consent_ends_to_the_nanosecond_whatever_the_person_looks_like() -> None:
    known = gallery(subject(1, expires_s=60), subject(2))
    probe = np.eye(8, dtype=np.float32)[0]
    assert known.compare(probe, at(59.999))[0] == 1.0
    assert known.compare(probe, at(60))[0] == -1.0


def test_an_empty_gallery_scores_nobody() -> None:
    assert Gallery().compare(np.ones(8, np.float32), at(0)).shape == (0,)
    assert len(Gallery()) == 0


def test_comparing_changes_neither_gallery_nor_probe() -> None:
    known = gallery(subject(1, expires_s=60), subject(2))
    probe = row(1, 0, 0, 0, 0, 0, 0, 0)
    before = known.compare(probe, at(0)).tolist()
    known.compare(probe, at(100))
    assert known.compare(probe, at(0)).tolist() == before
    assert probe.tolist() == [1, 0, 0, 0, 0, 0, 0, 0]


def test_a_full_gallery_is_compared_in_one_go() -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(MAX_SUBJECTS, 128)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    known = Gallery([EnrolledReferences(subject(n), rows[n : n + 1]) for n in range(MAX_SUBJECTS)])
    assert int(known.compare(rows[321], at(0)).argmax()) == 321


def test_subjects_whose_templates_are_near_each_other_are_named_once_the_nearest_first() -> None:
    rows = np.array([[1, 0, 0], [0.8, 0.6, 0], [0, 1, 0]], np.float32)
    known = Gallery([EnrolledReferences(subject(n), rows[n : n + 1]) for n in range(3)])
    found = [(one.ref, other.ref, round(score, 3)) for one, other, score in known.pairs_from(0.5)]
    assert found == [("p_0000", "p_0001", 0.8), ("p_0001", "p_0002", 0.6)]
    assert known.pairs_from(0.9) == []
    assert Gallery().pairs_from(-1.0) == []
