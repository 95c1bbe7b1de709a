# SPDX-License-Identifier: Apache-2.0
"""The control desk: what each request does and answers, and that an enrolment leaves a whole subject or nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, TypeVar

import msgspec
import numpy as np
import pytest

from device.adapters.camera_scripted import ScriptedCamera
from device.adapters.clock import ManualClock
from device.adapters.gallery_memory import MemoryGallery
from device.adapters.outbox_memory import MemoryOutbox
from device.adapters.state_file import MemoryStateBoard
from device.capture import Capture
from device.control import (
    Done,
    Enrolled,
    EnrolRequest,
    Failed,
    PauseRequest,
    Peer,
    Progress,
    Renamed,
    RenameRequest,
    Renewed,
    RenewRequest,
    ResumeRequest,
    ServiceStatus,
    StatusRequest,
    SubjectList,
    SubjectsRequest,
    Switched,
    Withdrawn,
    WithdrawRequest,
)
from device.control_desk import ControlDesk
from device.enrolment_desk import months_later
from device.errors import StorageError
from device.options import CameraOptions, Config, EnrolmentOptions
from device.payloads import CameraInfo, ModelHashes
from device.recogniser import Recogniser
from device.recognition.events import EventMaker
from device.recognition.gallery import MAX_SUBJECTS
from device.records import Consent, Frame, Subject
from device.supervisor import LatestSlot
from device.troubles import Troubles
from tests.door import DIMENSION, Door, Painted, embedding_of
from tests.people import NS, at

if TYPE_CHECKING:
    from device.control import Reply, Request
    from device.enrolment_desk import Answer

R = TypeVar("R")

ANNA, BOB = Painted(1), Painted(3)
ALICE = Peer(pid=7, uid=1000, gid=1000, user="alice")
POLICY = "I agree.\n"
OPTIONS = EnrolmentOptions(references=3, min_quality=0.0, timeout_s=20.0, purpose="the lab's door")


class Impatient(LatestSlot[Frame]):
    """A slot that does not wait for a frame: time is the tests' own."""

    def take(self, timeout_s: float) -> Frame | None:
        return super().take(0.0)


class HalfErased(MemoryGallery):
    """Erases, and then says that the medium may still hold older copies, as SqliteGallery does on a full disk."""

    def withdraw(self, label_or_ref: str) -> Subject:
        """Forgets the subject and complains."""
        super().withdraw(label_or_ref)
        raise StorageError("gallery: erased, but older copies may remain", hint="free some space")


class Desk:
    """A desk with everything around it in memory: painted people, a scripted camera, a clock moved by hand."""

    def __init__(self, *, gallery: MemoryGallery | None = None, clock: ManualClock | None = None) -> None:
        self.clock = clock or ManualClock()
        self.config = Config(camera=CameraOptions(source="files"), enrolment=OPTIONS)
        self.door = Door([])
        self.gallery = gallery or MemoryGallery(DIMENSION)
        self.outbox = MemoryOutbox()
        self.troubles = Troubles(self.clock)
        self.slot = Impatient()
        self.recogniser = Recogniser(
            slot=self.slot,
            pipeline=self.door.pipeline,
            maker=self.maker(),
            gallery=self.gallery,
            outbox=self.outbox,
            board=MemoryStateBoard(),
            clock=self.clock,
            troubles=self.troubles,
            camera=CameraInfo("cam0", "files", True),
            models=[],
        )
        black = np.zeros((256, 320, 3), np.uint8)
        self.camera = ScriptedCamera([black], self.clock, lores_px=(320, 256), loop=True)
        self.capture = Capture(
            self.camera, LatestSlot(), self.troubles, stall_after_s=1.0, wait=lambda _: None
        )
        self.desk = ControlDesk(
            self.recogniser, lambda: self.capture, lambda: self.config, self.clock, self.troubles
        )
        self.recogniser.after_frame = self.desk.watch

    def maker(self) -> EventMaker:
        return EventMaker(
            device="lobby-01",
            camera="cam0",
            boot_id=self.clock.boot_id,
            random_bits=lambda bits: 2**bits - 1,
            publish_labels=True,
            live_max_age_s=30,
            models=ModelHashes("sha256:1f", "sha256:a2"),
        )

    def show(self, *people: Painted, frames: int = 1) -> None:
        """So many frames with these people, half a second apart, each through one step."""
        self.door.people = list(people)
        for _ in range(frames):
            self.clock.advance(0.5)
            main = self.door.picture()
            self.slot.put(Frame(1, self.clock.now(), main, main, main[::4, ::4, 0].copy()))
            self.recogniser.step()

    def wait(self, seconds: float) -> None:
        """Time passes, and one step finds no frame."""
        self.clock.advance(seconds)
        self.recogniser.step()

    def enrol(self, label: str = "anna", recorded_by: str | None = None) -> Answer:
        """Asks for an enrolment; it begins with the next step."""
        return self.desk.handle(
            EnrolRequest(label, POLICY, acknowledged=True, recorded_by=recorded_by), ALICE
        )

    def ask(self, request: Request, kind: type[R]) -> R:
        """Asks, and does one step; the one reply must be a `kind`, or a Done with one."""
        answer = self.desk.handle(request, ALICE)
        self.recogniser.step()
        (reply,) = answer.poll()
        found = reply.result if isinstance(reply, Done) else reply
        assert isinstance(found, kind), found
        return found

    def stored(self) -> list[str]:
        return [subject.label for subject in self.gallery.subjects()]

    def events(self) -> list[tuple[str, str]]:
        return [(event.phase, str(event.person.label)) for event in self.outbox.peek(100)]


