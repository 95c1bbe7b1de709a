# SPDX-License-Identifier: Apache-2.0
"""The control desk: what each request but an enrolment does and answers."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np
import pytest

from device.adapters.gallery_memory import MemoryGallery
from device.control import (
    Failed,
    PauseRequest,
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
from device.payloads import Wish
from tests.desk import ANNA, BOB, POLICY, Desk, HalfErased, consent, with_anna
from tests.door import DIMENSION, embedding_of

if TYPE_CHECKING:
    from device.control import Request


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


def test_a_receipt_does_not_vouch_for_a_clock_that_leapt() -> None:
    desk = with_anna()
    desk.show(frames=4)  # a clock was believed
    desk.wait(2.0)
    desk.clock.jump_utc(400 * 86_400.0)
    assert desk.ask(WithdrawRequest("anna"), Withdrawn).receipt.clock == "unsynced"


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
    "request_",
    [RenewRequest("bob", POLICY, acknowledged=True), RenameRequest("bob", "rob"), WithdrawRequest("bob")],
)
def test_changing_nobody_is_a_user_error_and_disturbs_nobody(request_: Request) -> None:
    desk = with_anna()
    desk.show(ANNA, frames=2)
    before = desk.recogniser.pipeline.sightings.gallery
    refused = desk.ask(request_, Failed)
    assert (refused.message, refused.exit_code) == ("nobody is enrolled as 'bob'", 2)
    assert desk.recogniser.pipeline.sightings.gallery is before, "decisions that run would begin anew"


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


def test_a_wish_of_the_broker_pauses_and_resumes_once_and_the_board_says_so() -> None:
    desk = with_anna()
    desk.show(ANNA, frames=3)
    desk.wishes.show(Wish(number=3, verb="pause"))
    desk.show(ANNA, frames=2)
    state = desk.board.read()
    assert state is not None
    assert (state.paused, state.wish) == (True, 3)
    assert desk.events() == [("start", "anna"), ("end", "anna")]
    desk.ask(
        ResumeRequest(), Switched
    )  # somebody at the device decides otherwise; the old wish stays granted
    desk.wait(1.0)
    assert desk.ask(StatusRequest(), ServiceStatus).state == "running"
    desk.wishes.show(Wish(number=4, verb="pause"))
    desk.wait(0.1)
    desk.wishes.show(Wish(number=5, verb="resume"))
    desk.wait(0.1)
    desk.wait(0.1)
    state = desk.board.read()
    assert state is not None
    assert (state.paused, state.wish) == (False, 5)


def test_a_wish_to_restart_ends_the_service_once() -> None:
    desk = Desk()
    desk.wishes.show(Wish(number=1, verb="restart"))
    desk.wait(0.1)
    desk.wait(0.1)
    assert desk.restarts == 1


def test_a_wish_from_before_the_service_began_is_not_granted() -> None:
    desk = Desk()
    desk.wishes.show(Wish(number=9, verb="restart"))
    again = Desk(wishes=desk.wishes)
    again.wait(0.1)
    again.wait(0.1)
    assert again.restarts == 0
