# SPDX-License-Identifier: Apache-2.0
"""What holds between options, and what no configuration can ask for."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device import config
from device.errors import ConfigError
from device.option_docs import options_table


def refused_paths(text: str) -> list[str]:
    """Paths of the options that `text` has wrong."""
    with pytest.raises(ConfigError) as caught:
        config.parse(text, "porter.yaml")
    error = caught.value
    assert all(each.hint for each in (error, *error.others))
    return [each.path for each in (error, *error.others)]


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("recognition: {min_frames: 5, max_frames: 4}", ["recognition.max_frames"]),
        ("recognition: {min_frames: 11}", ["recognition.max_frames"]),
        ("recognition: {track_gap_s: 6}", ["recognition.visit_end_s"]),
        ("recognition: {threshold: 0.3, hysteresis: 0.11}", ["recognition.hysteresis"]),
        ("zone: {polygon: [[0, 0], [0.5, 0.5], [1, 1]]}", ["zone.polygon"]),
        ("zone: {polygon: [[0, 0], [0, 0], [0, 0]]}", ["zone.polygon"]),
        ("zone: {polygon: [[0, 0], [1, 1], [1, 0], [0, 1]]}", ["zone.polygon"]),
        ("zone: {min_face_px: 800}", ["zone.min_face_px"]),
        ("mqtt: {client_cert_file: /c.pem}", ["mqtt.client_key_file"]),
        ("mqtt: {client_key_file: /k.pem}", ["mqtt.client_cert_file"]),
        ("mqtt: {tls: false, ca_file: /ca.pem}", ["mqtt.ca_file"]),
        (
            "mqtt: {tls: false, client_cert_file: /c, client_key_file: /k}",
            ["mqtt.client_cert_file", "mqtt.client_key_file"],
        ),
        ("mqtt: {password_file: /run/p}", ["mqtt.username"]),
        ("mqtt: {host: 'mqtt://broker'}", ["mqtt.host"]),
        ("mqtt: {base: $SYS}", ["mqtt.base"]),
        ("mqtt: {base: a//b}", ["mqtt.base"]),
        ("mqtt: {base: a/}", ["mqtt.base"]),
        ("mqtt: {base: a/#}", ["mqtt.base"]),
        ("camera: {rate_hz: 0}", ["camera.rate_hz"]),
        ("camera: {rate_hz: 0.5}", ["camera.stall_after_s"]),
        ("optics: {night_below_lux: 60}", ["optics.day_above_lux"]),
        ("optics: {max_exposure_ms: 80}", ["optics.night_max_exposure_ms"]),
        ("optics: {night_max_exposure_ms: 500}\ncamera: {stall_after_s: 0.9}", ["camera.stall_after_s"]),
        (
            "optics: {exposure: fixed, exposure_ms: 1000}\ncamera: {stall_after_s: 1.9}",
            ["camera.stall_after_s"],
        ),
        ("camera: {source: usb}", ["camera.path"]),
        ("camera: {source: picamera2, path: /dev/video0}", ["camera.path"]),
        ("camera: {source: files}", ["camera.path"]),
        ("camera: {source: files, path: ''}", ["camera.path"]),
        ("camera: {name: cmd}", ["camera.name"]),
        ("device: {state_dir: ~/porter}", ["device.state_dir"]),
        ("device: {state_dir: ''}", ["device.state_dir"]),
        (f"device: {{run_dir: /{'r' * 90}}}", ["device.run_dir"]),
        ("models: {folder: ~/models}", ["models.folder"]),
    ],
)
def test_options_that_contradict_one_another_are_refused(text: str, paths: list[str]) -> None:
    assert refused_paths(text) == paths


@pytest.mark.parametrize(
    "text",
    [
        "recognition: {min_frames: 5, max_frames: 5}",
        "recognition: {track_gap_s: 5}",
        "optics: {night_below_lux: 50, day_above_lux: 60}",
        "optics: {max_exposure_ms: 66.6}",
        "optics: {exposure: auto, exposure_ms: 1000}\ncamera: {stall_after_s: 1.9}",
        "recognition: {threshold: 0.3, hysteresis: 0.1}",
        "zone: {polygon: [[0, 0], [1, 0], [0, 1]]}",
        "mqtt: {client_cert_file: /c.pem, client_key_file: /k.pem}",
        "mqtt: {host: '::1', base: site/a}",
        "mqtt: {username: porter, password_file: /run/p}",
        "camera: {source: files, path: ./a, rate_hz: 0}",
        "camera: {source: usb, path: /dev/video0}",
        "camera: {path: '1', rate_hz: 0.5, stall_after_s: 4}",
        "inference: {fallback: cpu}",
    ],
)
def test_options_that_agree_are_accepted(text: str) -> None:
    config.parse(text, "porter.yaml")


def test_a_rule_names_the_line_of_its_option_or_else_of_its_section() -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse("recognition:\n  min_frames: 11\nzone:\n  min_face_px: 900\n", "f")
    error = caught.value
    assert [(each.line, each.path) for each in (error, *error.others)] == [
        (1, "recognition.max_frames"),
        (4, "zone.min_face_px"),
    ]


# What Porter never does, as far as a configuration could ask for it.


@pytest.mark.parametrize("source", ["picamera2", "usb", "files"])
@pytest.mark.parametrize(
    "path",
    [
        "rtsp://camera/stream",
        "RTSPS://user:secret@camera/stream",
        "http://camera/snapshot.jpg",
        "https://camera/x.m3u8",
        "udp:239.0.0.1:1234",
        "tcp://10.0.0.1:80",
        "rtp://@:5004",
        "srt://host:1",
        "concat:http://a|http://b",
        "crypto+http://a",
        "subfile,,start,0,end,9,,:http://a/b",
        "file:///etc/passwd",
    ],
)
def test_frames_never_come_from_the_network(source: str, path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse(f"camera: {{source: {source}, path: '{path}'}}", "f")
    assert caught.value.path == "camera.path"
    assert "the process that sees has no network" in caught.value.hint
    assert "secret" not in str(caught.value)


@given(
    scheme=st.from_regex(r"[A-Za-z][A-Za-z0-9+.-]{0,12}", fullmatch=True),
    rest=st.from_regex(r"[a-z0-9/.]*", fullmatch=True),
)
def test_no_scheme_at_all_is_taken_for_a_camera(scheme: str, rest: str) -> None:
    assert refused_paths(f"camera: {{source: files, path: '{scheme}:{rest}'}}") == ["camera.path"]


def test_a_file_named_with_a_colon_can_still_be_played() -> None:
    text = "camera: {source: files, path: './12:30 door.mp4'}"
    assert config.parse(text, "f").camera.path == "./12:30 door.mp4"


@pytest.mark.parametrize("source", ["rtsp", "http", "onvif", "mqtt", "ip", "url", "network"])
def test_there_is_no_network_camera_source(source: str) -> None:
    assert refused_paths(f"camera: {{source: {source}}}") == ["camera.source"]


@given(threshold=st.floats(max_value=0.3, exclude_max=True, allow_nan=False, min_value=-10))
def test_a_threshold_below_0_3_is_refused(threshold: float) -> None:
    assert "recognition.threshold" in refused_paths(f"recognition: {{threshold: {threshold!r}}}")


def test_a_consent_never_lasts_longer_than_three_years() -> None:
    assert refused_paths("enrolment: {consent_months: 37}") == ["enrolment.consent_months"]
    assert config.parse("", "f").enrolment.consent_months == 12


def test_a_detector_score_low_enough_to_template_everything_is_refused() -> None:
    assert refused_paths("detection: {score_threshold: 0.1}") == ["detection.score_threshold"]


def test_no_option_is_about_keeping_pictures_strangers_traits_or_enrolling_from_afar() -> None:
    """A reviewer who adds such an option has to change this list, and so to say why."""
    forbidden = {
        *("image", "images", "picture", "pictures", "photo", "photos", "snapshot", "snapshots", "thumbnail"),
        *(
            "clip",
            "clips",
            "record",
            "recording",
            "stream",
            "streams",
            "video",
            "crop",
            "crops",
            "debug",
            "dump",
        ),
        *("stranger", "strangers", "unknown", "unknowns", "watchlist", "blocklist", "blacklist", "whitelist"),
        *("age", "sex", "gender", "ethnicity", "emotion", "gait", "traits"),
        *(
            "url",
            "uri",
            "rtsp",
            "http",
            "onvif",
            "remote",
            "import",
            "export",
            "upload",
            "share",
            "sync",
            "cloud",
        ),
    }
    for option in options_table():
        words = set(re.split(r"[_.]", option.path)) - (
            {"age"} if option.path == "events.live_max_age_s" else set()
        )
        assert not words & forbidden, option.path


def test_the_defaults_are_the_private_ones() -> None:
    found = config.parse("", "f")
    assert found.mqtt.tls is True
    assert found.events.publish_labels is False
    assert found.camera.source == "picamera2"
    assert found.inference.fallback == "none"
