# SPDX-License-Identifier: Apache-2.0
"""Enrolments through the real service, camera, models and command: to the end, broken off, and again."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.service.harness import ServiceDoor


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_an_enrolment_that_is_broken_off_leaves_nobody(door: ServiceDoor, how: signal.Signals) -> None:
    door.configure(enrolment={"references": 8})
    door.start()
    door.show("anna")
    command = door.enrolment("anna")
    door.wait("samples of anna", lambda: "2/12" in command.output())
    command.process.send_signal(how)
    assert command.ended() != 0
    door.wait("the service to look again", lambda: door.status().state == "running")
    assert door.status().subjects == 0
    assert json.loads(door.porter("subjects", "--json").stdout)["subjects"] == []


def test_whoever_is_enrolled_can_be_enrolled_again_and_nobody_else_in_their_place(door: ServiceDoor) -> None:
    door.start()
    door.show("anna")
    door.enrol("anna")
    before = subject_line(door)
    again = ("enrol", "--again", "anna", "--policy", str(door.policy), "--yes")
    done = door.porter(*again, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["summary"]["nearest"] is None, "nobody else is enrolled, and she is not compared with herself"
    after = subject_line(door)
    assert (after["ref"], after["label"]) == (before["ref"], "anna")
    assert after["consent"] != before["consent"]
    door.show("stranger")
    refused = door.porter(*again)
    assert refused.returncode == 1
    assert "this is not the face that is enrolled there" in refused.stderr
    assert "porter withdraw" in refused.stderr
    assert subject_line(door) == after


def subject_line(door: ServiceDoor) -> dict[str, object]:
    """The one subject, as `porter subjects --json` tells of them."""
    (found,) = json.loads(door.porter("subjects", "--json").stdout)["subjects"]
    line: dict[str, object] = found
    return line
