# SPDX-License-Identifier: Apache-2.0
"""The alerts about the broker and about certificates: when they stand, what they say, when they end."""

from __future__ import annotations

import logging
import socket
import ssl

import pytest

from device.adapters.clock import ManualClock
from device.broker_advice import GENERAL, advice, lasting
from device.tls_files import explain
from device.troubles import Troubles
from device.update_record import UpdateRecord
from device.vigil import Vigil, watch_certificates, watch_update

DAY_S = 24 * 3600
REFUSED = "broker.lan:8883: the broker's certificate was not accepted: certificate has expired"


class Watched:
    """A vigil over a clock that is set by hand."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.troubles = Troubles(self.clock)
        self.vigil = Vigil(self.troubles, self.clock.now())

    def after(self, seconds: float) -> dict[str, str]:
        """The alerts that stand so much later, by code."""
        self.clock.advance(seconds)
        self.vigil.look_at_broker(self.clock.now())
        return {trouble.code: trouble.text for trouble in self.troubles.standing()}

    def lost(self, reason: str = "broker.lan:8883: Connection refused") -> None:
        self.vigil.lost(reason, self.clock.now())

    def connected(self) -> None:
        self.vigil.connected(self.clock.now())


def test_a_broker_that_restarts_is_no_alert() -> None:
    watched = Watched()
    watched.connected()
    watched.lost()
    assert watched.after(29) == {}
    watched.connected()
    assert watched.after(1) == {}


def test_one_that_stays_away_is_an_alert_with_the_reason_and_what_to_do() -> None:
    watched = Watched()
    watched.connected()
    watched.lost()
    assert watched.after(31) == {"broker_lost": "no connection: broker.lan:8883: Connection refused"}
    (trouble,) = watched.troubles.standing()
    assert "mqtt.port" in trouble.hint
    assert watched.vigil.broker == "no connection: broker.lan:8883: Connection refused"


def test_what_will_not_pass_by_itself_is_an_alert_at_once() -> None:
    watched = Watched()
    watched.lost(REFUSED)
    assert "broker_lost" in watched.after(0)


def test_when_it_is_back_it_is_told_for_how_long_it_was_away_and_then_ended() -> None:
    watched = Watched()
    watched.connected()
    watched.after(100)
    watched.lost()
    since = watched.after(3600)
    assert since["broker_lost"].startswith("no connection: ")
    began = watched.troubles.standing()[0].since
    watched.connected()
    assert watched.after(5)["broker_lost"].startswith("there was no connection for 1:00:00: broker.lan")
    assert watched.troubles.standing()[0].since == began
    assert watched.after(6) == {}
    assert watched.vigil.broker == "connected"


def test_a_broker_that_never_answered_counts_from_the_start() -> None:
    watched = Watched()
    assert watched.vigil.broker == "connecting"
    watched.lost()
    assert watched.after(31) != {}


def test_the_log_says_it_every_hour_and_not_more(caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched()
    watched.lost()
    with caplog.at_level(logging.WARNING, "porter.forwarder"):
        for _ in range(3 * 60 + 5):
            watched.after(60)
    said = [record.message for record in caplog.records if record.name == "porter.forwarder"]
    assert [line.split()[0] for line in said] == ["broker_still_lost"] * 3
    assert "does the broker run" in said[0]


def test_every_advice_belongs_to_words_that_are_really_said() -> None:
    def refused(code: int, words: str) -> str:
        error = ssl.SSLCertVerificationError(1, words)
        error.verify_code, error.verify_message = code, words
        return explain(error, 5)

    early = refused(9, "certificate is not yet valid")
    assert "this device's clock says 20" in early
    assert "clock" in advice(early)
    assert "mqtt.host" in advice(refused(62, "Hostname mismatch, certificate is not valid for 'x'."))
    assert "mqtt.ca_file" in advice(refused(20, "unable to get local issuer certificate"))
    assert "mqtt.ca_file" in advice(refused(18, "self-signed certificate"))
    plain = ssl.SSLError(1, "wrong version number")
    plain.reason = "WRONG_VERSION_NUMBER"
    assert "mqtt.tls: false" in advice(explain(plain, 5))
    assert "name server" in advice(explain(socket.gaierror(-2, "Name or service not known"), 5))
    assert "does the broker run" in advice(explain(ConnectionRefusedError(111, "Connection refused"), 5))
    assert advice("something nobody thought of") == GENERAL


@pytest.mark.parametrize(
    ("reason", "stays"),
    [
        (REFUSED, True),
        ("the broker refused the connection: Not authorized", True),
        ("x:1: Connection refused", False),
        ("x:1: no answer within 5 s", False),
        ("connection lost: closed by the broker", False),
        # A broker that restarts hangs up like this, too.
        ("connection lost: closed by the broker (does the broker want a client certificate?)", False),
    ],
)
def test_only_what_a_person_must_mend_is_told_at_once(reason: str, stays: bool) -> None:
    assert lasting(reason) is stays


@pytest.mark.parametrize(
    ("days", "text"), [(20, None), (13, "ends on"), (0.5, "in 0 days"), (-1, "ended on")]
)
def test_a_certificate_that_ends_is_told_two_weeks_ahead(days: float, text: str | None) -> None:
    clock = ManualClock()
    troubles = Troubles(clock)
    now = clock.now()
    ends = {"the broker's certificate": now.utc_ns + round(days * DAY_S) * 10**9, "mqtt.ca_file": None}
    watch_certificates(ends, now, troubles)
    standing = [trouble.text for trouble in troubles.standing()]
    assert len(standing) == (text is not None)
    assert all(text in said for said in standing if text)
    watch_certificates({}, now, troubles)
    assert troubles.standing() == []


def test_the_first_to_end_is_the_one_that_is_told() -> None:
    clock = ManualClock()
    troubles = Troubles(clock)
    utc = clock.now().utc_ns
    watch_certificates({"a": utc + 9 * DAY_S * 10**9, "b": utc + 3 * DAY_S * 10**9}, clock.now(), troubles)
    assert troubles.standing()[0].text.startswith("b ends on")


def test_by_a_clock_that_nobody_vouches_for_nothing_is_said() -> None:
    clock = ManualClock(synced=False)
    troubles = Troubles(clock)
    watch_certificates({"a": 0}, clock.now(), troubles)
    assert troubles.standing() == []


def test_an_update_that_fell_back_is_an_alert_until_that_is_over() -> None:
    troubles = Troubles(ManualClock())
    record = UpdateRecord("0.2.0", "0.1.0", "fell back", broker=True, failed="0.2.0: no\nframes " + "x" * 900)
    watch_update(record, troubles)
    (trouble,) = troubles.standing()
    assert trouble.code == "update_failed"
    assert trouble.text.startswith("an update was not kept: 0.2.0: no?frames")
    assert len(trouble.text) < 500
    assert "--acknowledge" in trouble.hint
    watch_update(UpdateRecord("0.3.0", "0.1.0", "installed", broker=True), troubles)
    assert troubles.standing() == []
    watch_update(None, troubles)
    assert troubles.standing() == []
