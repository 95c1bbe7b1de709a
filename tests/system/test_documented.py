# SPDX-License-Identifier: Apache-2.0
"""The subscribers of docs/protocol.md, taken from the page and run: they hear a live match, once."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from device.adapters.broker_mosquitto import Mosquitto, executable
from device.adapters.clock import SystemClock
from device.adapters.outbox_sqlite import SqliteOutbox
from tests.subscriber import wait_for
from tests.system.certificates import Authority
from tests.system.services import Site, event_now
from tests.system.test_delivery import make_password_file

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.system
PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
SUBSCRIBE = PAGE[PAGE.index("## Subscribe") :]


def block(language: str) -> str:
    """The page's first block in this language, in the section on subscribing."""
    found = re.search(rf"^```{language}\n(.*?)^```", SUBSCRIBE, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def commands() -> list[str]:
    return [line for line in block("sh").splitlines() if line.startswith("mosquitto_sub")]


def commit(site: Site, *numbers: int) -> None:
    """Events of now, whose valid_until is ahead."""
    ends = (datetime.now(UTC) + timedelta(seconds=30)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    outbox = SqliteOutbox(site.outbox)
    for number in numbers:
        outbox.append([msgspec.structs.replace(event_now(SystemClock(), number), valid_until=ends)])
    outbox.close()


class Program:
    """A subscriber whose output goes to a file."""

    def __init__(self, folder: Path, command: Sequence[str]) -> None:
        self.output = folder / "said"
        with self.output.open("wb") as file:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)

    def lines(self) -> list[str]:
        return self.output.read_text().splitlines()

    def end(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(10)


def subscribed(broker: Mosquitto) -> bool:
    """Whether somebody but the device has subscribed."""
    return "porter/v1/+/+/match" in broker.log.read_text() or "porter/v1/lobby-01/#" in broker.log.read_text()


def test_the_python_subscriber_greets_once(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker", "log_type all") as broker, Site(tmp_path, broker.port) as site:
        program = tmp_path / "subscriber.py"
        program.write_text(block("python").replace("1883", str(broker.port)))
        said = Program(tmp_path, [sys.executable, "-u", str(program)])
        try:
            wait_for(lambda: subscribed(broker), 20, f"the subscription: {said.lines()}")
            commit(site, 1, 2)
            wait_for(lambda: len(said.lines()) >= 2, 20, "two greetings")
            assert said.lines() == ["p_7f3a is at the door of lobby-01"] * 2
        finally:
            said.end()


@pytest.mark.parametrize("number", range(3))
def test_mosquitto_sub_hears_a_match(number: int, tmp_path: Path) -> None:
    assert len(commands()) == 3
    authority = Authority(tmp_path / "certificates")
    certificate, key = authority.issue("broker")
    make_password_file(tmp_path / "passwords", "USER", "PASSWORD")
    options: tuple[str, ...] = (f"certfile {certificate}", f"keyfile {key}", "log_type all")
    anonymous = "-u USER" not in commands()[number]
    if not anonymous:
        options += (f"password_file {tmp_path / 'passwords'}",)
    (tmp_path / "secret").write_text("PASSWORD")
    extra = f"  ca_file: {authority.ca}\n  username: USER\n  password_file: {tmp_path / 'secret'}"
    broker = Mosquitto(tmp_path / "broker", *options, anonymous=anonymous)
    command = (
        commands()[number]
        .replace("-h BROKER -p 8883", f"-h 127.0.0.1 -p {broker.port}")
        .replace("--capath /etc/ssl/certs", f"--cafile {authority.ca}")
    )
    arguments = [executable("mosquitto_sub", "mosquitto-clients"), *shlex.split(command)[1:]]
    with broker, Site(tmp_path, broker.port, extra=extra) as site:
        said = Program(tmp_path, arguments)
        try:
            wait_for(lambda: subscribed(broker), 20, f"the subscription: {said.lines()}")
            commit(site, 1)
            wait_for(lambda: any('"phase":"start"' in line for line in said.lines()), 20, "the match")
        finally:
            said.end()
