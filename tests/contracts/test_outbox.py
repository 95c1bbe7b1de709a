# SPDX-License-Identifier: Apache-2.0
"""What every outbox keeps: order, `seq` without gaps, nothing lost, nothing gone but by `acknowledge`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from device.adapters.outbox_memory import MemoryOutbox
from device.adapters.outbox_sqlite import SqliteOutbox
from device.payloads import Person
from tests.events import event_id, make_event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from device.ports import Outbox

    Opener = Callable[[], Outbox]


@pytest.fixture(params=["memory", "sqlite"])
def open_outbox(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Opens the same outbox again and again, as the two processes do."""
    opened: list[Outbox] = []
    memory = MemoryOutbox()

    def opener() -> Outbox:
        opened.append(
            SqliteOutbox(tmp_path / "outbox.sqlite") if request.param == "sqlite" else memory.view()
        )
        return opened[-1]

    yield opener
    for outbox in opened:
        outbox.close()


def ids(outbox: Outbox, limit: int = 100) -> list[str]:
    return [event.id for event in outbox.peek(limit)]


def test_a_fresh_outbox_is_empty(open_outbox: Opener) -> None:
    outbox = open_outbox()
    assert outbox.depth() == 0
    assert list(outbox.peek(10)) == []


def test_seq_counts_from_one_without_gaps(open_outbox: Opener) -> None:
    outbox = open_outbox()
    first = outbox.append([make_event(1), make_event(2)])
    second = outbox.append([make_event(3)])
    assert [event.seq for event in (*first, *second)] == [1, 2, 3]
    assert list(outbox.peek(10)) == [*first, *second]


def test_seq_goes_on_when_the_outbox_was_emptied(open_outbox: Opener) -> None:
    outbox = open_outbox()
    outbox.append([make_event(1), make_event(2)])
    outbox.acknowledge([event_id(1), event_id(2)])
    outbox.close()
    again = open_outbox()
    assert [event.seq for event in again.append([make_event(3)])] == [3]


def test_seq_begins_again_at_a_new_boot(open_outbox: Opener) -> None:
    outbox = open_outbox()
    outbox.append([make_event(1, boot="aaaaaaaa"), make_event(2, boot="aaaaaaaa")])
    assert [event.seq for event in outbox.append([make_event(3, boot="bbbbbbbb")])] == [1]


def test_events_come_back_in_commit_order_over_boots(open_outbox: Opener) -> None:
    outbox = open_outbox()
    outbox.append([make_event(1, boot="ffffffff"), make_event(2, boot="ffffffff")])
    outbox.append([make_event(3, boot="00000000")])
    assert ids(outbox) == [event_id(1), event_id(2), event_id(3)]


def test_peek_reads_on_after_an_event(open_outbox: Opener) -> None:
    outbox = open_outbox()
    outbox.append(
        [make_event(1, boot="ffffffff"), make_event(2, boot="ffffffff"), make_event(3, boot="00000000")]
    )
    after_second = outbox.peek(10, after=("ffffffff", 2))
    assert [event.id for event in after_second] == [event_id(3)]


def test_peek_reads_on_after_an_event_that_is_gone(open_outbox: Opener) -> None:
    outbox = open_outbox()
    outbox.append([make_event(number) for number in (1, 2, 3)])
    outbox.acknowledge([event_id(2)])
    assert [event.seq for event in outbox.peek(10, after=(make_event().boot, 2))] == [3]


def test_peek_after_a_boot_that_was_delivered_whole_begins_at_the_oldest(open_outbox: Opener) -> None:
    outbox = open_outbox()
    outbox.append([make_event(1, boot="aaaaaaaa")])
    outbox.acknowledge([event_id(1)])
    outbox.append([make_event(2, boot="bbbbbbbb")])
    assert [event.id for event in outbox.peek(10, after=("aaaaaaaa", 1))] == [event_id(2)]


def test_peek_keeps_to_its_limit_and_takes_nothing_away(open_outbox: Opener) -> None:
    outbox = open_outbox()
    outbox.append([make_event(number) for number in range(5)])
    assert ids(outbox, 2) == [event_id(0), event_id(1)]
    assert outbox.depth() == 5


def test_acknowledge_removes_only_what_was_named(open_outbox: Opener) -> None:
    outbox = open_outbox()
    outbox.append([make_event(1), make_event(2), make_event(3)])
    outbox.acknowledge([event_id(2), event_id(99)])
    outbox.acknowledge([event_id(2)])
    assert ids(outbox) == [event_id(1), event_id(3)]


def test_what_one_commits_the_other_sees(open_outbox: Opener) -> None:
    writer, reader = open_outbox(), open_outbox()
    reader.changed()
    assert not reader.changed()
    writer.append([make_event(1)])
    assert reader.changed()
    assert not reader.changed()
    assert ids(reader) == [event_id(1)]
    reader.acknowledge([event_id(1)])
    assert not reader.changed()
    assert writer.depth() == 0


def test_the_first_question_for_changes_says_yes(open_outbox: Opener) -> None:
    assert open_outbox().changed()


def test_append_of_nothing_commits_nothing(open_outbox: Opener) -> None:
    assert list(open_outbox().append([])) == []


def test_a_label_that_is_forgotten_is_in_no_waiting_event_any_more(open_outbox: Opener) -> None:
    outbox, other = open_outbox(), open_outbox()
    named = Person("p_aaaa", "anna")
    events = [make_event(1, person=named), make_event(2, person=Person("p_bbbb", "bert"))]
    outbox.append([*events, make_event(3, person=named), make_event(4, person=Person("p_aaaa"))])
    assert outbox.forget_label("p_aaaa") == 2
    assert [event.person for event in other.peek(9)] == [
        Person("p_aaaa"),
        Person("p_bbbb", "bert"),
        Person("p_aaaa"),
        Person("p_aaaa"),
    ]
    assert ids(other) == [event_id(number) for number in (1, 2, 3, 4)]
    assert outbox.forget_label("p_aaaa") == 0


def test_forgetting_the_label_of_nobody_changes_nothing(open_outbox: Opener) -> None:
    outbox = open_outbox()
    assert outbox.forget_label("p_cccc") == 0
    outbox.append([make_event(1, person=Person("p_aaaa", "anna"))])
    assert outbox.forget_label("p_cccc") == 0
    assert outbox.peek(1)[0].person.label == "anna"


def test_what_is_given_up_is_gone_and_counted_for_good(open_outbox: Opener) -> None:
    outbox = open_outbox()
    outbox.append([make_event(number) for number in (1, 2, 3)])
    outbox.drop([event_id(1), event_id(3), event_id(99)])
    outbox.drop([event_id(1)])
    assert ids(outbox) == [event_id(2)]
    assert (outbox.depth(), outbox.dropped()) == (1, 2)
    assert open_outbox().dropped() == 2
    (event,) = outbox.append([make_event(4)])
    assert event.seq == 4, "the gap shows what was given up"
