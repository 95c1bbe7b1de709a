# SPDX-License-Identifier: Apache-2.0
"""`porter listen` beside a real forwarder: what it prints, and what its exit code says."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from device.adapters.broker_mosquitto import Mosquitto
from tests.subscriber import Subscriber
from tests.system.services import ROOT, Child, Site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.system


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Mosquitto(tmp_path / "broker") as broker, Site(tmp_path, broker.port) as site:
        yield site


def listen(site: Site, *more: str) -> Child:
    """Listens to the site's broker."""
    arguments = ("listen", "--config", str(site.config), *more)
    return Child(site.folder / "listen.log", "device", *arguments).start()


def test_what_a_device_publishes_is_printed_and_found_to_be_as_the_contract_has_it(site: Site) -> None:
    site.forwarder.wait_log("connected")
    child = listen(site, "--for", "6")
    child.wait_log("listening on porter/v1/+/#")
    site.commit(1, 2)
    assert child.process is not None
    assert child.process.wait(30) == 0
    text = child.text()
    assert "lobby-01/status (retained): online" in text
    assert "start of p_7f3a, score 0.71 of 0.52, live, seq 2" in text
    assert "2 events; 0 repeats, 0 events missing, 0 messages against the contract" in text


def test_a_message_against_the_contract_is_named_and_fails(site: Site) -> None:
    site.forwarder.wait_log("connected")
    child = listen(site, "--json", "--for", "4")
    child.wait_log("listening on")
    with Subscriber(site.port, judges=False) as forger:
        forger.publish("porter/v1/lobby-01/cam0/snapshot", b"jpeg")
    assert child.process is not None
    assert child.process.wait(30) == 1
    said = [json.loads(line) for line in child.text().splitlines() if line.startswith("{")]
    wrong = [one["topic"] for one in said if one["problems"]]
    assert wrong == ["porter/v1/lobby-01/cam0/snapshot"]


def test_a_broker_that_is_not_there_fails_with_its_cause(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "device", "listen", "127.0.0.1:1", "--plain", "--for", "5"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert "127.0.0.1:1: Connection refused" in done.stderr
