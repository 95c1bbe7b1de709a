# SPDX-License-Identifier: Apache-2.0
"""`porter enrol`, `subjects`, `withdraw`, `status`, `pause` and `resume`, against a service that follows a script."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from device.adapters.control_socket import ControlServer
from device.cli import main
from device.commands import common, enrol, subjects
from device.control import (
    Done,
    Enrolled,
    EnrolRequest,
    Failed,
    PauseRequest,
    Peer,
    Progress,
    Receipt,
    Renamed,
    RenameRequest,
    Renewed,
    RenewRequest,
    Reply,
    Request,
    ServiceStatus,
    SubjectLine,
    SubjectList,
    Switched,
    Withdrawn,
    WithdrawRequest,
)
from device.payloads import ModelInfo, Trouble
from device.records import EnrolmentSummary
from device.supervisor import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from device.records import PoseName, PoseState

ANNA = SubjectLine(
    "anna", "p_12ab34cd", 5, "c_1", "door", "ab" * 32, "alice", "2026-11-23", "2027-11-23", 365
)
RECEIPT = Receipt("p_12ab34cd", "c_1", 5, "2026-11-23T10:00:00.000Z", "synced", 3, "ef" * 32)
SUMMARY = EnrolmentSummary(
    5, ("front", "left"), "exposure", 0.65, 0.93, 0.21, "usable", "usable, but exposure was only fair"
)
POSES: dict[PoseName, PoseState] = {"front": "given", "left": "asked", "right": "open", "up": "skipped"}
STATUS = ServiceStatus(
    state="running",
    camera="cam0",
    source="files",
    simulated=True,
    fps=9.83,
    frames=1234,
    faces_seen=56,
    embedded=12,
    strangers=3,
    subjects=4,
    present=1,
    models=[ModelInfo("sface", "embedder", "cpu", "ab" * 32, "cpu")],
    troubles=[
        Trouble("clock_unsynced", "the clock is not synchronised", "timedatectl", "2026-11-23T10:00:00.000Z")
    ],
    uptime_s=3723.4,
    threshold=0.5,
    expected=None,
)


class Script:
    """One conversation."""

    def __init__(self, replies: Sequence[Reply]) -> None:
        self.replies = list(replies)
        self.cancels = 0
        self.gone = threading.Event()

    def poll(self) -> Sequence[Reply]:
        said, self.replies = self.replies, []
        return said

    def cancel(self) -> None:
        self.cancels += 1
        self.gone.set()


class Service:
    """A handler that answers by the type of the request."""

    def __init__(self, answers: Mapping[str, Sequence[Reply]]) -> None:
        self.answers = answers
        self.seen: list[Request] = []
        self.scripts: list[Script] = []

    def __call__(self, request: Request, peer: Peer) -> Script:
        self.seen.append(request)
        self.scripts.append(Script(self.answers[type(request).__name__]))
        return self.scripts[-1]


@contextmanager
def service(path: Path, answers: Mapping[str, Sequence[Reply]]) -> Iterator[Service]:
    handler = Service(answers)
    server = ControlServer(path, handler)
    worker = Worker("control", lambda: server.step(0.01), cleanup=server.close)
    worker.start()
    try:
        yield handler
    finally:
        worker.stop()
        assert worker.join(5)
        assert worker.failure is None


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    file = tmp_path / "policy.md"
    file.write_bytes("We keep five numbers about your face.\r\nÜber uns.\n".encode())
    return file


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A terminal for standard input; what is written to the returned descriptor is typed there."""
    keyboard, terminal = os.openpty()
    with open(terminal, encoding="utf-8") as stdin:  # noqa: PTH123  a descriptor, not a path
        monkeypatch.setattr(sys, "stdin", stdin)
        yield keyboard
    os.close(keyboard)


@pytest.fixture
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("yes\n"))


ENROLLING: dict[str, list[Reply]] = {
    "EnrolRequest": [
        Progress("come closer", 0, 5, 90.0),
        Progress("come closer", 0, 5, 89.0),
        Progress("hold still", 3, 5, 80.0),
        Done(Enrolled(ANNA, SUMMARY)),
    ],
    "SubjectsRequest": [Done(SubjectList([ANNA]))],
    "WithdrawRequest": [Done(Withdrawn(ANNA, RECEIPT))],
    "RenewRequest": [Done(Renewed(ANNA))],
    "RenameRequest": [Done(Renamed(ANNA))],
}


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
            [sys.executable, "-m", "device", *words],
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
        process = subprocess.Popen([sys.executable, "-m", "device", *words], stdout=subprocess.PIPE)
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
