# SPDX-License-Identifier: Apache-2.0
"""`porter vision` from start to stop, and what a kill in between may not cost."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.service.harness import ServiceDoor


def test_it_tells_its_manager_when_it_is_ready_alive_reloading_and_stopping(door: ServiceDoor) -> None:
    door.start()
    door.wait("WATCHDOG=1", lambda: "WATCHDOG=1" in door.heard())
    door.reload()
    assert door.stop() == 0
    told = [state for state in door.heard() if state != "WATCHDOG=1"]
    assert told[0] == "READY=1"
    assert told[1] == "RELOADING=1"
    assert told[2].startswith("MONOTONIC_USEC=")
    assert told[3:] == ["READY=1", "STOPPING=1"]


def test_a_visit_of_an_enrolled_person_is_one_start_and_one_end(empty_house: ServiceDoor) -> None:
    door, before = empty_house, empty_house.events()
    door.show("anna")
    door.wait("presence", door.present)
    door.show("nobody")
    door.wait("the end", lambda: len(door.events()) == len(before) + 2)
    door.wait("an empty presence", lambda: not door.present())
    start, end = door.events()[-2:]
    assert (start.phase, end.phase) == ("start", "end")
    assert end.visit == start.id == start.visit != end.id
    assert (start.seq, end.seq) == (len(before) + 1, len(before) + 2)
    assert start.person == end.person
    assert start.score >= start.threshold


def test_a_stranger_is_a_count_and_nothing_else(empty_house: ServiceDoor) -> None:
    door, before, strangers = empty_house, empty_house.events(), empty_house.status().strangers
    door.show("stranger")
    door.wait("the stranger to be counted", lambda: door.status().strangers > strangers)
    assert door.events() == before
    assert door.present() == []


def test_paused_it_looks_at_nothing_until_it_is_resumed(empty_house: ServiceDoor) -> None:
    door, before = empty_house, empty_house.phases()
    door.show("anna")
    door.wait("the start", lambda: door.phases() == [*before, "start"])
    assert door.porter("pause").returncode == 0
    assert door.phases() == [*before, "start", "end"]
    frames = door.status().frames
    assert door.porter("subjects").returncode == 0  # some frames' time
    assert (door.status().state, door.status().frames) == ("paused", frames)
    assert door.porter("resume").returncode == 0
    door.wait("anna to be matched again", lambda: door.phases() == [*before, "start", "end", "start"])
    assert door.status().frames > frames


def test_stopping_ends_the_visits_and_leaves_no_socket(door: ServiceDoor) -> None:
    door.start()
    door.show("anna")
    door.enrol("anna")
    door.wait("the start", lambda: door.phases() == ["start"])
    assert door.stop() == 0
    assert door.phases() == ["start", "end"]
    assert not door.socket.exists()
    state = door.state()
    assert state is not None
    assert state.stopping
    assert state.presence[0].present == []


def test_ctrl_c_is_an_ordinary_stop(door: ServiceDoor) -> None:
    door.start()
    door.signal(signal.SIGINT)
    assert door.process.wait(10) == 0
    assert "Traceback" not in door.log()


def test_after_a_kill_everything_committed_is_there_and_seq_goes_on(door: ServiceDoor) -> None:
    door.start()
    door.show("anna")
    door.enrol("anna")
    door.wait("the start", lambda: door.phases() == ["start"])
    before = list(door.events())
    door.kill()
    assert door.socket.exists(), "killed, it cannot tidy up"
    door.start()
    door.wait("anna to be matched again", lambda: len(door.phases()) == 2)
    assert door.stop() == 0
    after = list(door.events())
    assert after[:1] == before, "what was committed is as it was"
    assert [event.seq for event in after] == [1, 2, 3]
    assert [event.phase for event in after] == ["start", "start", "end"]
    assert len({event.id for event in after}) == 3


def test_a_kill_in_the_middle_of_an_enrolment_leaves_nobody(door: ServiceDoor) -> None:
    door.configure(enrolment={"references": 8})
    door.start()
    door.show("anna")
    command = door.enrolment("anna")
    door.wait("samples of anna", lambda: "2/12" in command.output())
    door.kill()
    assert command.ended() == 1
    assert "went away" in command.output()
    door.start()
    listed = door.porter("subjects", "--json")
    assert (listed.returncode, "anna" in listed.stdout) == (0, False)


def test_a_withdrawn_subject_is_not_matched_any_more(door: ServiceDoor) -> None:
    door.start()
    door.show("anna")
    door.enrol("anna")
    door.wait("the start", lambda: door.phases() == ["start"])
    assert door.porter("withdraw", "anna", "--yes").returncode == 0
    door.wait("the end of the visit", lambda: door.phases() == ["start", "end"])
    frames = door.status().frames
    door.wait("some more frames", lambda: door.status().frames > frames + 10)
    assert door.phases() == ["start", "end"]
    assert door.status().subjects == 0


def test_after_rotating_the_keys_everybody_is_known_as_before_also_after_a_kill(door: ServiceDoor) -> None:
    door.start()
    door.show("anna")
    door.enrol("anna")
    door.wait("the start", lambda: door.phases() == ["start"])
    key = (door.gallery.parent / "device.key").read_bytes()
    done = door.porter("rotate-key")
    assert (done.returncode, done.stderr) == (0, "")
    assert "and the device key are new" in done.stdout
    assert (door.gallery.parent / "device.key").read_bytes() != key
    door.kill()
    door.start()
    door.wait("anna to be matched", lambda: door.phases()[-1:] == ["start"] and door.present())
    assert "key_rotated" in door.porter("ledger", "export", "anna").stdout