def last(answer: Answer) -> Reply:
    """The last reply so far."""
    return list(answer.poll())[-1]


def consent(expires_s: float = 86_400.0 * 365) -> Consent:
    start = at(0).utc_ns
    return Consent("", "door", "ab" * 32, start - NS, start + round(expires_s * NS), "alice")


def with_anna(gallery: MemoryGallery | None = None) -> Desk:
    """A desk where Anna is enrolled already."""
    gallery = gallery or MemoryGallery(DIMENSION)
    gallery.enrol("anna", consent(), embedding_of(1)[np.newaxis])
    return Desk(gallery=gallery)


def test_an_enrolment_stores_a_subject_with_the_consent_that_was_given() -> None:
    desk = Desk()
    answer = desk.enrol(" anna ", recorded_by="Dr Bell")
    desk.show(ANNA, frames=3)
    reply = last(answer)
    assert isinstance(reply, Done)
    assert isinstance(reply.result, Enrolled)
    assert reply.result.subject.label == "anna"
    (subject,) = desk.gallery.subjects()
    assert (subject.label, subject.references, subject.consent.purpose) == ("anna", 3, "the lab's door")
    assert subject.consent.policy_sha256 == sha256(POLICY.encode()).hexdigest()
    assert subject.consent.recorded_by == "Dr Bell (user alice)"
    assert subject.consent.given_at_ns == desk.clock.now().utc_ns
    assert subject.consent.expires_at_ns == months_later(subject.consent.given_at_ns, 12)


def test_who_was_enrolled_is_matched_from_then_on() -> None:
    desk = Desk()
    desk.enrol()
    desk.show(ANNA, frames=3)
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
        (1, "good: turn your head a little", 18.3),
    ]


def test_an_enrolment_that_takes_too_long_leaves_nothing() -> None:
    desk = Desk()
    answer = desk.enrol()
    desk.show(ANNA, frames=2)
    desk.wait(30.0)
    reply = last(answer)
    assert isinstance(reply, Failed)
    assert reply.message == "nobody was enrolled: gave up with 2 of 3 good samples"
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
    assert "anna" not in f"{reply}"
    assert desk.stored() == ["anna"]


def test_a_client_that_goes_away_leaves_nothing_even_at_the_last_sample() -> None:
    desk = Desk()
    answer = desk.enrol()
    desk.show(ANNA, frames=2)
    answer.cancel()
    desk.show(ANNA, frames=2)
    assert desk.stored() == []
    assert desk.door.pipeline.enrolment is None
    assert desk.ask(StatusRequest(), ServiceStatus).state == "running"


