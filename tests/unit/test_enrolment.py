# SPDX-License-Identifier: Apache-2.0
"""Enrolment: one person, alone, live, held against everyone enrolled, and nothing left unless it is complete."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from device.recognition.enrolment import HINTS, EnrolmentSession
from device.records import Pose, Quality
from tests.enrolling import ANOTHER, ME, TURNS, Sitting
from tests.people import at, row


def test_seven_good_samples_give_five_references() -> None:
    sitting = Sitting()
    assert [sitting.show(0.4) for _ in range(7)] == [True] * 7
    assert sitting.state == ("complete", 7)
    references = sitting.session.references()
    assert references.shape == (5, ME.size)
    assert np.linalg.norm(references, axis=1) == pytest.approx(np.ones(5))


def test_samples_too_close_in_time_are_not_embedded() -> None:
    sitting = Sitting()
    assert [sitting.show(step) for step in (0.0, 0.1, 0.29, 0.02)] == [True, False, False, True]
    assert sitting.state == ("running", 2)


def test_a_picture_that_stays_the_same_is_never_enrolled() -> None:
    sitting = Sitting()
    for _ in range(140):
        sitting.show(0.4, embedding=ME)
    assert sitting.session.progress.hint == HINTS["alike"]
    sitting.session.tick(at(61).boot_ns)
    assert sitting.state[0] == "timed_out"


def test_nobody_is_embedded_while_two_faces_are_there() -> None:
    sitting = Sitting()
    assert not sitting.show(0.0, faces=2)
    assert sitting.session.progress.hint == HINTS["several_faces"]


def test_the_second_face_is_what_matters_and_not_where_it_looks() -> None:
    sitting = Sitting()
    sitting.session.open_frame(2, at(0))
    sitting.session.refuse("too_small")
    assert sitting.session.progress.hint == HINTS["several_faces"]


def test_an_empty_picture_asks_the_person_to_come() -> None:
    sitting = Sitting()
    sitting.show(0.0, faces=0)
    assert sitting.session.progress.hint == HINTS["no_face"]


@pytest.mark.parametrize("reason", ["outside_zone", "too_small", "turned_away"])
def test_a_face_that_does_not_present_itself_is_told_why(reason: str) -> None:
    sitting = Sitting()
    sitting.session.open_frame(1, at(0))
    sitting.session.refuse(reason)  # type: ignore[arg-type]
    assert sitting.session.progress.hint == HINTS[reason]


@pytest.mark.parametrize("part", ["size", "sharpness", "exposure"])
def test_a_poor_sample_is_told_its_weakest_part(part: str) -> None:
    sitting = Sitting()
    values = {name: 0.39 if name == part else 0.8 for name in ("size", "pose", "sharpness", "exposure")}
    assert not sitting.show(0.0, quality=Quality(**values))
    assert sitting.session.progress.hint == HINTS[part]


def test_a_turned_head_does_not_count_as_poor_quality_since_it_is_asked_for() -> None:
    assert Sitting().show(0.0, quality=Quality(size=1.0, pose=0.3, sharpness=1.0, exposure=1.0))


def test_a_hint_stands_for_a_second_and_what_flickers_is_not_shown() -> None:
    sitting = Sitting(pose_wait_s=6.0)
    sitting.show(0.1)
    seen = []
    for number in range(12):
        sitting.show(0.1, faces=1 + number % 2)
        seen.append(sitting.session.progress.hint)
    assert set(seen[:9]) == {HINTS["left"]}
    assert seen[9:] == [HINTS["several_faces"]] * 3


# Poses.


def test_every_pose_is_asked_for_front_first_with_its_own_hint() -> None:
    sitting = Sitting(pose_wait_s=6.0)
    asked = []
    for name in ("front", "left", "right", "up", "down"):
        sitting.show(0.4, pose=TURNS[name])
        asked.append(sitting.session.progress.hint)
    assert asked == [HINTS[hint] for hint in ("left", "right", "up", "down", "more")]
    assert dict(sitting.session.progress.poses) == dict.fromkeys(TURNS, "given")
    for _ in range(2):
        sitting.show(0.4)
    assert sitting.state == ("complete", 7)
    assert sitting.session.summary().poses == ("front", "left", "right", "up", "down")


def test_a_pose_counts_whenever_it_comes() -> None:
    sitting = Sitting(pose_wait_s=6.0)
    for name in ("front", "down", "right"):
        sitting.show(0.4, pose=TURNS[name])
    assert dict(sitting.session.progress.poses) == {
        "front": "given",
        "left": "asked",
        "right": "given",
        "up": "open",
        "down": "given",
    }


def test_the_first_sample_faces_the_camera() -> None:
    sitting = Sitting(pose_wait_s=6.0)
    sitting.show(0.4, pose=TURNS["left"])
    assert sitting.session.progress.taken == 0
    assert sitting.session.progress.hint == HINTS["front"]


def test_turns_are_measured_from_the_persons_own_front() -> None:
    sitting = Sitting(pose_wait_s=6.0)
    sitting.show(0.4, pose=Pose(0.0, 14.0, 0.0))  # a camera above the door
    sitting.show(0.4, pose=Pose(0.0, 3.0, 0.0))
    assert dict(sitting.session.progress.poses)["up"] == "given"


def test_a_head_turned_too_far_is_not_taken() -> None:
    sitting = Sitting(pose_wait_s=6.0)
    sitting.show(0.4)
    sitting.show(1.0, pose=Pose(31.0, 0.0, 0.0))
    assert sitting.session.progress.taken == 1
    assert sitting.session.progress.hint == HINTS["too_far"]
    sitting.session.refuse("turned_away")
    assert sitting.session.progress.hint == HINTS["too_far"]


def test_a_pose_that_does_not_come_is_given_up_and_after_two_the_rest_is_not_asked_for() -> None:
    sitting = Sitting(pose_wait_s=6.0)
    while sitting.state[0] == "running":
        sitting.show(0.5)
    assert sitting.state[0] == "complete"
    assert sitting.seconds == pytest.approx(0.5 + 12.0 + 0.5, abs=1.0), "twice six seconds"
    assert dict(sitting.session.progress.poses) == {"front": "given"} | dict.fromkeys(
        ("left", "right", "up", "down"), "skipped"
    )
    summary = sitting.session.summary()
    assert (summary.verdict, summary.poses) == ("usable", ("front",))
    assert "few sides" in summary.sentence


def test_whoever_cannot_face_the_camera_is_taken_as_they_are() -> None:
    sitting = Sitting(pose_wait_s=6.0)
    while sitting.state[0] == "running":
        sitting.show(0.5, pose=Pose(20.0, 0.0, 0.0))
    assert sitting.state[0] == "complete"


def test_while_nobody_is_there_no_pose_is_given_up() -> None:
    sitting = Sitting(pose_wait_s=6.0)
    sitting.show(0.4)
    for _ in range(40):
        sitting.show(0.5, faces=0)
    assert dict(sitting.session.progress.poses)["left"] == "asked"


# Other people.


def test_one_frame_of_somebody_else_is_left_out() -> None:
    sitting = Sitting()
    sitting.show(0.4)
    sitting.show(0.4, embedding=ANOTHER)
    assert sitting.state == ("running", 1)
    assert sitting.session.progress.hint == HINTS["other_person"]
    while sitting.state[0] == "running":
        sitting.show(0.4)
    assert (sitting.session.references() @ ME > 0.9).all()


@pytest.mark.parametrize(("likeness", "taken"), [(0.40, 1), (0.50, 2)])
def test_how_alike_a_sample_must_be_to_be_the_same_persons(likeness: float, taken: int) -> None:
    sitting = Sitting()
    sitting.show(0.4, embedding=ME)
    other = np.float32(likeness) * ME + np.sqrt(np.float32(1 - likeness**2)) * ANOTHER
    sitting.show(0.4, embedding=other)
    assert sitting.session.progress.taken == taken


def test_two_frames_of_somebody_else_begin_it_again() -> None:
    sitting = Sitting()
    for _ in range(3):
        sitting.show(0.4)
    for _ in range(2):
        sitting.show(0.4, embedding=ANOTHER)
    assert sitting.state == ("running", 0)
    assert sitting.session.progress.hint == HINTS["restart"]


def test_a_fourth_change_of_person_is_refused() -> None:
    sitting = Sitting()
    for _ in range(5):
        for face in (ME, ANOTHER):
            for _ in range(3):
                sitting.show(0.4, embedding=face)
    assert sitting.state[0] == "refused"
    assert "more than one person" in sitting.session.progress.hint


def test_after_the_face_was_out_of_sight_it_must_be_plainer_who_it_is() -> None:
    similar = 0.5 * ME + np.sqrt(np.float32(0.75)) * ANOTHER
    same_track, new_track = Sitting(), Sitting()
    for sitting, track in ((same_track, 1), (new_track, 2)):
        sitting.show(0.4, embedding=ME)
        sitting.show(0.4, embedding=similar, track=track)
    assert (same_track.state, new_track.state) == (("running", 2), ("running", 1))


def test_whoever_looks_like_a_subject_is_refused_and_not_told_whom() -> None:
    sitting = Sitting()
    sitting.show(0.4, scores=row(0.1, 0.3))
    sitting.show(0.4, scores=row(0.1, 0.5))
    progress = sitting.session.progress
    assert (progress.state, progress.hint) == (
        "refused",
        "too close to a subject who is enrolled already (score 0.50)",
    )
    assert "may be enrolled already" in progress.way_out


# Renewal: whose references are renewed is the gallery's first.


def test_a_renewal_is_not_refused_for_being_close_to_oneself() -> None:
    sitting = Sitting(own=0)
    while sitting.state[0] == "running":
        sitting.show(0.4, scores=row(0.8, 0.1))
    assert sitting.state[0] == "complete"
    assert sitting.session.summary().nearest == 0.1


def test_a_renewal_with_somebody_elses_face_is_refused_with_a_way_out() -> None:
    sitting = Sitting(own=0)
    for _ in range(3):
        sitting.show(0.4, scores=row(0.2, 0.1))
    progress = sitting.session.progress
    assert (progress.state, progress.hint) == (
        "refused",
        "this is not the face that is enrolled there (score 0.20)",
    )
    assert "porter withdraw" in progress.way_out


def test_one_poor_score_against_oneself_does_not_end_a_renewal() -> None:
    sitting = Sitting(own=0)
    for score in (0.45, 0.7, 0.7, 0.3):
        sitting.show(0.4, scores=row(score, 0.1))
    assert sitting.state == ("running", 4)


def test_a_renewal_by_another_subject_is_refused() -> None:
    sitting = Sitting(own=0)
    sitting.show(0.4, scores=row(0.1, 0.8))
    assert sitting.state[0] == "refused"


@pytest.mark.parametrize("scores", [row(), row(0.1)])
def test_a_renewal_whose_subject_is_gone_from_the_gallery_is_refused(scores: np.ndarray) -> None:
    sitting = Sitting(own=1)
    sitting.show(0.4, scores=scores)
    assert sitting.state[0] == "refused"


# Ends.


def test_time_runs_out_without_frames_too() -> None:
    session = Sitting().session
    session.tick(at(0).boot_ns)
    assert session.seconds_left(at(59).boot_ns) == 1.0
    session.tick(at(60).boot_ns)
    assert (session.progress.state, session.progress.taken) == ("timed_out", 0)


@pytest.mark.parametrize("how", ["timed_out", "refused"])
def test_what_ends_incomplete_keeps_no_sample(how: str) -> None:
    sitting = Sitting()
    sitting.show(0.4)
    if how == "refused":
        sitting.show(0.4, scores=row(0.9))
    else:
        sitting.session.tick(at(61).boot_ns)
    assert sitting.state[0] == how
    with pytest.raises(ValueError, match="not complete"):
        sitting.session.references()
    with pytest.raises(ValueError, match="not complete"):
        sitting.session.summary()
    assert held_by(sitting.session) == []


def held_by(session: EnrolmentSession) -> list[np.ndarray]:
    """Every array of an embedding's length that can be reached from the session."""
    seen, waiting, found = set[int](), [session], list[np.ndarray]()
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, type):
            continue
        seen.add(id(one))
        if isinstance(one, np.ndarray) and one.size == ME.size:
            found.append(one)
        waiting += gc.get_referents(one)
    return found


def test_the_search_for_samples_finds_them_while_they_are_there() -> None:
    sitting = Sitting()
    sitting.show(0.4)
    assert len(held_by(sitting.session)) == 1


def test_what_is_complete_takes_no_more() -> None:
    sitting = Sitting()
    for _ in range(7):
        sitting.show(0.4)
    assert not sitting.show(0.4)
    sitting.session.tick(at(100).boot_ns)
    assert sitting.state == ("complete", 7)
