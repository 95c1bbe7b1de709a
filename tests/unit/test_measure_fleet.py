# SPDX-License-Identifier: Apache-2.0
"""The arithmetic and the arguments of `porter fleet`; the whole of it runs in tests/system and `make fleet`."""

from __future__ import annotations

import argparse
import resource

import msgspec
import pytest

from device.cli import main
from device.contract import judge
from device.errors import InputError
from device.measure import fleet
from device.measure.fleet_account import Heard, Outage, events_account, percentiles, return_account
from device.measure.fleet_devices import CAMERA, Endpoint, allow_files, quiet_door

REPORT = {
    "devices": 20,
    "processes": 1,
    "all_connected_s": 1.25,
    "committed": 100,
    "committed_hz": 19.9,
    "delivered": 99,
    "lost": 1,
    "waiting": 0,
    "repeats": 3,
    "late": 2,
    "gaps": 0,
    "refused": 0,
    "problems": [],
    "disconnects": {"Connection refused": 4},
    "latency_ms": {"p50": 7.0, "p95": 36.0, "p99": 84.0, "max": 90.0, "events": 80},
    "latency_restart_ms": None,
    "device_cpu_share": 0.005,
    "device_rss_mb": 2.5,
    "return": {
        "devices_back": 20,
        "devices": 20,
        "first_s": 0.2,
        "p50_s": 1.1,
        "last_s": 1.8,
        "most_in_one_second": 16,
    },
    "broker": {"cpu_s": 1.5, "cpu_share": 0.02, "rss_mb": 8.7},
}


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    fleet.add_arguments(parser)
    return parser.parse_args(words)


def test_an_event_is_delivered_waiting_or_lost_and_nothing_else() -> None:
    committed = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}
    heard = Heard(at={"a": 1.01, "b": 2.03, "stranger": 9.0}, late={"b", "stranger"})
    found = events_account(committed, heard, waiting=["c", "a"], disturbed=None)
    assert (found["committed"], found["delivered"], found["waiting"], found["lost"]) == (4, 2, 1, 1)
    assert found["late"] == 1
    assert found["latency_ms"]["events"] == 2
    assert found["latency_ms"]["max"] == pytest.approx(30)
    assert found["latency_restart_ms"] is None


def test_what_was_committed_while_a_restart_was_felt_is_counted_apart() -> None:
    committed = {str(number): float(number) for number in range(10)}
    heard = Heard(at={name: at + (2 if 4 <= at <= 6 else 0.01) for name, at in committed.items()})
    found = events_account(committed, heard, [], disturbed=(4.0, 6.0))
    assert found["latency_ms"]["events"] == 7
    assert found["latency_ms"]["max"] == pytest.approx(10)
    assert found["latency_restart_ms"]["events"] == 3
    assert found["latency_restart_ms"]["p50"] == pytest.approx(2000)


def test_percentiles_of_fewer_than_two_are_not_made_up() -> None:
    assert percentiles([]) is None
    assert percentiles([1.0]) is None
    assert percentiles([float(value) for value in range(101)]) == {
        "p50": 50.0,
        "p95": 95.0,
        "p99": 99.0,
        "max": 100.0,
        "events": 101,
    }


def test_a_return_counts_from_the_moment_the_broker_accepts_and_finds_the_busiest_second() -> None:
    connects = [1.0, 2.0, 13.5, 14.0, 14.4, 14.5, 20.0]
    found = return_account(connects, Outage(stopped=12.0, started=13.0), devices=2)
    assert found == {
        "devices_back": 5,
        "devices": 2,
        "first_s": 0.5,
        "p50_s": pytest.approx(1.4),
        "last_s": 7.0,
        "most_in_one_second": 4,
    }


def test_a_fleet_that_does_not_come_back_is_said_to_be_nobody() -> None:
    assert return_account([1.0], Outage(2.0, 3.0), devices=9) == {"devices_back": 0, "devices": 9}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "expected a broker"),
        (["broker.lan", "--mosquitto"], "not both"),
        (["broker.lan", "--restart"], "only a broker of its own"),
        (["--mosquitto", "--base", "porter"], "a door controller would take these events for real"),
        (["--mosquitto", "--username", "x"], "wants none"),
        (["broker.lan:mqtt"], "expected HOST or HOST:PORT"),
        (["broker.lan", "--ca", "/nonexistent/ca.pem"], "/nonexistent/ca.pem"),
        (["broker.lan", "--password-file", "/nonexistent/password"], "/nonexistent/password"),
        (["--mosquitto", "--folder", "/nonexistent/folder"], "expected a folder"),
    ],
)
def test_wrong_use_is_a_line_and_exit_code_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fleet", *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--rate", "0"], ["--rate", "inf"], ["--rate", "x"], ["--devices", "0"]])
def test_a_number_out_of_range_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refusal:
        main(["fleet", "--mosquitto", *words])
    assert refusal.value.code == 2
    assert words[0] in capsys.readouterr().err


def test_tls_is_on_unless_plain_is_asked_for_by_name() -> None:
    secure = fleet.endpoint_of(arguments("broker.lan"))
    assert (secure.host, secure.port, secure.base) == ("broker.lan", 8883, "porter-fleet")
    assert secure.tls is not None
    plain = fleet.endpoint_of(arguments("broker.lan", "--plain"))
    assert (plain.port, plain.tls) == (1883, None)


def test_a_password_is_in_no_text_of_an_endpoint() -> None:
    assert "hidden" not in repr(Endpoint("h", 1, "b", password="hidden"))  # noqa: S106


def test_a_limit_on_open_files_that_may_not_be_raised_says_what_to_do() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        allow_files(10**9)
        return
    with pytest.raises(InputError, match=f"ulimit -n: {hard + 1} open files") as refusal:
        allow_files(hard + 1)
    assert "--processes" in refusal.value.hint


def test_what_a_device_shows_fits_the_contract_and_is_of_nobody() -> None:
    (presence,) = quiet_door("fleet-00001").presence
    topic = f"porter-fleet/v1/fleet-00001/{CAMERA}/presence"
    assert judge("porter-fleet", topic, msgspec.json.encode(presence), retained=True).problems == ()
    assert presence.present == []


@pytest.mark.parametrize("key", ["lost", "waiting", "gaps"])
def test_anything_that_did_not_arrive_fails(key: str) -> None:
    well = REPORT | {"lost": 0}
    assert not fleet.failed(well)
    assert fleet.failed(well | {key: 1})


def test_a_message_against_the_contract_fails_and_is_shown() -> None:
    wrong = REPORT | {"lost": 0, "problems": ["porter-fleet/x: not in the contract"]}
    assert fleet.failed(wrong)
    assert "against the contract: porter-fleet/x" in fleet.text_of(wrong)


def test_the_report_shows_what_was_lost_and_how_the_fleet_came_back() -> None:
    lines = fleet.text_of(REPORT).splitlines()
    assert any(line.startswith("lost") and line.endswith(" 1") for line in lines)
    assert any("7 36 84 90 ms" in line for line in lines)
    assert any("0.2, 1.1, 1.8 s" in line for line in lines)
    assert any("Connection refused" in line and line.endswith("4") for line in lines)
    assert not any("around the restart" in line for line in lines)