def test_a_client_that_goes_away_before_it_is_served_begins_nothing() -> None:
    desk = Desk()
    desk.enrol().cancel()
    desk.show(ANNA, frames=4)
    assert desk.stored() == []


def test_a_pause_ends_an_enrolment() -> None:
    desk = Desk()
    answer = desk.enrol()
    desk.show(ANNA, frames=2)
    desk.ask(PauseRequest(), Switched)
    desk.ask(ResumeRequest(), Switched)
    desk.show(ANNA, frames=4)
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
    desk.show(ANNA, frames=4)
    reply = last(answer)
    assert isinstance(reply, Failed)
    assert "the configuration was read again" in reply.message
    assert new.pipeline.enrolment is None
    assert desk.stored() == []


def test_a_store_that_fails_says_why_in_its_own_words_and_leaves_nothing() -> None:
    desk = Desk(gallery=MemoryGallery(DIMENSION, fail_after=0))
    answer = desk.enrol()
    desk.show(ANNA, frames=3)
    assert last(answer) == Failed("gallery: no space left", "free some space", 1)
    assert desk.stored() == []
    assert desk.ask(StatusRequest(), ServiceStatus).state == "running"
    assert len(desk.door.pipeline.sightings.gallery) == 0


def test_a_label_that_was_taken_during_the_capture_is_refused_with_exit_code_2() -> None:
    desk = Desk()
    answer = desk.enrol()
    desk.show(ANNA, frames=2)
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
    desk.show(ANNA, frames=2)
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
    desk.show(ANNA, frames=3)
    desk.show(frames=4)
    bob = desk.enrol("bob")
    desk.show(BOB, frames=3)
    assert isinstance(last(bob), Done)
    assert desk.stored() == ["anna", "bob"]


def test_a_pause_ends_the_visits_and_closes_the_camera_until_it_is_resumed() -> None:
    desk = with_anna()
    desk.capture.step()
    desk.show(ANNA, frames=3)
    assert desk.ask(PauseRequest(), Switched) == Switched("paused", changed=True)
    assert desk.events() == [("start", "anna"), ("end", "anna")]
    desk.capture.step()
    with pytest.raises(RuntimeError, match="capture before open"):
        desk.camera.capture(1.0)
    desk.show(ANNA, frames=4)  # frames that were on their way
    assert desk.events() == [("start", "anna"), ("end", "anna")]
    assert desk.ask(PauseRequest(), Switched) == Switched("paused", changed=False)
    assert desk.ask(StatusRequest(), ServiceStatus).state == "paused"

    assert desk.ask(ResumeRequest(), Switched) == Switched("running", changed=True)
    assert desk.ask(ResumeRequest(), Switched) == Switched("running", changed=False)
    desk.capture.step()
    assert desk.camera.capture(1.0) is not None
    desk.show(ANNA, frames=4)
    assert desk.events()[2:] == [("start", "anna")]


def test_subjects_are_listed_by_label() -> None:
    gallery = MemoryGallery(DIMENSION)
    gallery.enrol("zoe", consent(), embedding_of(2)[np.newaxis])
    desk = with_anna(gallery)
    listed = desk.ask(SubjectsRequest(), SubjectList).subjects
    assert [(one.label, one.days_left) for one in listed] == [("anna", 365), ("zoe", 365)]


def test_a_withdrawn_subject_is_erased_and_their_visit_ends_without_their_label() -> None:
    desk = with_anna()
    desk.show(ANNA, frames=3)
    withdrawn = desk.ask(WithdrawRequest("anna"), Withdrawn)
    assert (withdrawn.subject.label, withdrawn.subject.references) == ("anna", 1)
    assert desk.stored() == []
    desk.show(ANNA, frames=8)
    assert desk.events() == [("start", "UNSET"), ("end", "UNSET")]


def test_a_withdrawal_comes_with_a_receipt_that_names_no_label() -> None:
    desk = with_anna()
    receipt = desk.ask(WithdrawRequest("anna"), Withdrawn).receipt
    assert (receipt.consent, receipt.references, receipt.clock) == ("c_1", 1, "synced")
    assert (receipt.ledger_entry, receipt.ledger_sha256) == (None, None), "this gallery has no ledger"
    assert "anna" not in repr(receipt)


