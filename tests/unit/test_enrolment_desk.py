# SPDX-License-Identifier: Apache-2.0
"""The desk's enrolments: told as they go, and each leaves a whole subject or nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256

import msgspec
import numpy as np
import pytest

from device.adapters.clock import ManualClock
from device.adapters.gallery_memory import MemoryGallery
from device.control import (
    Done,
    Enrolled,
    EnrolRequest,
    Failed,
    PauseRequest,
    Progress,
    ResumeRequest,
    ServiceStatus,
    StatusRequest,
    Switched,
    Withdrawn,
    WithdrawRequest,
)
from device.enrolment_desk import months_later
from device.recognition.gallery import MAX_SUBJECTS
from tests.desk import ANNA, BOB, OPTIONS, POLICY, WHOLE, Desk, consent, last, with_anna
from tests.door import DIMENSION, Door, embedding_of
from tests.people import NS


def test_an_enrolment_stores_a_subject_with_the_consent_that_was_given() -> None:
    desk = Desk()
    answer = desk.enrol(" anna ", recorded_by="Dr Bell")
    desk.show(ANNA, frames=WHOLE)
    reply = last(answer)
    assert isinstance(reply, Done)
    assert isinstance(reply.result, Enrolled)
    assert reply.result.subject.label == "anna"
    summary = reply.result.summary
    assert (summary.references, summary.poses, summary.nearest) == (5, ("front",), None)
    (subject,) = desk.gallery.subjects()
    assert (subject.label, subject.references, subject.consent.purpose) == ("anna", 5, "the lab's door")
    assert subject.consent.policy_sha256 == sha256(POLICY.encode()).hexdigest()
    assert subject.consent.recorded_by == "Dr Bell (user alice)"
    assert subject.consent.given_at_ns == desk.clock.now().utc_ns
    assert subject.consent.expires_at_ns == months_later(subject.consent.given_at_ns, 12)


def test_who_was_enrolled_is_matched_from_then_on() -> None:
    desk = Desk()
    desk.enrol()
    desk.show(ANNA, frames=WHOLE)
    assert desk.events() == [], "nobody is recognised during an enrolment"
    desk.show(ANNA, frames=3)
    assert desk.events() == [("start", "anna")]


def test_progress_is_told_when_it_changes_and_every_second() -> None:
    desk = Desk()
    answer = desk.enrol()
    desk.wait(0.0)
    desk.wait(0.4)
    desk.wait(0.4)
    desk.wait(0.4)
    desk.show(ANNA)
    told = [(one.taken, one.hint, one.seconds_left) for one in answer.poll() if isinstance(one, Progress)]
    assert told == [
        (0, "step in front of the camera", 20.0),
        (0, "step in front of the camera", 18.8),
        (1, "good: a few more, move your head a little", 18.3),
    ]


def test_progress_says_which_poses_are_there() -> None:
    desk = Desk()
    desk.config = msgspec.structs.replace(
        desk.config, enrolment=msgspec.structs.replace(OPTIONS, pose_wait_s=5.0)
    )
    answer = desk.enrol()
    desk.show(ANNA)
    desk.show(replace(ANNA, turned_px=5))
    told = [one for one in answer.poll() if isinstance(one, Progress)]
    assert told[-1].poses == {
        "front": "given",
        "left": "given",
        "right": "asked",
        "up": "open",
        "down": "open",
    }
    assert told[-1].hint == "turn your head a little to your right"


def test_an_enrolment_that_takes_too_long_leaves_nothing() -> None:
    desk = Desk()
    answer = desk.enrol()
    desk.show(ANNA, frames=2)
    desk.wait(30.0)
    reply = last(answer)
    assert isinstance(reply, Failed)
    assert reply.message == "nobody was enrolled: gave up with 2 of 7 good samples"
    assert reply.exit_code == 1
    assert desk.stored() == []
    assert desk.ask(StatusRequest(), ServiceStatus).state == "running"


def test_somebody_who_is_enrolled_already_is_refused_without_a_name() -> None:
    desk = with_anna()
    answer = desk.enrol("somebody-else")
    desk.show(ANNA)
    reply = last(answer)
    assert isinstance(reply, Failed)
    assert "too close to a subject who is enrolled already" in reply.message
    assert "porter enrol --again" in reply.hint
    assert "anna" not in f"{reply}"
    assert desk.stored() == ["anna"]


def test_a_client_that_goes_away_leaves_nothing_even_at_the_last_sample() -> None:
    desk = Desk()
    answer = desk.enrol()
    desk.show(ANNA, frames=WHOLE - 1)
    answer.cancel()
    desk.show(ANNA, frames=WHOLE)
    assert desk.stored() == []
    assert desk.door.pipeline.enrolment is None
    assert desk.ask(StatusRequest(), ServiceStatus).state == "running"


@pytest.mark.parametrize("ends", ["cancelled", "complete"])
def test_what_an_enrolment_held_is_overwritten_when_it_ends(ends: str) -> None:
    desk = Desk()
    answer = desk.enrol()
    desk.show(ANNA, frames=WHOLE - 1)
    session = desk.door.pipeline.enrolment
    assert session is not None
    held = [sample.embedding for sample in session._samples]
    assert held
    assert all(embedding.any() for embedding in held)
    if ends == "cancelled":
        answer.cancel()
    desk.show(ANNA, frames=1)
    assert desk.door.pipeline.enrolment is None
    assert not any(embedding.any() for embedding in held)
    assert desk.stored() == (["anna"] if ends == "complete" else [])


def test_a_client_that_goes_away_before_it_is_served_begins_nothing() -> None:
    desk = Desk()
    desk.enrol().cancel()
    desk.show(ANNA, frames=WHOLE)
    assert desk.stored() == []


def test_a_pause_ends_an_enrolment() -> None:
    desk = Desk()
    answer = desk.enrol()
    desk.show(ANNA, frames=2)
    desk.ask(PauseRequest(), Switched)
    desk.ask(ResumeRequest(), Switched)
    desk.show(ANNA, frames=WHOLE)
    reply = last(answer)
    assert isinstance(reply, Failed)
    assert reply.message == "nobody was enrolled: the service was paused"
    assert desk.stored() == []


def test_a_reload_ends_an_enrolment() -> None:
    desk = Desk()
    answer = desk.enrol()
    desk.show(ANNA, frames=2)
    new = Door([])
    new.people = [ANNA]
    desk.recogniser.adopt(new.pipeline, desk.maker(), [])
    desk.show(ANNA, frames=WHOLE)
    reply = last(answer)
    assert isinstance(reply, Failed)
    assert "the configuration was read again" in reply.message
    assert new.pipeline.enrolment is None
    assert desk.stored() == []


def test_a_store_that_fails_says_why_in_its_own_words_and_leaves_nothing() -> None:
    desk = Desk(gallery=MemoryGallery(DIMENSION, fail_after=0))
    answer = desk.enrol()
    desk.show(ANNA, frames=WHOLE)
    assert last(answer) == Failed("gallery: no space left", "free some space", 1)
    assert desk.stored() == []
    assert desk.ask(StatusRequest(), ServiceStatus).state == "running"
    assert len(desk.door.pipeline.sightings.gallery) == 0


def test_a_label_that_was_taken_during_the_capture_is_refused_with_exit_code_2() -> None:
    desk = Desk()
    answer = desk.enrol()
    desk.show(ANNA, frames=WHOLE - 1)
    desk.gallery.enrol("anna", consent(), embedding_of(9)[np.newaxis])
    desk.show(ANNA)
    reply = last(answer)
    assert isinstance(reply, Failed)
    assert ("already taken" in reply.message, reply.exit_code) == (True, 2)


@pytest.mark.parametrize(
    "utc_ns",
    [0, 1_000_000_000 * NS, 1_767_225_599 * NS, -NS],
    ids=["1970", "2001", "the last second of 2025", "1969"],
)
def test_a_clock_that_is_wrong_for_certain_is_refused_before_the_capture(utc_ns: int) -> None:
    desk = Desk(clock=ManualClock(utc_ns=utc_ns, synced=False))
    refused = desk.ask(EnrolRequest("anna", POLICY, acknowledged=True), Failed)
    assert refused.message == "consent: given before 2026, so this device's clock is wrong"
    assert (refused.hint != "", refused.exit_code) == (True, 2)
    assert desk.door.pipeline.enrolment is None


@pytest.mark.parametrize("label", ["anna", " anna", "anna "])
def test_a_label_that_is_taken_is_refused_before_the_capture(label: str) -> None:
    desk = with_anna()
    refused = desk.ask(EnrolRequest(label, POLICY, acknowledged=True), Failed)
    assert refused.message == "label 'anna' is already taken"
    assert refused.exit_code == 2
    assert desk.door.pipeline.enrolment is None


@pytest.mark.parametrize("label", ["   ", "two\nlines", "p_12ab34cd", "x" * 65])
def test_a_label_that_is_none_is_refused_before_the_capture(label: str) -> None:
    desk = Desk()
    refused = desk.ask(EnrolRequest(label, POLICY, acknowledged=True), Failed)
    assert refused.message.startswith("label ")
    assert refused.exit_code == 2
    assert desk.door.pipeline.enrolment is None


def test_a_full_gallery_refuses_before_the_capture() -> None:
    gallery = MemoryGallery(DIMENSION)
    for number in range(MAX_SUBJECTS):
        gallery.enrol(f"label-{number}", consent(), embedding_of(1)[np.newaxis])
    desk = Desk(gallery=gallery)
    refused = desk.ask(EnrolRequest("one-more", POLICY, acknowledged=True), Failed)
    assert refused.message.startswith("the gallery holds 500 subjects")
    assert desk.door.pipeline.enrolment is None


def test_a_second_enrolment_at_once_is_refused_and_the_first_goes_on() -> None:
    desk = Desk()
    first = desk.enrol()
    desk.show(ANNA)
    refused = desk.ask(EnrolRequest("bob", POLICY, acknowledged=True), Failed)
    assert refused.message == "somebody is being enrolled already"
    desk.show(ANNA, frames=WHOLE - 1)
    assert isinstance(last(first), Done)
    assert desk.stored() == ["anna"]


def test_nobody_is_enrolled_while_paused() -> None:
    desk = Desk()
    desk.ask(PauseRequest(), Switched)
    refused = desk.ask(EnrolRequest("anna", POLICY, acknowledged=True), Failed)
    assert (refused.message, refused.hint) == ("the service is paused", "porter resume")


def test_after_one_enrolment_the_next_may_begin() -> None:
    desk = Desk()
    desk.enrol()
    desk.show(ANNA, frames=WHOLE)
    desk.show(frames=4)
    bob = desk.enrol("bob")
    desk.show(BOB, frames=WHOLE)
    assert isinstance(last(bob), Done)
    assert desk.stored() == ["anna", "bob"]


def test_the_consent_is_that_of_the_options_in_force_when_it_is_given() -> None:
    desk = Desk()
    desk.config = msgspec.structs.replace(
        desk.config, enrolment=msgspec.structs.replace(OPTIONS, consent_months=36, purpose="the workshop")
    )
    desk.enrol()
    desk.show(ANNA, frames=WHOLE)
    (subject,) = desk.gallery.subjects()
    assert subject.consent.purpose == "the workshop"
    assert utc(subject.consent.expires_at_ns).date().isoformat() == "2029-11-23"


@pytest.mark.parametrize("called", ["anna", " anna", "ref"])
def test_a_renewal_puts_new_references_and_a_new_consent_in_the_old_ones_place(called: str) -> None:
    desk = with_anna()
    (old,) = desk.gallery.subjects()
    answer = desk.renew(old.ref if called == "ref" else called)
    desk.show(ANNA, frames=WHOLE)
    reply = last(answer)
    assert isinstance(reply, Done)
    (new,) = desk.gallery.subjects()
    assert (new.ref, new.label, old.references, new.references) == (old.ref, "anna", 1, 5)
    assert new.consent.consent_id != old.consent.consent_id
    assert new.consent.given_at_ns == desk.clock.now().utc_ns
    desk.show(ANNA, frames=3)
    assert desk.events() == [("start", "anna")]


def test_a_renewal_by_somebody_else_is_refused_and_changes_nothing() -> None:
    desk = with_anna()
    before = desk.gallery.subjects()
    answer = desk.renew()
    desk.show(BOB, frames=WHOLE)
    reply = last(answer)
    assert isinstance(reply, Failed)
    assert reply.message.startswith("nothing was renewed: this is not the face that is enrolled there")
    assert "porter withdraw" in reply.hint
    assert desk.gallery.subjects() == before


@pytest.mark.parametrize("how", ["the client goes away", "a pause", "time", "a withdrawal", "a full disk"])
def test_a_renewal_that_is_not_finished_leaves_the_old_references(how: str) -> None:
    desk = with_anna(MemoryGallery(DIMENSION, fail_after=1) if how == "a full disk" else None)
    desk.gallery.enrol("zoe", consent(), embedding_of(9)[np.newaxis]) if how == "a withdrawal" else None
    desk.recogniser.refresh_gallery()
    answer = desk.renew()
    desk.show(ANNA, frames=WHOLE - 1)
    match how:
        case "the client goes away":
            answer.cancel()
        case "a pause":
            desk.ask(PauseRequest(), Switched)
            desk.ask(ResumeRequest(), Switched)
        case "time":
            desk.wait(60.0)
        case "a withdrawal":
            desk.ask(WithdrawRequest("zoe"), Withdrawn)
    desk.show(ANNA, frames=WHOLE)
    (anna,) = desk.gallery.subjects()
    assert (anna.label, anna.references) == ("anna", 1)
    assert isinstance(last(answer), Failed)


def test_who_is_not_enrolled_cannot_be_renewed() -> None:
    refused = with_anna().ask(EnrolRequest("bob", POLICY, acknowledged=True, again=True), Failed)
    assert (refused.message, refused.exit_code) == ("nobody is enrolled as 'bob'", 2)


@pytest.mark.parametrize(
    ("start", "months", "end"),
    [
        ("2026-11-23T04:20:00", 12, "2027-11-23T04:20:00"),
        ("2026-01-31T12:00:00", 1, "2026-02-28T12:00:00"),
        ("2028-01-31T12:00:00", 1, "2028-02-29T12:00:00"),
        ("2028-02-29T23:59:59", 12, "2029-02-28T23:59:59"),
        ("2028-02-29T00:00:00", 36, "2031-02-28T00:00:00"),
        ("2026-12-31T00:00:00", 2, "2027-02-28T00:00:00"),
        ("2026-12-15T00:00:00", 1, "2027-01-15T00:00:00"),
        ("2099-12-01T00:00:00", 3, "2100-03-01T00:00:00"),
        ("2100-01-31T00:00:00", 1, "2100-02-28T00:00:00"),
    ],
)
def test_months_are_those_of_the_calendar(start: str, months: int, end: str) -> None:
    start_ns = round(datetime.fromisoformat(start + "+00:00").timestamp()) * NS
    assert utc(months_later(start_ns + 123, months)).isoformat() == end + "+00:00"
    assert months_later(start_ns + 123, months) % NS == 123, "to the nanosecond"


def utc(utc_ns: int) -> datetime:
    return datetime.fromtimestamp(utc_ns // NS, UTC)
