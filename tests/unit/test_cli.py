# SPDX-License-Identifier: Apache-2.0
"""`porter`: exit codes, help that teaches, and what becomes of an error."""

from __future__ import annotations

import argparse
import importlib
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from device import __version__
from device.cli import VERBS, main, run_guarded
from device.errors import ConfigError, GalleryLocked, HardwareError

if TYPE_CHECKING:
    from pathlib import Path


def help_of(*arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_without_a_verb_it_says_how_to_use_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    assert "usage: porter" in capsys.readouterr().err


def test_an_unknown_verb_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["enroll"])
    assert ended.value.code == 2
    assert "'enroll'" in capsys.readouterr().err


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(capsys=capsys)
    for name, verb in VERBS.items():
        assert f"  {name:<14}{verb.summary}" in text
    assert "To begin: `porter demo`" in text


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_every_verb_teaches(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(verb, capsys=capsys)
    assert text.startswith(f"usage: porter {verb}")
    told = (importlib.import_module(VERBS[verb].module).__doc__ or "").strip()
    assert len(told.split()) >= 5, "a sentence at least"
    assert " ".join(told.split()) in " ".join(text.split())


@pytest.mark.parametrize("verb", VERBS)
def test_every_argument_of_every_verb_is_explained(verb: str) -> None:
    parser = argparse.ArgumentParser()
    importlib.import_module(VERBS[verb].module).add_arguments(parser)
    assert not [action.dest for action in parser._actions if not action.help]


@pytest.mark.parametrize("verb", VERBS)
def test_an_unknown_argument_is_wrong_use(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([verb, "--no-such-argument"])
    assert ended.value.code == 2
    assert f"usage: porter {verb}" in capsys.readouterr().err


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"porter {__version__}\n"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (
            ConfigError("door.yaml", "camera.path", "expected a folder", hint="name one"),
            2,
            "porter: door.yaml: camera.path: expected a folder\n  hint: name one\n",
        ),
        (HardwareError("no camera"), 1, "porter: no camera\n"),
        (KeyboardInterrupt(), 130, "porter: interrupted\n"),
    ],
)
def test_a_known_error_is_a_line_and_a_hint(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(_: argparse.Namespace) -> int:
        raise error

    assert run_guarded(run, argparse.Namespace()) == code
    assert capsys.readouterr().err == said


def test_an_error_that_nobody_expected_keeps_its_traceback() -> None:
    def run(_: argparse.Namespace) -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_guarded(run, argparse.Namespace())


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    """`porter --help | head -1`, as far as Python lets us see it: the whole process."""
    program = "import sys; from device.cli import run_guarded\ndef run(_):\n    raise BrokenPipeError\n"
    program += "sys.exit(run_guarded(run, None))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_service_that_ends_with_an_error_leaves_it_in_systemds_status_line(tmp_path: Path) -> None:
    def run(_: argparse.Namespace) -> int:
        raise GalleryLocked("gallery.sqlite: does not open\nREADY=1", hint="restore the key")

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(5)
        # 2: the unit does not try again (RestartPreventExitStatus=), so nothing ends in a reboot.
        assert run_guarded(run, argparse.Namespace(notify_socket=str(tmp_path / "notify"))) == 2
        assert manager.recv(4096) == b"STATUS=gallery.sqlite: does not open?READY=1"