def test_a_renewed_consent_holds_from_the_next_frame_on() -> None:
    gallery = MemoryGallery(DIMENSION)
    gallery.enrol("anna", consent(expires_s=2.0), embedding_of(1)[np.newaxis])
    desk = Desk(gallery=gallery)
    renewed = desk.ask(RenewRequest("anna", POLICY, acknowledged=True), Renewed).subject
    assert (renewed.consent, renewed.recorded_by) == ("c_2", "alice")
    assert renewed.policy_sha256 == sha256(POLICY.encode()).hexdigest()
    desk.show(ANNA, frames=8)
    assert desk.events() == [("start", "anna")], "the old consent would have ended after four frames"


def test_another_label_is_used_at_once_and_waiting_events_lose_the_old_one() -> None:
    desk = with_anna()
    desk.show(ANNA, frames=3)
    renamed = desk.ask(RenameRequest("anna", "beth"), Renamed).subject
    assert renamed.label == "beth"
    assert desk.events() == [("start", "UNSET")]
    desk.show(frames=14)
    assert desk.events() == [("start", "UNSET"), ("end", "beth")]
    desk.show(ANNA, frames=3)
    assert desk.events()[-1] == ("start", "beth")


@pytest.mark.parametrize(
    "request_", [RenewRequest("bob", POLICY, acknowledged=True), RenameRequest("bob", "rob")]
)
def test_changing_nobody_is_a_user_error(request_: Request) -> None:
    refused = with_anna().ask(request_, Failed)
    assert (refused.message, refused.exit_code) == ("nobody is enrolled as 'bob'", 2)


def test_withdrawing_nobody_is_a_user_error() -> None:
    refused = with_anna().ask(WithdrawRequest("bob"), Failed)
    assert (refused.message, refused.exit_code) == ("nobody is enrolled as 'bob'", 2)


def test_a_disk_that_refuses_a_withdrawal_is_told_and_the_subject_stays() -> None:
    desk = with_anna(MemoryGallery(DIMENSION, fail_after=1))
    assert desk.ask(WithdrawRequest("anna"), Failed).message == "gallery: no space left"
    assert desk.stored() == ["anna"]


def test_who_was_erased_is_not_matched_even_where_the_erasing_is_not_certain_yet() -> None:
    desk = with_anna(HalfErased(DIMENSION))
    refused = desk.ask(WithdrawRequest("anna"), Failed)
    assert "older copies may remain" in refused.message
    desk.show(ANNA, frames=8)
    assert desk.events() == []
    assert desk.ask(StatusRequest(), ServiceStatus).subjects == 0


def test_the_status_counts_what_was_seen_and_names_what_is_wrong() -> None:
    desk = with_anna()
    desk.troubles.raise_("disk_low", "the disk is nearly full")
    desk.show(ANNA, frames=4)
    status = desk.ask(StatusRequest(), ServiceStatus)
    assert (status.state, status.camera, status.source, status.simulated) == (
        "running",
        "cam0",
        "files",
        True,
    )
    assert (status.frames, status.faces_seen, status.embedded) == (4, 4, 3)
    assert (status.subjects, status.present, status.strangers) == (1, 1, 0)
    assert status.fps == 2.0, "four frames in two seconds"
    assert status.uptime_s == 2.0
    assert [trouble.code for trouble in status.troubles] == ["disk_low"]


def test_a_stranger_is_a_count_in_the_status() -> None:
    desk = with_anna()
    desk.show(BOB, frames=6)
    status = desk.ask(StatusRequest(), ServiceStatus)
    assert (status.strangers, status.present) == (1, 0)


def test_the_consent_is_that_of_the_options_in_force_when_it_is_given() -> None:
    desk = Desk()
    desk.config = msgspec.structs.replace(
        desk.config, enrolment=msgspec.structs.replace(OPTIONS, consent_months=36, purpose="the workshop")
    )
    desk.enrol()
    desk.show(ANNA, frames=3)
    (subject,) = desk.gallery.subjects()
    assert subject.consent.purpose == "the workshop"
    assert utc(subject.consent.expires_at_ns).date().isoformat() == "2029-11-23"


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
