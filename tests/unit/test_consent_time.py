# SPDX-License-Identifier: Apache-2.0
"""Wrong clocks never lengthen a consent, and erase nobody before their time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from device.adapters.clock import ManualClock
from device.adapters.gallery_memory import MemoryGallery
from device.adapters.last_seen import LastSeen
from device.adapters.ledger_memory import MemoryLedger
from device.control import EnrolRequest, Failed, Renewed, RenewRequest
from device.recognition.consent import EARLIEST_NS
from device.recognition.consent_time import ConsentTime
from device.recognition.gallery import Gallery
from device.records import Consent, Stamp
from device.registrar import Registrar
from tests.desk import POLICY, Desk, last, with_anna
from tests.door import Painted
from tests.people import NS, UTC_S, YEAR_S, at

if TYPE_CHECKING:
    from pathlib import Path

HOUR_S = 3600
CONSENT = Consent("", "door", "ab" * 32, UTC_S * NS, (UTC_S + HOUR_S) * NS, "alice")
ROW = np.eye(8, dtype=np.float32)[:1]


def set_back(stamp: Stamp, seconds: float, *, synced: bool) -> Stamp:
    """The same moment by a clock that was set back."""
    return replace(stamp, utc_ns=stamp.utc_ns - round(seconds * NS), synced=synced)


@pytest.mark.parametrize("synced", [True, False])
def test_a_clock_set_back_a_year_does_not_lengthen_a_consent(synced: bool) -> None:
    time, store = ConsentTime(), MemoryGallery(8)
    store.enrol("anna", CONSENT, ROW)
    gallery = Gallery(store.load(at(0).utc_ns), basis=store.basis, time=time)
    time.seen(at(0))
    assert gallery.compare(ROW[0], set_back(at(HOUR_S - 1), YEAR_S, synced=synced))[0] == 1.0
    later = set_back(at(HOUR_S), YEAR_S, synced=synced)
    time.seen(later)
    assert gallery.compare(ROW[0], later)[0] == -1.0
    assert not gallery.holds(gallery.subjects[0], later)


def test_a_clock_that_nobody_set_a_year_ahead_ends_matching_and_makes_nothing_certain() -> None:
    time = ConsentTime()
    time.seen(at(0))
    ahead = at(YEAR_S, synced=False)
    ahead = replace(ahead, boot_ns=at(10).boot_ns)
    time.seen(ahead)
    assert time.latest_ns(ahead) == at(YEAR_S).utc_ns
    assert time.certain_ns(ahead) == at(10).utc_ns


def running() -> ConsentTime:
    """A device that has been on for a while, with the right time."""
    time = ConsentTime()
    time.seen(at(0))
    return time


def ahead(seconds: float, by_s: float, *, synced: bool = True) -> Stamp:
    """`seconds` after `at(0)`, by a clock that is `by_s` ahead."""
    return set_back(at(seconds), -by_s, synced=synced)


def test_a_synchronised_clock_that_leaps_a_year_ends_matching_and_makes_nothing_certain() -> None:
    time = running()
    for hour in range(1, 24):
        leapt = ahead(hour * HOUR_S, YEAR_S)
        time.seen(leapt)
        assert time.leaps(leapt)
        assert time.certain_ns(leapt) == at(hour * HOUR_S).utc_ns
        assert time.latest_ns(leapt) == at(hour * HOUR_S + YEAR_S).utc_ns


def test_a_leap_that_lasts_a_day_is_believed() -> None:
    time = running()
    for hour in range(1, 26):
        time.seen(ahead(hour * HOUR_S, YEAR_S))
    assert not time.leaps(ahead(25 * HOUR_S, YEAR_S))
    assert time.certain_ns(at(25 * HOUR_S)) == at(25 * HOUR_S + YEAR_S).utc_ns


@pytest.mark.parametrize(
    "between",
    [
        pytest.param(at(20 * HOUR_S), id="right again"),
        pytest.param(ahead(20 * HOUR_S, YEAR_S, synced=False), id="not synchronised"),
        pytest.param(ahead(20 * HOUR_S, 2 * YEAR_S), id="another leap"),
    ],
)
def test_the_day_begins_anew_when_the_clock_does_not_stay(between: Stamp) -> None:
    time = running()
    time.seen(ahead(HOUR_S, YEAR_S))
    time.seen(between)
    for hour in range(21, 44):
        time.seen(ahead(hour * HOUR_S, YEAR_S))
        assert time.leaps(ahead(hour * HOUR_S, YEAR_S))
    time.seen(ahead(46 * HOUR_S, YEAR_S))
    assert not time.leaps(ahead(46 * HOUR_S, YEAR_S))


@pytest.mark.parametrize(("days", "leaps"), [(2.9, False), (3.1, True)])
def test_while_it_runs_a_clock_may_be_set_ahead_by_three_days(days: float, leaps: bool) -> None:
    time = running()
    time.seen(ahead(HOUR_S, days * 24 * HOUR_S))
    assert time.leaps(ahead(HOUR_S, days * 24 * HOUR_S)) == leaps
    assert (time.certain_ns(at(HOUR_S)) > at(HOUR_S).utc_ns) != leaps


@pytest.mark.parametrize(("days", "leaps"), [(30, False), (32, True), (365, True)])
def test_a_device_that_was_off_for_a_month_is_believed_at_once_and_for_longer_after_a_day(
    days: int, leaps: bool
) -> None:
    time = ConsentTime(at(0).utc_ns, 5 * NS, known=True)
    back = Stamp(60 * NS, at(days * 86_400).utc_ns, True)
    time.seen(back)
    assert time.leaps(back) == leaps
    later = Stamp(back.boot_ns + 25 * HOUR_S * NS, back.utc_ns + 25 * HOUR_S * NS, True)
    time.seen(later)
    assert not time.leaps(later)
    assert time.certain_ns(later) == later.utc_ns


def test_1970_at_boot_is_no_leap_and_the_time_seen_last_goes_on() -> None:
    time = ConsentTime(at(0).utc_ns, 5 * NS, known=True)
    dead_battery = Stamp(15 * NS, 0, False)
    time.seen(dead_battery)
    assert time.latest_ns(dead_battery) == time.certain_ns(dead_battery) == at(10).utc_ns
    synchronised = Stamp(65 * NS, at(60).utc_ns, True)
    time.seen(synchronised)
    assert not time.leaps(synchronised)
    assert time.latest_ns(synchronised) == at(60).utc_ns


def test_a_device_that_knows_no_time_believes_the_first_synchronised_clock() -> None:
    registrar = Registrar(MemoryGallery(8), MemoryLedger(), ManualClock(), camera="cam0")
    time, now = registrar.consent_time, ManualClock().now()
    assert now.utc_ns > EARLIEST_NS + 31 * 86_400 * NS
    time.seen(now)
    assert time.certain_ns(now) == now.utc_ns


def test_an_entry_by_a_clock_that_leapt_makes_nothing_certain_after_a_reboot() -> None:
    ledger, clock = MemoryLedger(), ManualClock()
    registrar = Registrar(MemoryGallery(8), ledger, clock, camera="cam0")
    registrar.consent_time.seen(clock.now())
    clock.jump_utc(YEAR_S)
    registrar.enrol("anna", CONSENT, ROW)
    assert registrar.entries[-1].clock == "unsynced"
    rebooted = ManualClock(boot_id="b0070002", boot_ns=5 * NS, utc_ns=0, synced=False)
    registrar = Registrar(MemoryGallery(8), ledger, rebooted, camera="cam0", last_seen_ns=(UTC_S - 60) * NS)
    assert registrar.consent_time.latest_ns(rebooted.now()) == (UTC_S - 60) * NS


def test_the_time_seen_last_is_kept_and_losing_it_is_no_error(tmp_path: Path) -> None:
    kept = LastSeen(tmp_path / "last-seen")
    assert kept.read() == 0
    kept.note(at(7).utc_ns + 123)
    assert LastSeen(tmp_path / "last-seen").read() == at(7).utc_ns + 123
    nowhere = LastSeen(tmp_path / "nowhere" / "last-seen")
    nowhere.note(1)
    assert nowhere.read() == 0


def test_the_boot_clock_counts_on_where_the_clock_stands_still() -> None:
    time = ConsentTime()
    time.seen(at(0))
    stopped = replace(at(0, synced=False), boot_ns=at(50).boot_ns)
    assert time.certain_ns(stopped) == time.latest_ns(stopped) == at(50).utc_ns


def test_after_a_reboot_the_ledger_says_how_late_it_is_at_least() -> None:
    ledger, clock = MemoryLedger(), ManualClock()
    registrar = Registrar(MemoryGallery(8), ledger, clock, camera="cam0")
    assert registrar.consent_time.floor_utc_ns == EARLIEST_NS
    registrar.enrol("anna", CONSENT, ROW)
    rebooted = ManualClock(boot_id="b0070002", boot_ns=5 * NS, utc_ns=0, synced=False)
    registrar = Registrar(MemoryGallery(8), ledger, rebooted, camera="cam0")
    assert registrar.consent_time.latest_ns(rebooted.now()) == UTC_S * NS


def test_an_entry_by_a_clock_that_nobody_set_makes_nothing_certain() -> None:
    clock = ManualClock(synced=False)
    registrar = Registrar(MemoryGallery(8), MemoryLedger(), clock, camera="cam0")
    registrar.enrol("anna", CONSENT, ROW)
    assert registrar.consent_time.floor_utc_ns == EARLIEST_NS


def test_nobody_agrees_by_a_clock_that_leapt() -> None:
    desk = with_anna()
    desk.wait(1)
    desk.clock.jump_utc(YEAR_S)
    for request in (
        EnrolRequest("bert", POLICY, acknowledged=True),
        RenewRequest("anna", POLICY, acknowledged=True),
    ):
        assert "could last too long" in desk.ask(request, Failed).message
    desk.clock.jump_utc(-YEAR_S)
    assert desk.ask(RenewRequest("anna", POLICY, acknowledged=True), Renewed).subject.label == "anna"


def test_a_clock_that_leaps_during_an_enrolment_ends_it_without_a_subject() -> None:
    desk = Desk()
    desk.wait(1)
    answer = desk.enrol()
    desk.show(Painted(1), frames=2)
    desk.clock.jump_utc(YEAR_S)
    desk.show(Painted(1), frames=40)
    reply = last(answer)
    assert isinstance(reply, Failed)
    assert "could last too long" in reply.message
    assert not desk.stored()
