# SPDX-License-Identifier: Apache-2.0
"""Commands: what is carried out, what is refused and why, and that every one is answered once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from device.adapters.clock import ManualClock
from device.adapters.lamp_sysfs import FakeLamp, SysfsLamp
from device.adapters.state_file import MemoryStateBoard
from device.adapters.wish_file import MemoryWishes
from device.announcements import Names
from device.mqtt_messages import Received
from device.orders import MAX_WAITING, Orders
from device.payloads import CommandResult, ServiceState, VisionInfo, Wish

if TYPE_CHECKING:
    from pathlib import Path

ROOT = "porter/v1/lobby-01/cmd"


class Desk:
    """Orders with fakes around them; what was called is counted."""

    def __init__(self, *, lamp: FakeLamp | None = None, wishes: MemoryWishes | None = None) -> None:
        self.clock = ManualClock(boot_id="0000b7c1")
        self.board = MemoryStateBoard()
        self.wishes = wishes or MemoryWishes()
        self.lamp = lamp or FakeLamp()
        self.calls: list[str] = []
        self.orders = Orders(
            Names("porter", "lobby-01", ("cam0",), "0.1.0", "0000b7c1"),
            board=self.board,
            wishes=self.wishes,
            lamp=self.lamp,
            republish=lambda: self.calls.append("republish"),
            restart=lambda: self.calls.append("restart"),
        )

    def hear(self, verb: str, payload: bytes = b"", **extra: Any) -> None:
        self.orders.received(Received(f"{ROOT}/{verb}", payload, **extra), self.clock.now())

    def grant(self, *, paused: bool) -> None:
        """The vision service does what it was asked."""
        wish = self.wishes.read()
        assert wish is not None
        info = VisionInfo(cameras=[], models=[], subjects=0)
        self.board.show(
            ServiceState(
                boot_ns=1,
                stopping=False,
                info=info,
                presence=[],
                troubles=[],
                paused=paused,
                wish=wish.number,
            )
        )

    def results(self) -> list[CommandResult]:
        due = self.orders.due(100, self.clock.now())
        for message in due:
            assert (message.qos, message.retain, message.content_type) == (1, False, "application/json")
        return [msgspec.json.decode(message.payload, type=CommandResult) for message in due]


def test_pause_is_answered_when_the_vision_service_has_paused_and_not_before() -> None:
    desk = Desk()
    desk.hear("pause", b'{"corr": "c1"}')
    assert desk.results() == []
    assert desk.wishes.read() == Wish(number=1, verb="pause")
    desk.grant(paused=True)
    (result,) = desk.results()
    assert (result.verb, result.corr, result.ok, result.error) == ("pause", "c1", True, "")
    assert desk.results() == []


def test_one_topic_is_enough_for_a_switch() -> None:
    desk = Desk()
    desk.hear("pause", b'{"on": false}')
    assert desk.wishes.read() == Wish(number=1, verb="resume")


def test_wishes_are_numbered_on_after_what_is_there() -> None:
    desk = Desk()
    desk.wishes.show(Wish(number=41, verb="pause"))
    desk.hear("resume")
    assert desk.wishes.read() == Wish(number=42, verb="resume")


def test_a_vision_service_that_does_not_answer_is_reported() -> None:
    desk = Desk()
    desk.hear("pause")
    desk.clock.advance(5.1)
    assert [result.error for result in desk.results()] == ["no_answer"]


def test_a_full_disk_makes_a_wish_unavailable() -> None:
    desk = Desk(wishes=MemoryWishes(full=True))
    desk.hear("resume")
    assert [result.error for result in desk.results()] == ["unavailable"]


def test_restart_is_answered_first_and_then_done_once() -> None:
    desk = Desk()
    desk.hear("restart")
    assert [result.ok for result in desk.results()] == [True]
    assert desk.calls == []
    desk.clock.advance(1.1)
    assert desk.results() == []
    desk.clock.advance(1.1)
    desk.results()
    assert desk.calls == ["restart"]
    assert desk.wishes.read() == Wish(number=1, verb="restart")


def test_republish_and_identify_are_done_at_once() -> None:
    desk = Desk()
    desk.hear("republish")
    desk.hear("identify")
    assert [(result.verb, result.ok) for result in desk.results()] == [
        ("republish", True),
        ("identify", True),
    ]
    assert desk.calls == ["republish"]
    assert desk.lamp.on
    desk.clock.advance(10.1)
    desk.results()
    assert not desk.lamp.on


def test_identify_without_a_lamp_says_so() -> None:
    desk = Desk(lamp=FakeLamp(missing=True))
    desk.hear("identify")
    assert [result.error for result in desk.results()] == ["unavailable"]


@pytest.mark.parametrize(
    ("verb", "payload", "extra", "error"),
    [
        ("pause", b"{", {}, "malformed"),
        ("pause", b"[1]", {}, "malformed"),
        ("pause", b"\xff", {}, "malformed"),
        ("pause", b'{"threshold": 0.1}', {}, "malformed"),
        ("pause", b'{"on": "yes"}', {}, "malformed"),
        ("pause", b'{"valid_until": "soon"}', {}, "malformed"),
        ("pause", b'{"corr": "' + b"x" * 200 + b'"}', {}, "malformed"),
        ("pause", b"[" * 4000, {}, "malformed"),
        ("pause", b" " * 5000, {}, "too_large"),
        ("pause", b"", {"retained": True}, "retained"),
        ("pause", b"", {"expiry_s": 0}, "expired"),
        ("pause", b'{"valid_until": "2020-01-01T00:00:00Z"}', {}, "expired"),
        ("enrol", b"", {}, "unknown"),
        ("threshold", b'{"on": true}', {}, "unknown"),
    ],
)
def test_what_is_wrong_is_refused_by_name_and_changes_nothing(
    verb: str, payload: bytes, extra: dict[str, Any], error: str
) -> None:
    desk = Desk()
    desk.hear(verb, payload, **extra)
    (result,) = desk.results()
    assert (result.ok, result.error) == (False, error)
    assert result.text
    assert desk.wishes.read() is None
    assert desk.calls == []


def test_whether_a_command_is_late_cannot_be_told_by_an_unset_clock() -> None:
    desk = Desk()
    desk.clock.synced = False
    desk.hear("pause", b'{"valid_until": "2099-01-01T00:00:00Z"}')
    assert [result.error for result in desk.results()] == ["expired"]


def test_a_repeat_is_answered_again_and_not_done_again() -> None:
    desk = Desk()
    for _ in range(3):
        desk.hear("republish", correlation=b"k1")
    assert len(desk.results()) == 3
    assert desk.calls == ["republish"]
    desk.hear("pause", b'{"corr": "p"}')
    desk.hear("pause", b'{"corr": "p"}')
    desk.grant(paused=True)
    assert len(desk.results()) == 1
    assert desk.wishes.read() == Wish(number=1, verb="pause")


def test_one_mark_on_two_verbs_is_two_commands() -> None:
    desk = Desk()
    desk.hear("pause", b'{"corr": "1"}')
    desk.grant(paused=True)
    desk.results()
    desk.hear("resume", b'{"corr": "1"}')
    assert desk.wishes.read() == Wish(number=2, verb="resume")


def test_what_was_refused_may_be_done_when_it_is_asked_again() -> None:
    desk = Desk(lamp=FakeLamp(missing=True))
    desk.hear("identify", b'{"corr": "1"}', retained=True)
    desk.hear("identify", b'{"corr": "1"}')
    desk.lamp.missing = False
    desk.hear("identify", b'{"corr": "1"}')
    assert [result.error for result in desk.results()] == ["retained", "unavailable", ""]


def test_a_lamp_that_a_reload_left_blinking_is_put_out() -> None:
    desk = Desk()
    desk.hear("identify")
    again = Desk(lamp=desk.lamp)
    again.orders.connected(again.clock.now())
    assert not desk.lamp.on


def test_correlation_data_comes_back() -> None:
    desk = Desk()
    desk.hear("republish", correlation=b"\x00\xff")
    (message,) = desk.orders.due(1, desk.clock.now())
    assert message.correlation == b"\x00\xff"
    assert message.topic == f"{ROOT}/republish/result"


def test_a_flood_is_bounded_and_results_wait_for_room() -> None:
    desk = Desk()
    for number in range(10 * MAX_WAITING):
        desk.hear("republish", b'{"corr": "%d"}' % number)
    assert len(desk.calls) == MAX_WAITING
    assert len(desk.orders.due(1, desk.clock.now())) == 1
    assert len(desk.results()) == MAX_WAITING - 1


def test_other_topics_are_none_of_its_business() -> None:
    desk = Desk()
    desk.orders.received(Received("homeassistant/status", b"online"), desk.clock.now())
    assert desk.results() == []


def test_the_board_led_blinks_and_goes_back_to_what_it_did(tmp_path: Path) -> None:
    trigger = tmp_path / "led0" / "trigger"
    trigger.parent.mkdir()
    trigger.write_text("none [mmc0] timer heartbeat\n")
    lamp = SysfsLamp(tmp_path)
    assert lamp.switch(on=True)
    assert lamp.switch(on=True)
    assert trigger.read_text() == "timer"
    assert lamp.switch(on=False)
    assert trigger.read_text() == "mmc0"
    assert not lamp.switch(on=False)


def test_without_a_led_there_is_nothing_to_blink(tmp_path: Path) -> None:
    assert not SysfsLamp(tmp_path).switch(on=True)
