# SPDX-License-Identifier: Apache-2.0
"""One frame, top to bottom, over painted people: what runs, what does not, and what comes out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import device.pipeline
from device.errors import HardwareError
from tests.door import RULE, Door, Painted, embedding_of, enrolment
from tests.people import at

ANNA, BERT, STRANGER = Painted(1), Painted(2), Painted(5)


def test_painted_people_are_who_they_are() -> None:
    assert float(embedding_of(1) @ embedding_of(1)) == pytest.approx(1)
    assert float(embedding_of(1) @ embedding_of(2)) == pytest.approx(0, abs=1e-6)


def test_a_subject_comes_stays_and_leaves() -> None:
    door = Door([1, 2])
    assert door.show(ANNA, frames=2) == []
    assert door.show(ANNA) == ["start p_0001"]
    assert door.show(ANNA, frames=200) == []
    assert door.show(frames=49) == []
    assert door.show() == ["end p_0001"]


def test_a_stranger_beside_a_subject_changes_nothing() -> None:
    door = Door([1, 2])
    beside = replace(STRANGER, y=160, width=90)
    assert door.show(replace(ANNA, y=30), beside, frames=50) == ["start p_0001"]
    assert door.pipeline.sightings.strangers == 1


def test_two_subjects_are_matched_each_on_their_own_track() -> None:
    door = Door([1, 2])
    assert sorted(door.show(replace(ANNA, y=20), replace(BERT, y=150), frames=10)) == [
        "start p_0001",
        "start p_0002",
    ]


def test_a_decided_face_is_embedded_rarely() -> None:
    door = Door([1])
    door.show(ANNA, frames=300)  # 30 s
    assert 3 + 9 <= door.pipeline.counters.embedded <= 3 + 10
    assert door.embedder.invocations == door.pipeline.counters.embedded


def test_when_nobody_is_there_any_more_the_embedder_is_made_to_forget_once() -> None:
    door = Door([1])
    door.show(ANNA, frames=5)
    seen = door.embedder.invocations
    door.show(frames=100)
    assert door.embedder.invocations == seen + 1
    assert door.pipeline.counters.embedded == seen


def test_still_frames_do_not_reach_the_detector() -> None:
    door = Door([1], motion=True)
    door.show(frames=100)
    looked = door.yunet.invocations
    assert looked <= 10  # the first picture counts as motion, and the gate stays open for a second
    assert door.pipeline.counters.still == 100 - looked
    assert door.show(ANNA, frames=5) == ["start p_0001"]


def test_who_stands_perfectly_still_stays_in_view() -> None:
    door = Door([1], motion=True)
    assert door.show(ANNA, frames=200) == ["start p_0001"]
    assert door.pipeline.counters.still == 0


def test_after_a_visit_the_gate_opens_once_for_what_it_was_not_shown_and_closes_again() -> None:
    door = Door([1], motion=True)
    door.show(ANNA, frames=200)
    seen = door.yunet.invocations
    door.show(frames=100)
    looked = door.yunet.invocations - seen
    # The track's gap (1 s); then the gate holds the empty door against a picture with Anna in it: motion (1 s).
    assert 20 <= looked <= 22
    assert door.pipeline.counters.still == 100 - looked


def test_a_visit_ends_before_a_still_picture_too() -> None:
    door = Door([1], motion=True)
    door.show(ANNA, frames=10)
    assert door.show(frames=60) == ["end p_0001"]
    assert door.pipeline.counters.still > 0


def test_time_without_frames_ends_tracks_and_visits_but_not_at_once() -> None:
    door = Door([1])
    door.show(ANNA, frames=2)
    assert door.pipeline.close(at(door.seconds + 0.1)) == []
    assert door.show(ANNA) == ["start p_0001"]  # the two samples from before still count
    (end,) = door.pipeline.close(at(door.seconds + 60))
    assert end.phase == "end"
    assert not door.pipeline.tracks.active


def test_while_somebody_enrols_nobody_is_recognised() -> None:
    door = Door([1])
    door.pipeline.enrolment = enrolment()
    assert door.show(ANNA, frames=10) == []
    assert door.pipeline.enrolment.progress.state == "refused"  # Anna is enrolled already
    assert not door.pipeline.sightings.visits


def test_an_enrolment_takes_samples_of_one_who_is_alone() -> None:
    door = Door([1])
    session = door.pipeline.enrolment = enrolment()
    door.show(replace(STRANGER, y=20), replace(BERT, y=150), frames=20)
    assert door.embedder.invocations == 0
    door.show(frames=20)
    door.show_alive(STRANGER, frames=30)
    assert session.progress.state == "complete"
    assert (session.references() @ embedding_of(5) > 0.97).all()
    assert session.references()[0] == pytest.approx(embedding_of(5), abs=1e-6)


def test_an_enrolment_keeps_nobody_elses_visit_alive() -> None:
    door = Door([1])
    assert door.show(ANNA, frames=5) == ["start p_0001"]
    door.pipeline.enrolment = enrolment()
    assert door.show(STRANGER, frames=60) == ["end p_0001"]


def test_every_refusal_is_counted_under_its_reason() -> None:
    door = Door([1])
    door.show(replace(ANNA, x=215), frames=2)
    door.show(replace(ANNA, width=70), frames=3)
    door.show(replace(ANNA, turned_px=60), frames=4)
    door.show(ANNA, frames=5)
    counters = door.pipeline.counters
    assert dict(counters.refused) == {"outside_zone": 2, "too_small": 3, "turned_away": 4}
    assert (counters.presented, counters.faces, counters.frames) == (5, 14, 14)


def test_a_delegate_that_fails_is_not_taken_for_an_empty_picture() -> None:
    door = Door([1])
    door.embedder._fail_after = 1
    with pytest.raises(HardwareError, match="inference failed"):
        door.show(ANNA, frames=5)


def test_a_poor_sample_is_cut_out_but_not_embedded() -> None:
    door = Door([1], rule=replace(RULE, min_quality=0.2))
    door.show(ANNA, frames=10)
    assert door.embedder.invocations == 0


def test_the_pipeline_fits_on_one_page() -> None:
    source = Path(device.pipeline.__file__).read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 80
