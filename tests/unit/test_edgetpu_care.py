# SPDX-License-Identifier: Apache-2.0
"""The ladder of remedies for a failing Edge TPU, in steps of time that nobody waits for."""

from __future__ import annotations

from device.edgetpu_care import NS, STEADY_NS, Care, Do

MINUTE = 60 * NS


def in_use(now_ns: int = 0, **given: bool) -> Care:
    care = Care(now_ns, **given)
    care.probed(now_ns, works=True)
    care.opened(now_ns, works=True)
    assert care.look(now_ns) is Do.USE
    return care


def failed_try(care: Care, now_ns: int) -> list[Do]:
    """One try in which nothing helps; what was done."""
    done = []
    while care.look(now_ns) not in (Do.REST, Do.USE):
        done.append(care.next)
        if care.next is Do.PROBE:
            care.probed(now_ns, works=False)
        elif care.next is Do.RESET:
            care.was_reset()
        else:
            care.opened(now_ns, works=False)
    return done


def pause_ns(care: Care, now_ns: int) -> int:
    """How long it rests from now on, to the second."""
    at = now_ns
    while care.look(at) is Do.REST:
        at += NS
    return at - now_ns


def test_it_begins_with_a_child_process_and_not_in_this_one() -> None:
    care = Care(0)
    assert care.look(0) is Do.PROBE
    care.probed(0, works=True)
    assert care.look(0) is Do.OPEN
    care.opened(0, works=True)
    assert care.look(0) is Do.USE


def test_a_failure_is_tried_again_then_gets_a_new_delegate_then_is_left() -> None:
    care = in_use()
    assert [care.failed(NS), care.failed(NS), care.failed(NS)] == [Do.RETRY, Do.RELOAD, Do.LEAVE]
    assert care.look(NS) is not Do.USE


def test_what_trying_again_did_not_mend_for_a_minute_gets_the_next_remedy() -> None:
    care = in_use()
    assert care.failed(0) is Do.RETRY
    assert care.failed(30 * NS) is Do.RELOAD
    assert care.failed(80 * NS) is Do.LEAVE


def test_failures_more_than_a_minute_apart_each_begin_at_the_bottom() -> None:
    care = in_use()
    assert {care.failed(n * MINUTE) for n in range(1, 20)} == {Do.RETRY}


def left(care: Care, now_ns: int) -> None:
    while care.failed(now_ns) is not Do.LEAVE:
        pass


def test_after_the_first_loss_the_port_is_reset_at_once_and_then_a_child_asked() -> None:
    care = in_use()
    left(care, MINUTE)
    assert care.look(MINUTE) is Do.RESET
    care.was_reset()
    assert care.look(MINUTE) is Do.PROBE
    care.probed(MINUTE, works=True)
    assert care.look(MINUTE) is Do.OPEN


def test_each_later_try_asks_first_resets_once_asks_again_and_rests_twice_as_long() -> None:
    care = in_use()
    left(care, 0)
    assert failed_try(care, 0) == [Do.RESET, Do.PROBE]
    now, pauses = 0, []
    for _ in range(8):
        pause = pause_ns(care, now)
        pauses.append(pause // NS)
        now += pause
        assert failed_try(care, now) == [Do.PROBE, Do.RESET, Do.PROBE]
    assert pauses == [60, 120, 240, 480, 960, 1800, 1800, 1800]


def test_one_that_fails_soon_after_its_return_is_not_taken_back_at_once() -> None:
    care = in_use()
    left(care, 0)
    care.was_reset()
    care.probed(0, works=True)
    care.opened(0, works=True)
    left(care, MINUTE)
    assert pause_ns(care, MINUTE) == MINUTE


def test_one_that_worked_for_half_an_hour_is_tried_again_at_once() -> None:
    care = in_use()
    for _ in range(3):
        left(care, 0)
        care.look(10 * STEADY_NS)
        care.probed(0, works=True)
        care.opened(0, works=True)
    left(care, STEADY_NS)
    assert care.look(STEADY_NS) is Do.RESET


def test_a_missing_library_is_not_blamed_on_the_port() -> None:
    care = Care(0)
    care.probed(0, works=False, curable=False)
    assert care.look(0) is Do.REST
    assert pause_ns(care, 0) == MINUTE


def test_without_a_helper_no_reset_is_asked_for() -> None:
    care = in_use(may_reset=False)
    left(care, 0)
    assert failed_try(care, 0) == [Do.PROBE]


def test_one_that_opens_no_more_after_a_good_probe_is_left_until_later() -> None:
    care = Care(0)
    care.probed(0, works=True)
    care.opened(0, works=False)
    assert pause_ns(care, 0) == MINUTE


def test_from_the_third_death_on_a_process_begins_without_it_and_waits_longer_each_time() -> None:
    assert [Care(0, deaths=n).look(0) for n in (0, 2)] == [Do.PROBE, Do.PROBE]
    assert [pause_ns(Care(0, deaths=n), 0) // NS for n in (3, 4, 5, 20)] == [60, 120, 240, 1800]
