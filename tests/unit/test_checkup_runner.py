# SPDX-License-Identifier: Apache-2.0
"""The doctor's runner: a check that hangs or fails is a finding, and never the end of the others."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from device.checkup.finding import Finding
from device.checkup.host import Account, Host, Said, ScriptedCommands, run_command
from device.checkup.runner import LIMIT_S, Check, examine, within
from device.checkup.service import ANSWER_S
from device.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WELL = Finding("clock", "ok", "it is well")
PATIENT_S = 60.0


def well() -> Iterator[Finding]:
    yield WELL


def test_a_check_that_hangs_is_wrong_and_what_it_found_before_is_kept() -> None:
    free, begun = threading.Event(), threading.Event()

    def hangs() -> Iterator[Finding]:
        yield Finding("broker", "ok", "before")
        begun.set()
        free.wait(PATIENT_S)
        yield Finding("broker", "ok", "after")

    def after_it_hangs() -> Iterator[Finding]:
        assert begun.wait(PATIENT_S)
        yield WELL

    # The second is waited for patiently, and by then the first hangs; a limit of nothing needs no clock.
    found = examine([Check("clock", after_it_hangs, PATIENT_S), Check("broker", hangs, 0.0)])
    free.set()
    assert [(each.what, each.level) for each in found] == [
        ("clock", "ok"),
        ("broker", "ok"),
        ("broker", "wrong"),
    ]
    assert found[1].text == "before"
    assert "did not come to its end within 0 s" in found[2].text


def test_limits_run_from_the_common_start_and_not_one_after_another() -> None:
    free = threading.Event()
    waited: list[float] = []

    def hangs() -> Iterator[Finding]:
        free.wait(PATIENT_S)
        yield WELL

    def now() -> float:
        waited.append(0.0)
        return 0.0 if len(waited) == 1 else 100.0  # by then all limits have passed

    found = examine([Check("clock", hangs, 50.0), Check("disk", hangs, 90.0)], now)
    free.set()
    assert [each.level for each in found] == ["wrong", "wrong"]


def test_all_limits_together_leave_time_below_ten_seconds() -> None:
    assert ANSWER_S + LIMIT_S <= 8.0


@pytest.mark.parametrize(
    ("error", "level", "words"),
    [
        (StorageError("it is full", hint="delete something"), "wrong", "it is full"),
        (PermissionError(13, "Permission denied", "/var/secret"), "note", "/var/secret: may not be read"),
        (ZeroDivisionError("oh"), "wrong", "this check itself failed: ZeroDivisionError: oh"),
    ],
)
def test_a_check_that_fails_is_a_finding(error: Exception, level: str, words: str) -> None:
    def fails() -> Iterator[Finding]:
        yield Finding("disk", "ok", "before")
        raise error

    before, failed, other = examine([Check("disk", fails, PATIENT_S), Check("clock", well, PATIENT_S)])
    assert (before.text, other) == ("before", WELL)
    assert (failed.what, failed.level) == ("disk", level)
    assert words in failed.text
    assert failed.hint


def test_a_call_without_a_limit_gets_one() -> None:
    free = threading.Event()
    assert within(PATIENT_S, lambda: 3) == 3
    with pytest.raises(TimeoutError):
        within(0.0, lambda: free.wait(PATIENT_S))
    free.set()
    with pytest.raises(OSError, match="no such host"):
        within(PATIENT_S, refused)


def refused() -> None:
    raise OSError("no such host")


def test_commands_say_how_they_ended_and_never_raise(tmp_path: Path) -> None:
    assert run_command("sh", "-c", "echo out; echo err >&2; exit 3") == Said(3, "out\nerr")
    assert run_command("true").well
    missing = run_command("porter-has-no-such-command")
    assert (missing.code, missing.text) == (None, "porter-has-no-such-command: not installed")
    assert run_command(str(tmp_path)).code is None


def test_scripted_commands_answer_by_the_longest_beginning() -> None:
    run = ScriptedCommands({"rauc": Said(1, "no"), "rauc status": "yes"})
    assert run("rauc", "status", "--detailed").text == "yes"
    assert run("rauc", "info").code == 1
    assert run("lsusb").text == "lsusb: not installed"
    assert run.asked == ["rauc status --detailed", "rauc info", "lsusb"]


def test_an_account_may_use_what_owner_group_or_all_may(tmp_path: Path) -> None:
    node = tmp_path / "node"
    node.touch()
    found = node.stat()
    own, group, other = (
        Account(found.st_uid, frozenset()),
        Account(found.st_uid + 1, frozenset({found.st_gid})),
        Account(found.st_uid + 1, frozenset({found.st_gid + 1})),
    )
    for mode, expected in (
        (0o600, (True, False, False)),
        (0o660, (True, True, False)),
        (0o666, (True, True, True)),
    ):
        node.chmod(mode)
        assert (own.may_use(node), group.may_use(node), other.may_use(node)) == expected
    with pytest.raises(FileNotFoundError):
        own.may_use(tmp_path / "none")


def test_the_vision_service_runs_where_systemd_says_so() -> None:
    for said, runs in (("active", True), ("activating", True), ("inactive", False), ("failed", False)):
        assert Host(run=ScriptedCommands({"systemctl is-active": Said(3, said)})).vision_runs() is runs
    assert not Host(run=ScriptedCommands({})).vision_runs()
