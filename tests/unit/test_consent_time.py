# SPDX-License-Identifier: Apache-2.0
"""Wrong clocks never lengthen a consent, and erase nobody before their time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from device.adapters.clock import ManualClock
from device.adapters.gallery_memory import MemoryGallery
from device.adapters.ledger_memory import MemoryLedger
from device.recognition.consent import EARLIEST_NS
from device.recognition.consent_time import ConsentTime
from device.recognition.gallery import Gallery
from device.records import Consent, Stamp
from device.registrar import Registrar
from tests.people import NS, UTC_S, YEAR_S, at

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


def test_the_boot_clock_counts_on_where_the_clock_stands_still() -> None:
    time = ConsentTime()
    time.seen(at(0))
    stopped = replace(at(0, synced=False), boot_ns=at(50).boot_ns)
    assert time.certain_ns(stopped) == time.latest_ns(stopped) == at(50).utc_ns


def test_after_a_reboot_the_ledger_says_how_late_it_is_at_least() -> None:
    ledger, clock = MemoryLedger(), ManualClock()
    registrar = Registrar(MemoryGallery(8), ledger, clock, camera="cam0")
    assert registrar.consent_time().floor_utc_ns == EARLIEST_NS
    registrar.enrol("anna", CONSENT, ROW)
    rebooted = ManualClock(boot_id="b0070002", boot_ns=5 * NS, utc_ns=0, synced=False)
    registrar = Registrar(MemoryGallery(8), ledger, rebooted, camera="cam0")
    assert registrar.consent_time().latest_ns(rebooted.now()) == UTC_S * NS


def test_an_entry_by_a_clock_that_nobody_set_makes_nothing_certain() -> None:
    clock = ManualClock(synced=False)
    registrar = Registrar(MemoryGallery(8), MemoryLedger(), clock, camera="cam0")
    registrar.enrol("anna", CONSENT, ROW)
    assert registrar.consent_time().floor_utc_ns == EARLIEST_NS
