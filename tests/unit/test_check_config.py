# SPDX-License-Identifier: Apache-2.0
"""`porter check-config`, through the command line itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from device import cli, config

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def written(folder: Path, text: str) -> str:
    """The path of a file with `text`."""
    path = folder / "porter.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_good_file_is_ok_with_a_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, "mqtt: {tls: false}\nevents: {publish_labels: true}\n")
    assert cli.main(["check-config", path]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{path}: ok\n  camera  cam0: picamera2 0, 1280x720, 10 Hz\n")
    assert "note    mqtt.tls is false" in out
    assert "note    mqtt.port 8883 is usually TLS" in out
    assert "note    events.publish_labels is true" in out


def test_optics_of_a_camera_that_has_none_are_noted_and_so_is_a_passing_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, "camera: {source: usb, path: /dev/video0}\noptics: {ev: 1}\n")
    assert cli.main(["check-config", path]) == 0
    out = capsys.readouterr().out
    assert "note    optics is for camera.source picamera2: with usb none of it has an effect" in out
    assert "note    camera.path /dev/video0 may be another camera after a start" in out
    path = written(tmp_path, "camera: {source: usb, path: /dev/v4l/by-id/usb-Maker_Camera-video-index0}\n")
    assert cli.main(["check-config", path]) == 0
    assert "note    camera" not in capsys.readouterr().out


def test_show_prints_the_configuration_in_effect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, "camera: {rate_hz: 5}\n")
    assert cli.main(["check-config", path, "--show"]) == 0
    shown = capsys.readouterr().out
    shown = shown[shown.index("device:\n") :]
    assert "  rate_hz: 5.0\n" in shown
    assert config.parse(shown, "shown") == config.load(tmp_path / "porter.yaml")


def test_a_bad_file_exits_2_with_every_problem_and_no_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, "camera: {rate_hz: 500}\nmqtt: {port: 0}\n")
    assert cli.main(["check-config", path]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert (
        lines[0]
        == f"porter: {path}:1: camera.rate_hz: expected a number from 0 to 120 Hz, got the number 500"
    )
    assert lines[1].startswith("  hint: ")
    assert lines[2].startswith(f"{path}:2: mqtt.port: expected a whole number from 1 to 65535")
    assert len(lines) == 4


def test_json_is_one_object_for_good_and_bad_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, "camera: {rate_hz: 500}\nmqtt: {port: 0}\n")
    assert cli.main(["check-config", path, "--json"]) == 2
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is False
    assert [(each["line"], each["path"]) for each in answer["problems"]] == [
        (1, "camera.rate_hz"),
        (2, "mqtt.port"),
    ]
    assert set(answer["problems"][0]) == {"line", "path", "expected", "hint"}

    path = written(tmp_path, "camera: {rate_hz: 5}\n")
    assert cli.main(["check-config", path, "--json", "--show"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["file"], answer["ok"], answer["problems"], answer["notes"]) == (path, True, [], [])
    assert answer["config"]["camera"]["rate_hz"] == 5.0


def test_a_missing_file_exits_2_with_a_hint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check-config", str(tmp_path / "none.yaml")]) == 2
    assert "there is no such file\n  hint: " in capsys.readouterr().err
