# SPDX-License-Identifier: Apache-2.0
"""What holds between options: the rules that one option's declaration cannot say.

Each rule tells which option to change. They look at values only, never at the file system.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from device.options import Config

PATHS = (
    "device.state_dir",
    "device.run_dir",
    "camera.path",
    "models.folder",
    "mqtt.ca_file",
    "mqtt.client_cert_file",
    "mqtt.client_key_file",
    "mqtt.password_file",
    "metrics.textfile",
)
# How FFmpeg (under PyAV) tells a protocol from a file name: url_find_protocol in libavformat/avio.c.
PROTOCOL = re.compile(r"[A-Za-z0-9+.-]+(:|,.*:)")
TOPIC_LEVELS = frozenset({"status", "info", "alert", "health", "cmd"})
LOWEST_EDGE = 0.2  # of the score at which a visit goes on: below it, strangers would keep one alive

Violation = tuple[str, str, str]
"""An option's path, what is expected of its value, and the hint."""


def value_of(config: Config, path: str) -> Any:
    """The value of `section.option`."""
    section, name = path.split(".")
    return getattr(getattr(config, section), name)


def rules(config: Config) -> Iterator[Violation]:
    """What holds between options; each option is within its own limits already."""
    yield from _path_rules(config)
    yield from _camera_rules(config)
    yield from _optics_rules(config)
    yield from _recognition_rules(config)
    yield from _mqtt_rules(config)


def _path_rules(config: Config) -> Iterator[Violation]:
    for path in PATHS:
        value = value_of(config, path)
        if value.startswith("~"):
            yield (
                path,
                "expected a path, got one that begins with ~",
                "write the path in full, from / on",
            )


def _camera_rules(config: Config) -> Iterator[Violation]:
    camera = config.camera
    if PROTOCOL.match(camera.path):
        hint = "the process that sees has no network: play a local file (one named with a colon: ./name)"
        yield "camera.path", "expected a local device, folder or file, got an address", hint
    elif camera.source == "picamera2" and not re.fullmatch(r"[0-9]", camera.path):
        yield "camera.path", "expected the camera's number for `picamera2`", "the first camera is 0"
    elif camera.source == "usb" and not camera.path.startswith("/dev/"):
        yield (
            "camera.path",
            "expected a device under /dev for `usb`",
            "e.g. /dev/video0; `ls /dev/video*` lists them",
        )
    elif camera.source == "files" and camera.path in {"", "0"}:
        yield (
            "camera.path",
            "expected a folder or a file for `files`",
            "name the pictures or the video to play",
        )
    if camera.rate_hz == 0 and camera.source != "files":
        yield (
            "camera.rate_hz",
            "expected more than 0 Hz",
            "0 (as fast as possible) is for `camera.source: files`",
        )
    elif camera.rate_hz and camera.stall_after_s < 2 / camera.rate_hz:
        need = f"expected at least {2 / camera.rate_hz:.3g} s (two frames) at {camera.rate_hz:g} Hz"
        yield "camera.stall_after_s", need, "raise it, or raise camera.rate_hz"
    if camera.name in TOPIC_LEVELS:
        hint = "choose another name, e.g. cam0"
        yield "camera.name", "expected a name that is not a topic of the device itself", hint


def _optics_rules(config: Config) -> Iterator[Violation]:
    optics = config.optics
    if optics.day_above_lux < 1.2 * optics.night_below_lux:
        need = f"expected at least {1.2 * optics.night_below_lux:g} lux (1.2 times optics.night_below_lux)"
        yield "optics.day_above_lux", need, "closer together, dusk would make it change all the time"
    if optics.night_max_exposure_ms < optics.max_exposure_ms:
        need = f"expected at least optics.max_exposure_ms ({optics.max_exposure_ms:g} ms)"
        yield "optics.night_max_exposure_ms", need, "night is when it may expose longer: raise it"
    fixed = optics.exposure == "fixed"
    longest_ms = optics.exposure_ms if fixed else optics.night_max_exposure_ms
    if config.camera.stall_after_s < 2 * longest_ms / 1000:
        need = f"expected at least {2 * longest_ms / 1000:g} s (two frames of {longest_ms:g} ms)"
        yield "camera.stall_after_s", need, "raise it, or expose shorter (optics)"


def _recognition_rules(config: Config) -> Iterator[Violation]:
    camera, zone, recognition = config.camera, config.zone, config.recognition
    if _area(zone.polygon) < 1e-6:
        hint = "give the corners in order around the zone"
        yield "zone.polygon", "expected corners that enclose an area, got one of 0", hint
    if zone.min_face_px > min(camera.width_px, camera.height_px):
        hint = "no face would ever be large enough: lower it"
        yield (
            "zone.min_face_px",
            f"expected at most the picture's {camera.width_px}x{camera.height_px} px",
            hint,
        )
    if recognition.max_frames < recognition.min_frames:
        need = f"expected at least recognition.min_frames ({recognition.min_frames})"
        yield (
            "recognition.max_frames",
            need,
            "a decision needs min_frames samples: raise max_frames or lower the other",
        )
    if recognition.visit_end_s < recognition.track_gap_s:
        need = f"expected at least recognition.track_gap_s ({recognition.track_gap_s:g} s)"
        yield "recognition.visit_end_s", need, "a track never outlives its visit: raise it"
    threshold = recognition.threshold
    if threshold is not None and round(threshold - recognition.hysteresis, 6) < LOWEST_EDGE:
        need = f"expected at most {threshold - LOWEST_EDGE:.2f} at a threshold of {threshold:g}"
        yield "recognition.hysteresis", need, "below a score of 0.2 nobody is told apart: lower it"


def _area(polygon: list[list[float]]) -> float:
    """Area of a polygon by the shoelace formula, as a share of the picture."""
    pairs = zip(polygon, polygon[1:] + polygon[:1], strict=True)
    return abs(sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in pairs)) / 2


def _mqtt_rules(config: Config) -> Iterator[Violation]:
    mqtt = config.mqtt
    if bool(mqtt.client_cert_file) != bool(mqtt.client_key_file):
        missing = "mqtt.client_key_file" if mqtt.client_cert_file else "mqtt.client_cert_file"
        yield missing, "expected a file: a client certificate and its key go together", "give both or neither"
    if not mqtt.tls:
        for name in ("ca_file", "client_cert_file", "client_key_file"):
            if getattr(mqtt, name):
                yield (
                    f"mqtt.{name}",
                    "expected nothing while mqtt.tls is false",
                    "set `tls: true`, or remove it",
                )
    if mqtt.password_file and not mqtt.username:
        yield (
            "mqtt.username",
            "expected a user name beside mqtt.password_file",
            "MQTT 3.1.1 has no password without one",
        )
