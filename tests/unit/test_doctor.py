# SPDX-License-Identifier: Apache-2.0
"""`porter doctor`: what it finds on the whole, what it expects, its two forms and its exit code."""

from __future__ import annotations

import argparse
import json
import socket
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import msgspec
import pytest

from device import __version__
from device.adapters.clock import SystemClock
from device.cli import main
from device.commands import doctor
from device.config import load
from device.control import Done
from device.folders import FORWARD, FORWARDER
from device.payloads import ForwarderState
from device.records import Expected
from device.shared_record import SharedRecord
from tests.scripted_service import STATUS, service
from tests.unit.test_checkup_services import systemd
from tests.unit.test_tls_files import PEM

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from device.commands.doctor import Report
    from device.control import ServiceStatus

HEALTHY = msgspec.structs.replace(
    STATUS,
    troubles=[],
    simulated=False,
    source="picamera2",
    subjects=4,
    expected=Expected(0.47, 4, 2.5e-5, (1e-5, 6e-5), 1e-4, (4e-5, 2.4e-4), 0.005, (0.002, 0.011), False),
    firmware=__version__,
)


@contextmanager
def device(folder: Path, status: ServiceStatus = HEALTHY) -> Iterator[Path]:
    """A device in a folder, with both services and a broker; yields its configuration."""
    with ExitStack() as parts:
        port = parts.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
        (folder / FORWARD).mkdir()
        record = SharedRecord(folder / FORWARD / FORWARDER, ForwarderState)
        record.show(
            ForwarderState(SystemClock().now().boot_ns, f"127.0.0.1:{port}", "connected", [], __version__)
        )
        file = folder / "porter.yaml"
        folders = f"device: {{state_dir: {folder}, run_dir: {folder}}}\n"
        file.write_text(f"{folders}mqtt: {{host: 127.0.0.1, port: {port}, tls: false}}\n")
        parts.enter_context(service(folder / "control.sock", {"StatusRequest": [Done(status)]}))
        yield file


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Without any service."""
    file = tmp_path / "porter.yaml"
    file.write_text(f"device: {{state_dir: {tmp_path}, run_dir: {tmp_path}}}\n")
    return file


def report(folder: Path, config: Path) -> Report:
    """On a made-up system."""
    args = argparse.Namespace(config=config, socket=None, subjects=None, json=False)
    return doctor.report(args, load(config), systemd(folder / "root"))


def test_a_healthy_device_is_told_what_to_expect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with device(tmp_path) as config:
        main(["doctor", "--config", str(config)])
    out = capsys.readouterr().out
    assert "gallery of 4: a match needs a score of 0.470 (for 1 in 10,000)" in out
    assert "a stranger's visit ends in a match     1 in 10,000  (95 %: 1 in 25,000 to 1 in 4,200)" in out
    assert "a subject's first look is missed       0.5 % (0.2 to 1.1)" in out
    assert "were not counted, but continued" in out
    assert "no commercial conclusion" in out


def test_a_healthy_device_is_well_wherever_the_test_does_not_run_on_one(tmp_path: Path) -> None:
    with device(tmp_path) as config:
        found = report(tmp_path, config)
    here = ("clock", "versions")  # this machine's own time and camera software
    bad = [each for each in found.findings if each.level == "wrong" and each.what not in here]
    assert not bad
    well = {each.what for each in found.findings if each.level == "ok"}
    assert well >= {"service", "camera", "zone", "models", "delegate", "gallery", "broker", "disk", "units"}


def test_every_subject_is_looked_at_in_order_and_counted(tmp_path: Path) -> None:
    with device(tmp_path) as config:
        found = report(tmp_path, config)
    order = list(dict.fromkeys(each.what for each in found.findings))
    assert order == doctor.ORDER
    assert sum(found.counts.values()) == len(found.findings)
    *_, last = doctor.text(found)
    assert last == f"{found.counts['ok']} ok, {found.counts['note']} note, {found.counts['wrong']} wrong"


def test_a_service_that_does_not_run_is_wrong_and_the_rest_is_looked_at_all_the_same(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--config", str(config)]) == 1
    out = capsys.readouterr().out
    assert "wrong service" in out
    assert "ok    models   sface (dynamic) is what its manifest says" in out
    assert "by gallery size" in out


def test_what_so_many_subjects_would_mean_needs_no_service_and_no_device(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--config", str(config), "--subjects", "50", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["expected"]["subjects"] == 50
    assert {each["what"] for each in found["findings"]} <= {"config", "service", "models"}
    assert main(["doctor", "--config", str(config), "--subjects", "50"]) == 0
    assert "gallery of 50: a match needs" in capsys.readouterr().out


def test_troubles_are_wrong_and_bring_their_hints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ill = msgspec.structs.replace(HEALTHY, troubles=STATUS.troubles, frames=0)
    with device(tmp_path, ill) as config:
        assert main(["doctor", "--config", str(config)]) == 1
    out = capsys.readouterr().out
    assert "wrong service  clock_unsynced" in out
    assert "timedatectl" in out
    assert "no frame from cam0 yet" in out


def test_what_others_say_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    loud = msgspec.structs.replace(HEALTHY, camera="c\x1b[2J")
    with device(tmp_path, loud) as config:
        lines = "\n".join(doctor.text(report(tmp_path, config)))
    assert "c?[2J gives" in lines
    assert "\x1b" not in lines


def test_a_ledger_that_was_changed_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "consent-ledger.jsonl").write_text('{"seq":1}\n')
    with device(tmp_path) as config:
        assert main(["doctor", "--config", str(config)]) == 1
    assert "wrong ledger" in capsys.readouterr().out


def test_json_has_all_of_it_in_the_documented_form(tmp_path: Path) -> None:
    with device(tmp_path) as config:
        found = json.loads(msgspec.json.encode(report(tmp_path, config)))
    assert (found["v"], found["device"], found["firmware"]) == (1, "porter-01", __version__)
    assert found["at"].endswith("Z")
    assert set(found["counts"]) == {"ok", "note", "wrong"}
    assert all(set(each) == {"what", "level", "text", "hint"} for each in found["findings"])
    sizes = [(each["subjects"], each["threshold"]) for each in found["sizes"]]
    assert [size for size, _ in sizes] == [1, 10, 50, 100, 250, 500]
    assert [score for _, score in sizes] == sorted(score for _, score in sizes)
    assert sizes[0][1] < sizes[-1][1]
    assert found["expected"]["subjects"] == 4
    assert found["target_fpir"] == 1e-4


@pytest.mark.parametrize("number", ["0", "501"])
def test_a_gallery_that_cannot_be_is_wrong_use(
    config: Path, number: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--config", str(config), "--subjects", number]) == 2
    assert "expected 1 to 500" in capsys.readouterr().err


def test_certificates_are_looked_at_and_secrets_that_lie_open_are_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ca, key = tmp_path / "ca.pem", tmp_path / "own.key"
    ca.write_text(PEM)
    key.write_text("none")
    key.chmod(0o644)
    file = tmp_path / "porter.yaml"
    folders = f"device: {{id: lobby-01, state_dir: {tmp_path}, run_dir: {tmp_path}}}\n"
    file.write_text(f"{folders}mqtt: {{ca_file: {ca}}}\n")
    main(["doctor", "--config", str(file)])
    assert f"{ca} ends on 2126-10-30" in capsys.readouterr().out
    file.write_text(f"{folders}mqtt: {{ca_file: {ca}, client_cert_file: {ca}, client_key_file: {key}}}\n")
    assert main(["doctor", "--config", str(file)]) == 1
    said = capsys.readouterr().out
    assert f"{key}: every user of this device may read it" in said
    assert f"{ca}: expected a certificate in PEM form, and its unencrypted key in {key}" in said
