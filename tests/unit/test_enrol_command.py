# SPDX-License-Identifier: Apache-2.0
"""`porter enrol` against a service that follows a script: what is asked, shown, and left after any end."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from device.adapters.control_client import SILENCE_S
from device.cli import main
from device.commands import enrol
from device.commands.enrol import CAPTURE_SILENCE_S
from device.control import (
    Done,
    Enrolled,
    EnrolRequest,
    Failed,
    Progress,
    Reply,
    SubjectLine,
    SubjectList,
)
from tests.scripted_service import ANNA, ENROLLING, POSES, SUMMARY, service
from tests.service.harness import HEEDING


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    file = tmp_path / "policy.md"
    file.write_bytes("We keep five numbers about your face.\r\nÜber uns.\n".encode())
    return file


def test_enrolling_shows_one_hint_at_a_time_and_the_result(
    path: Path, policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["enrol", "--label", "anna", "--policy", str(policy), "--socket", str(path), "--yes"]
    with service(path, ENROLLING) as handler:
        assert main(words) == 0
    assert capsys.readouterr().out.splitlines() == [
        "0/5  come closer",
        "3/5  hold still",
        "enrolled anna as p_12ab34cd with 5 references; consent c_1 ends on 2027-11-23",
        "quality: usable, but exposure was only fair",
        "  poses front, left; weakest part: exposure 0.65",
        "  alike among themselves 0.93; nearest other subject: 0.21",
    ]
    (request,) = handler.seen
    assert isinstance(request, EnrolRequest)
    assert (
        hashlib.sha256(request.policy_text.encode()).digest() == hashlib.sha256(policy.read_bytes()).digest()
    )
    assert (request.label, request.acknowledged, request.recorded_by) == ("anna", True, None)


def test_enrolling_with_json_prints_nothing_else_on_standard_output(
    path: Path, policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["enrol", "--label", "anna", "--policy", str(policy), "--socket", str(path), "--yes", "--json"]
    with service(path, ENROLLING) as handler:
        assert main([*words, "--recorded-by", "Dr. Who"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["type"] for line in lines] == ["progress", "progress", "progress", "enrolled"]
    assert lines[-1]["subject"]["ref"] == "p_12ab34cd"
    assert (lines[-1]["summary"]["verdict"], lines[-1]["summary"]["nearest"]) == ("usable", 0.21)
    (request,) = handler.seen
    assert isinstance(request, EnrolRequest)
    assert request.recorded_by == "Dr. Who"


def test_enrolling_again_says_so_in_the_request(path: Path, policy: Path) -> None:
    words = ["enrol", "--again", "p_12ab34cd", "--policy", str(policy), "--socket", str(path), "--yes"]
    with service(path, ENROLLING) as handler:
        assert main(words) == 0
    (request,) = handler.seen
    assert isinstance(request, EnrolRequest)
    assert (request.label, request.again) == ("p_12ab34cd", True)


@pytest.mark.parametrize("words", [[], ["--label", "anna", "--again", "anna"]])
def test_either_somebody_new_or_somebody_again_is_enrolled(
    path: Path, policy: Path, words: list[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["enrol", *words, "--policy", str(policy), "--socket", str(path), "--yes"])
    assert refused.value.code == 2


def test_the_person_reads_the_policy_and_types_yes(
    path: Path, policy: Path, typed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    os.write(typed, b"yes\n")
    with service(path, ENROLLING):
        assert main(["enrol", "--label", "anna", "--policy", str(policy), "--socket", str(path)]) == 0
    shown = capsys.readouterr().err
    assert "We keep five numbers about your face." in shown
    assert hashlib.sha256(policy.read_bytes()).hexdigest() in shown


@pytest.mark.parametrize("answer", [b"no\n", b"y\n", b"\n", b"\x04"])
def test_anything_but_yes_enrols_nobody(
    path: Path, policy: Path, typed: int, capsys: pytest.CaptureFixture[str], answer: bytes
) -> None:
    os.write(typed, answer)
    with service(path, ENROLLING) as handler:
        assert main(["enrol", "--label", "anna", "--policy", str(policy), "--socket", str(path)]) == 1
    assert "not agreed: nothing was changed" in capsys.readouterr().err
    assert not handler.seen


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        (b"", "found nothing"),
        (b" \n\n", "found nothing"),
        (b"Ges\xe4ss", "byte 3: expected UTF-8"),
        (b"x" * 65537, "at most 65536 bytes"),
        (b"\x1b[2Jhello", "control character U+001B"),
        (b"a\x00b", "control character U+0000"),
    ],
)
def test_a_policy_that_is_no_text_is_refused(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, said: str
) -> None:
    file = tmp_path / "other.md"
    if content is not None:
        file.write_bytes(content)
    assert main(["enrol", "--label", "anna", "--policy", str(file), "--socket", str(path), "--yes"]) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert "other.md" in shown


@pytest.mark.parametrize("label", ["", "a\nb", "x" * 201, "\udcff"])
def test_a_label_that_cannot_be_sent_is_refused(
    path: Path, policy: Path, capsys: pytest.CaptureFixture[str], label: str
) -> None:
    assert main(["enrol", "--label", label, "--policy", str(policy), "--socket", str(path), "--yes"]) == 2
    assert "printable" in capsys.readouterr().err


def test_a_refusal_of_the_service_is_shown_with_its_hint(
    path: Path, policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refusal: dict[str, list[Reply]] = {
        "EnrolRequest": [Failed("label 'anna' is already taken", "choose another label", 2)]
    }
    with service(path, refusal):
        assert (
            main(["enrol", "--label", "anna", "--policy", str(policy), "--socket", str(path), "--yes"]) == 2
        )
    shown = capsys.readouterr()
    assert shown.err.endswith("porter: label 'anna' is already taken\n  hint: choose another label\n")
    assert shown.out == ""


def test_the_patience_with_a_service_that_captures_is_enrolment_s_own(
    path: Path, policy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is longer than other commands': to give up would throw away what the person has given."""
    assert CAPTURE_SILENCE_S > SILENCE_S
    monkeypatch.setattr("device.commands.enrol.CAPTURE_SILENCE_S", 0.2)
    with service(path, {"EnrolRequest": []}):
        assert (
            main(["enrol", "--label", "anna", "--policy", str(policy), "--socket", str(path), "--yes"]) == 1
        )
    assert "said nothing for 0.2 s" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("stored", "said"), [([], "nothing is stored"), ([ANNA], "but 'anna' is enrolled: see porter subjects")]
)
def test_ctrl_c_cancels_the_enrolment_and_says_what_is_left(
    path: Path, policy: Path, stored: list[SubjectLine], said: str
) -> None:
    waiting: dict[str, list[Reply]] = {
        "EnrolRequest": [Progress("come closer", 1, 5, 90.0)],
        "SubjectsRequest": [Done(SubjectList(stored))],
    }
    words = ["enrol", "--label", "anna", "--policy", str(policy), "--socket", str(path), "--yes"]
    with service(path, waiting) as handler:
        process = subprocess.Popen(
            [*HEEDING, sys.executable, "-m", "device", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert "come closer" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, shown = process.communicate(timeout=20)
        assert process.returncode == 130, shown
        assert said in shown
        assert "Traceback" not in shown
    assert handler.scripts[0].cancels == 1


@pytest.mark.parametrize("how", [signal.SIGHUP, signal.SIGTERM, signal.SIGKILL])
def test_a_client_that_is_hung_up_on_or_killed_cancels_the_enrolment(
    path: Path, policy: Path, how: signal.Signals
) -> None:
    words = ["enrol", "--label", "anna", "--policy", str(policy), "--socket", str(path), "--yes"]
    with service(path, {"EnrolRequest": [Progress("come closer", 1, 5, 90.0)]}) as handler:
        process = subprocess.Popen([*HEEDING, sys.executable, "-m", "device", *words], stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert b"come closer" in process.stdout.readline()
        process.send_signal(how)
        process.communicate(timeout=20)
        assert handler.scripts[0].gone.wait(20)
    assert handler.scripts[0].cancels == 1


class Terminal(io.StringIO):
    """Text output that is a terminal."""

    def isatty(self) -> bool:
        return True


def test_on_a_terminal_the_progress_is_one_line_drawn_again() -> None:
    out = Terminal()
    view = enrol.ProgressView(out, columns=40)
    view.show(Progress("come closer", 0, 5, 90.0))
    view.show(Progress("turn your head a little, then back again", 3, 5, 80.4))
    view.finish(Enrolled(ANNA, SUMMARY))
    first, second = out.getvalue().split("\r\x1b[K")[1:]
    assert first == "0/5  come closer  (90 s left)"
    drawn, _, result = second.partition("\n")
    assert drawn == "3/5  turn your head a little, then back"
    assert result.startswith(enrol.sentence(ANNA) + "\nquality: usable")


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("utf-8", "front ✓ left › right · up –  1/5  come closer"),
        ("ascii", "front + left > right . up -  1/5  come closer"),
        ("latin-1", "front + left > right . up -  1/5  come closer"),
    ],
)
def test_poses_are_marked_with_signs_that_the_output_can_show(encoding: str, shown: str) -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding=encoding)
    view = enrol.ProgressView(out)
    for _ in range(2):
        view.show(Progress("come closer", 1, 5, 90.0, POSES))
    assert raw.getvalue().decode(encoding) == shown + "\n", "one line a change"


def test_where_nobody_else_is_enrolled_no_score_is_made_up() -> None:
    alone = dataclasses.replace(SUMMARY, nearest=None)
    assert "nearest other subject: nobody else is enrolled" in enrol.quality_lines(alone)


def test_where_no_part_is_weak_none_is_named() -> None:
    perfect = dataclasses.replace(SUMMARY, weakest_quality=1.0)
    assert "poses front, left; no weak part" in enrol.quality_lines(perfect)
