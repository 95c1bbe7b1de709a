# SPDX-License-Identifier: Apache-2.0
"""`porter fleet` with a few devices: a restart in the middle, a broker of somebody else, one that is not there."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from device.adapters.broker_mosquitto import Mosquitto
from tests.subscriber import Subscriber
from tests.system.services import ROOT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.system
JSON = ("--seconds", "6", "--json")


def fleet(*words: str) -> subprocess.CompletedProcess[str]:
    """Runs it to its end."""
    return subprocess.run(
        [sys.executable, "-m", "device", "fleet", *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        check=False,
    )


def test_a_restart_in_the_middle_loses_nothing_and_every_device_comes_back() -> None:
    done = fleet(
        *[
            "--mosquitto",
            "--restart",
            "--devices",
            "20",
            "--processes",
            "2",
            "--rate",
            "2",
            "--seconds",
            "6",
            "--json",
        ]
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["committed"] == report["delivered"] > 100
    assert (report["lost"], report["waiting"], report["gaps"], report["problems"]) == (0, 0, 0, [])
    assert report["return"]["devices_back"] >= 20
    assert report["latency_restart_ms"]["events"] > 0
    assert report["broker"]["cpu_s"] > 0


def test_on_somebody_elses_broker_nothing_stays_and_no_door_controller_hears_anything(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as broker:
        with Subscriber(broker.port, "porter/#") as controller:
            done = fleet(
                f"127.0.0.1:{broker.port}", *["--plain", "--devices", "3", "--rate", "2", "--seconds", "2"]
            )
            assert done.returncode == 0, done.stderr
            assert controller.messages == []
        with Subscriber(broker.port, "#", judges=False) as newcomer:
            newcomer.publish("fence", b"x")
            newcomer.wait("fence")
            assert [seen.topic for seen in newcomer.messages] == ["fence"]


def test_a_broker_that_is_not_there_is_a_line() -> None:
    done = fleet("127.0.0.1:1", "--plain", "--devices", "2")
    assert done.returncode == 1
    assert "porter: 127.0.0.1:1: Connection refused" in done.stderr
    assert "Traceback" not in done.stderr
