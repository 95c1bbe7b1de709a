# SPDX-License-Identifier: Apache-2.0
"""`porter subjects`, `withdraw`, `status`, `pause` and `resume`, against a service that follows a script."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import msgspec
import pytest

from device.cli import main
from device.commands import common, subjects
from device.control import (
    Done,
    Failed,
    PauseRequest,
    RenameRequest,
    RenewRequest,
    Reply,
    ServiceStatus,
    SubjectLine,
    SubjectList,
    Switched,
    WithdrawRequest,
)
from tests.scripted_service import ANNA, ENROLLING, RECEIPT, STATUS, service


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    file = tmp_path / "policy.md"
    file.write_bytes("We keep five numbers about your face.\r\nÜber uns.\n".encode())
    return file


@pytest.mark.usefixtures("no_terminal")
@pytest.mark.parametrize(
    "words",
    [
        ["enrol", "--label", "anna", "--policy", "POLICY"],
        ["renew", "anna", "--policy", "POLICY"],
        ["withdraw", "anna"],
    ],
)
def test_without_a_terminal_nobody_can_be_asked(
    path: Path, policy: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    words = [str(policy) if word == "POLICY" else word for word in words]
    with service(path, ENROLLING) as handler:
        assert main([*words, "--socket", str(path)]) == 2
    assert "--yes" in capsys.readouterr().err
    assert not handler.seen


def test_subjects_are_a_table(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ended = SubjectLine(
        "日本", "p_00000001", 8, "c_12", "door", "ab" * 32, "bob", "2025-11-22", "2026-11-22", 0
    )
    with service(path, {"SubjectsRequest": [Done(SubjectList([ANNA, ended]))]}):
        assert main(["subjects", "--socket", str(path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "LABEL  REF         REFERENCES  CONSENT  SINCE       UNTIL       DAYS LEFT",
        "anna   p_12ab34cd  5           c_1      2026-11-23  2027-11-23  365",
        "日本   p_00000001  8           c_12     2025-11-22  2026-11-22  ended",
    ]
    assert subjects.columns("e\u0301") == 1


def test_nobody_enrolled_is_no_error(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with service(path, {"SubjectsRequest": [Done(SubjectList([]))]}):
        assert main(["subjects", "--socket", str(path)]) == 0
        assert capsys.readouterr().out == "nobody is enrolled\n"


def test_subjects_as_json(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with service(path, {"SubjectsRequest": [Done(SubjectList([ANNA]))]}):
        assert main(["subjects", "--socket", str(path), "--json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)["subjects"]
    assert (one["label"], one["until"], one["days_left"]) == ("anna", "2027-11-23", 365)


@pytest.mark.parametrize("sure", ["--yes", "typed"])
def test_withdrawing_says_what_was_erased(
    path: Path, typed: int, capsys: pytest.CaptureFixture[str], sure: str
) -> None:
    os.write(typed, b"yes\n")
    with service(path, ENROLLING) as handler:
        assert main(["withdraw", "anna", "--socket", str(path), *([sure] if sure == "--yes" else [])]) == 0
    assert handler.seen == [WithdrawRequest("anna")]
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "erased anna (p_12ab34cd): 5 references and the consent record c_1"
    assert said[1].startswith("receipt: entry 3 of the consent ledger")


def test_a_receipt_is_written_for_the_person_and_never_over_a_file(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    receipt = tmp_path / "receipt.json"
    words = ["withdraw", "anna", "--yes", "--receipt", str(receipt), "--socket", str(path)]
    with service(path, ENROLLING) as handler:
        assert main(words) == 0
        assert f"receipt: entry 3 of the consent ledger, SHA-256 {'ef' * 32}" in capsys.readouterr().out
        assert json.loads(receipt.read_text()) == msgspec.to_builtins(RECEIPT)
        assert receipt.stat().st_mode & 0o777 == 0o600
        assert "anna" not in receipt.read_text()
        assert main(words) == 2
        assert "nothing was erased" in capsys.readouterr().err
    assert len(handler.seen) == 1, "a receipt that cannot be written stops it before anything is erased"


def test_a_withdrawal_that_fails_leaves_no_receipt(path: Path, tmp_path: Path) -> None:
    receipt = tmp_path / "receipt.json"
    with service(path, {"WithdrawRequest": [Failed("nobody is enrolled as 'anna'", exit_code=2)]}):
        assert main(["withdraw", "anna", "--yes", "--receipt", str(receipt), "--socket", str(path)]) == 2
    assert not receipt.exists()


def test_renewing_carries_the_text_that_was_agreed_to(
    path: Path, policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["renew", "anna", "--policy", str(policy), "--recorded-by", "Dr Bell", "--yes"]
    with service(path, ENROLLING) as handler:
        assert main([*words, "--socket", str(path)]) == 0
    assert "renewed anna (p_12ab34cd): consent c_1 ends on 2027-11-23" in capsys.readouterr().out
    (request,) = handler.seen
    assert isinstance(request, RenewRequest)
    assert request.policy_text.encode() == policy.read_bytes()
    assert (request.subject, request.acknowledged, request.recorded_by) == ("anna", True, "Dr Bell")


def test_renaming_says_what_the_subject_is_called_now(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with service(path, ENROLLING) as handler:
        assert main(["rename", "beth", "anna", "--socket", str(path)]) == 0
    assert capsys.readouterr().out == "p_12ab34cd is called anna now\n"
    assert handler.seen == [RenameRequest("beth", "anna")]


def test_withdrawing_without_a_yes_erases_nobody(
    path: Path, typed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    os.write(typed, b"no\n")
    with service(path, ENROLLING) as handler:
        assert main(["withdraw", "anna", "--socket", str(path)]) == 1
    assert not handler.seen
    assert "nothing was erased" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("verb", "changed", "said"),
    [
        ("pause", True, "paused"),
        ("pause", False, "it was paused already"),
        ("resume", True, "looking again"),
        ("resume", False, "it was not paused"),
    ],
)
def test_pausing_and_resuming_say_what_changed(
    path: Path, capsys: pytest.CaptureFixture[str], verb: str, changed: bool, said: str
) -> None:
    answer: list[Reply] = [Done(Switched("paused" if verb == "pause" else "running", changed))]
    with service(path, {"PauseRequest": answer, "ResumeRequest": answer}) as handler:
        assert main([verb, "--socket", str(path)]) == 0
    assert capsys.readouterr().out == said + "\n"
    assert isinstance(handler.seen[0], PauseRequest) == (verb == "pause")


def test_the_status_is_readable(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with service(path, {"StatusRequest": [Done(STATUS)]}):
        assert main(["status", "--socket", str(path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "state     running, up 1:02:03",
        "camera    cam0 (files, a simulation), 9.8 frames a second",
        "subjects  4 enrolled, 1 at the door",
        "frames    1234, with 56 faces, 12 of them embedded",
        "strangers 3",
        "embedder  sface (cpu) on cpu",
        "trouble   clock_unsynced: the clock is not synchronised, since 2026-11-23T10:00:00.000Z",
        "          timedatectl",
    ]


def test_the_status_says_for_what_light_the_camera_is_set(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = msgspec.structs.replace(STATUS, source="picamera2", simulated=False, light="night")
    with service(path, {"StatusRequest": [Done(status)]}):
        assert main(["status", "--socket", str(path)]) == 0
    assert "cam0 (picamera2), 9.8 frames a second, set for night" in capsys.readouterr().out


def test_the_status_as_json_holds_every_count(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with service(path, {"StatusRequest": [Done(STATUS)]}):
        assert main(["status", "--socket", str(path), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert set(ServiceStatus.__struct_fields__) | {"type"} == set(shown)
    assert (shown["strangers"], shown["troubles"][0]["code"]) == (3, "clock_unsynced")


def test_without_a_service_every_command_says_so(
    path: Path, policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    enrolling = ["enrol", "--label", "anna", "--policy", str(policy), "--yes"]
    for words in (["status"], ["pause"], ["resume"], ["subjects"], ["withdraw", "anna", "--yes"], enrolling):
        assert main([*words, "--socket", str(path)]) == 1
        assert "systemctl status porter-vision" in capsys.readouterr().err


def options(**given: Path) -> argparse.Namespace:
    return argparse.Namespace(**({"socket": None, "config": None} | given))


def test_the_socket_is_found_by_option_configuration_default_file_or_default(tmp_path: Path) -> None:
    file, default = tmp_path / "one.yaml", tmp_path / "porter.yaml"
    file.write_text("device:\n  run_dir: /run/one\n")
    assert common.socket_path(options(), default) == Path("/run/porter/control.sock")
    default.write_text("device:\n  run_dir: /run/two\n")
    assert common.socket_path(options(), default) == Path("/run/two/control.sock")
    assert common.socket_path(options(config=file), default) == Path("/run/one/control.sock")
    assert common.socket_path(options(socket=Path("s")), default) == Path("s")


def test_a_configuration_that_is_asked_for_must_exist(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--config", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml" in capsys.readouterr().err
