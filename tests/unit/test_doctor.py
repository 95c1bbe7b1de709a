# SPDX-License-Identifier: Apache-2.0
"""`porter doctor`: what it finds wrong, what it expects, and its exit code."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
import pytest

from device.cli import main
from device.control import Done
from device.records import Expected
from tests.scripted_service import STATUS, service
from tests.unit.test_tls_files import PEM

if TYPE_CHECKING:
    from pathlib import Path

HEALTHY = msgspec.structs.replace(
    STATUS,
    troubles=[],
    simulated=False,
    subjects=4,
    expected=Expected(0.47, 4, 2.5e-5, (1e-5, 6e-5), 1e-4, (4e-5, 2.4e-4), 0.005, (0.002, 0.011), False),
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "porter.yaml"
    file.write_text(f"device: {{state_dir: {tmp_path}, run_dir: {tmp_path}}}\n")
    return file


def test_a_healthy_device_is_told_what_to_expect(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with service(tmp_path / "control.sock", {"StatusRequest": [Done(HEALTHY)]}):
        assert main(["doctor", "--config", str(config)]) == 0
    out = capsys.readouterr().out
    assert "gallery of 4: a match needs a score of 0.470 (for 1 in 10,000)" in out
    assert "a stranger's visit ends in a match     1 in 10,000  (95 %: 1 in 25,000 to 1 in 4,200)" in out
    assert "a subject's first look is missed       0.5 % (0.2 to 1.1)" in out
    assert "were not counted, but continued" in out
    assert "no commercial conclusion" in out


def test_a_service_that_does_not_run_is_wrong_and_the_rest_is_looked_at_all_the_same(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--config", str(config)]) == 1
    out = capsys.readouterr().out
    assert "wrong service" in out
    assert "ok    models   sface (dynamic) is what its manifest says" in out
    assert "by gallery size" in out


def test_what_so_many_subjects_would_mean_needs_no_service(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--config", str(config), "--subjects", "50"]) == 0
    assert "gallery of 50: a match needs" in capsys.readouterr().out


def test_troubles_are_wrong_and_bring_their_hints(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ill = msgspec.structs.replace(HEALTHY, troubles=STATUS.troubles, frames=0)
    with service(tmp_path / "control.sock", {"StatusRequest": [Done(ill)]}):
        assert main(["doctor", "--config", str(config)]) == 1
    out = capsys.readouterr().out
    assert "wrong service  clock_unsynced" in out
    assert "timedatectl" in out
    assert "no frame from cam0 yet" in out


def test_a_ledger_that_was_changed_is_wrong(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "consent-ledger.jsonl").write_text('{"seq":1}\n')
    with service(tmp_path / "control.sock", {"StatusRequest": [Done(HEALTHY)]}):
        assert main(["doctor", "--config", str(config)]) == 1
    assert "wrong ledger" in capsys.readouterr().out


def test_more_subjects_need_a_higher_score_and_json_has_it_all(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with service(tmp_path / "control.sock", {"StatusRequest": [Done(HEALTHY)]}):
        assert main(["doctor", "--config", str(config), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    sizes = [(each["subjects"], each["threshold"]) for each in report["sizes"]]
    assert [size for size, _ in sizes] == [1, 10, 50, 100, 250, 500]
    assert [score for _, score in sizes] == sorted(score for _, score in sizes)
    assert sizes[0][1] < sizes[-1][1]
    assert report["expected"]["subjects"] == 4
    assert report["target_fpir"] == 1e-4


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
