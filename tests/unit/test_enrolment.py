# SPDX-License-Identifier: Apache-2.0
"""Enrolment: one person, alone, live, held against everyone enrolled, and nothing left unless it is complete."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from device.geometry import Box
from device.recognition.enrolment import HINTS, EnrolmentSession
from device.recognition.tracks import Track
from device.records import Probe, Quality
from tests.people import NS, at, row

TRACK = Track(1, Box(0, 0, 9, 9), 0)
GOOD = Quality(1.0, 1.0, 1.0, 1.0)
NOBODY = row()
ME = np.eye(8, dtype=np.float32)[0]
ANOTHER = np.eye(8, dtype=np.float32)[1]


def session() -> EnrolmentSession:
    return EnrolmentSession(needed=3, min_quality=0.4, timeout_ns=60 * NS, too_close=0.5)


def show(
    made: EnrolmentSession,
    seconds: float,
    embedding: np.ndarray = ME,
    *,
    faces: int = 1,
    quality: Quality = GOOD,
    scores: np.ndarray = NOBODY,
) -> bool:
    """One frame, as the pipeline does it; whether the face was embedded."""
    now = at(seconds)
    made.open_frame(faces, now)
    if not (made.wants(TRACK, now) and made.accepts(quality, now)):
        return False
    assert made.offer(TRACK, Probe(embedding.copy(), quality.overall), scores, now) == []
    return True


def state(made: EnrolmentSession) -> tuple[str, int]:
    return made.progress.state, made.progress.taken


def test_three_good_samples_are_three_references() -> None:
    made = session()
    assert [show(made, seconds) for seconds in (0.0, 0.4, 0.8)] == [True, True, True]
    assert state(made) == ("complete", 3)
    assert made.references().tolist() == [ME.tolist()] * 3


def test_samples_too_close_in_time_are_not_embedded() -> None:
    made = session()
    assert [show(made, seconds) for seconds in (0.0, 0.1, 0.39, 0.41)] == [True, False, False, True]
    assert state(made) == ("running", 2)


def test_nobody_is_embedded_while_two_faces_are_there() -> None:
    made = session()
    assert not show(made, 0.0, faces=2)
    assert made.progress.hint == HINTS["several_faces"]


def test_the_second_face_is_what_matters_and_not_where_it_looks() -> None:
    made = session()
    made.open_frame(2, at(0))
    made.refuse("too_small")
    assert made.progress.hint == HINTS["several_faces"]


def test_an_empty_picture_asks_the_person_to_come() -> None:
    made = session()
    show(made, 0.0, faces=0)
    assert made.progress.hint == HINTS["no_face"]


@pytest.mark.parametrize("reason", ["outside_zone", "too_small", "turned_away"])
def test_a_face_that_does_not_present_itself_is_told_why(reason: str) -> None:
    made = session()
    made.open_frame(1, at(0))
    made.refuse(reason)  # type: ignore[arg-type]
    assert made.progress.hint == HINTS[reason]


@pytest.mark.parametrize("part", ["size", "pose", "sharpness", "exposure"])
def test_a_poor_sample_is_told_its_weakest_part(part: str) -> None:
    made = session()
    values = {name: 0.39 if name == part else 0.8 for name in ("size", "pose", "sharpness", "exposure")}
    assert not show(made, 0.0, quality=Quality(**values))
    assert made.progress.hint == HINTS[part]


def test_somebody_else_who_steps_in_is_not_taken() -> None:
    made = session()
    show(made, 0.0)
    show(made, 1.0, ANOTHER)
    assert state(made) == ("running", 1)
    assert made.progress.hint == HINTS["other_person"]
    show(made, 2.0)
    show(made, 3.0)
    assert made.references().tolist() == [ME.tolist()] * 3


def test_whoever_looks_like_a_subject_is_refused_and_not_told_whom() -> None:
    made = session()
    show(made, 0.0, scores=row(0.1, 0.3))
    show(made, 1.0, scores=row(0.1, 0.5))
    assert made.progress.state == "refused"
    assert "label" not in made.progress.hint
    assert "p_" not in made.progress.hint


def test_time_runs_out_without_frames_too() -> None:
    made = session()
    made.tick(at(0).boot_ns)
    assert made.seconds_left(at(59).boot_ns) == 1.0
    made.tick(at(60).boot_ns)
    assert state(made) == ("timed_out", 0)
    assert not show(made, 61.0)


@pytest.mark.parametrize("how", ["timed_out", "refused"])
def test_what_ends_incomplete_keeps_no_sample(how: str) -> None:
    made = session()
    show(made, 0.0)
    if how == "refused":
        show(made, 1.0, scores=row(0.9))
    else:
        made.tick(at(61).boot_ns)
    assert state(made)[0] == how
    with pytest.raises(ValueError, match="not complete"):
        made.references()
    held = [thing for thing in gc.get_referents(made._samples) if isinstance(thing, np.ndarray)]
    assert held == []


def test_what_is_complete_takes_no_more() -> None:
    made = session()
    for seconds in (0.0, 1.0, 2.0):
        show(made, seconds)
    assert not show(made, 3.0)
    made.tick(at(100).boot_ns)
    assert state(made) == ("complete", 3)
