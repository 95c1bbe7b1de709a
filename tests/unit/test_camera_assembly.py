# SPDX-License-Identifier: Apache-2.0
"""From a configuration to the camera: which one, and what of its options needs it opened anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from device.adapters.camera_files import FilesCamera
from device.adapters.camera_picamera2 import Picamera2Camera
from device.adapters.camera_video import UsbCamera, VideoFileCamera
from device.adapters.clock import ManualClock
from device.camera_assembly import camera_info, make_camera, needs_another_camera, optics_settings
from device.errors import InputError
from device.optics import OpticsSettings
from device.options import CameraOptions, Config
from device.options_optics import OpticsOptions
from device.payloads import CameraInfo
from tests.pictures import save, save_gif, save_video

if TYPE_CHECKING:
    from pathlib import Path

    from device.ports import Camera

LORES = (320, 256)


def camera(source: str, path: str) -> Camera:
    options = msgspec.convert({"source": source, "path": path}, CameraOptions)
    return make_camera(Config(camera=options), ManualClock(), LORES)


def test_each_source_has_its_camera(tmp_path: Path) -> None:
    assert isinstance(camera("picamera2", "0"), Picamera2Camera)
    assert isinstance(camera("usb", "/dev/video0"), UsbCamera)
    assert isinstance(camera("files", str(tmp_path)), FilesCamera)
    assert isinstance(camera("files", str(save(tmp_path / "one.png"))), FilesCamera)
    assert isinstance(camera("files", str(save_gif(tmp_path / "some.gif", 2))), FilesCamera)
    assert isinstance(camera("files", str(save_video(tmp_path / "clip.mp4"))), VideoFileCamera)


def test_only_cameras_of_hardware_are_live(tmp_path: Path) -> None:
    """What is enrolled from files is marked simulated; both answers must agree."""
    for source, path in (("picamera2", "0"), ("usb", "/dev/video0"), ("files", str(tmp_path))):
        config = Config(camera=msgspec.convert({"source": source, "path": path}, CameraOptions))
        simulated = camera_info(config).simulated
        assert camera_info(config) == CameraInfo("cam0", source, simulated)
        assert camera(source, path).live == (not simulated)


def test_a_picture_without_settings_is_made_as_the_default_options_say() -> None:
    assert optics_settings(Config()) == OpticsSettings()


def test_every_option_of_the_picture_reaches_the_camera() -> None:
    """One that did not would leave the settings as they were."""
    others = {
        "focus": "manual",
        "lens_dioptres": 1.0,
        "exposure": "fixed",
        "ev": 1.0,
        "max_exposure_ms": 20.0,
        "exposure_ms": 5.0,
        "gain": 4.0,
        "metering": "spot",
        "mains_hz": 50,
        "hdr": "isp",
        "night": "always",
        "night_max_exposure_ms": 90.0,
        "night_below_lux": 20.0,
        "day_above_lux": 90.0,
        "night_dwell_s": 5.0,
    }
    assert set(others) == set(OpticsOptions.__struct_fields__)
    for name, value in others.items():
        options = msgspec.convert({name: value}, OpticsOptions)
        assert optics_settings(Config(optics=options)) != OpticsSettings(), name


@pytest.mark.parametrize(
    ("camera", "picture", "anew"),
    [
        ({}, {"ev": 1.0}, False),
        ({}, {"exposure": "fixed"}, True),
        ({}, {"hdr": "sensor"}, True),
        ({"source": "files", "path": "/x"}, {"hdr": "sensor"}, False),
        ({"rate_hz": 5.0}, {}, True),
    ],
)
def test_a_camera_is_opened_anew_only_for_what_it_cannot_take_over(
    camera: dict[str, object], picture: dict[str, object], anew: bool
) -> None:
    source = {name: camera[name] for name in ("source", "path") if name in camera}
    old = Config(camera=msgspec.convert(source, CameraOptions))
    new = Config(
        camera=msgspec.convert(camera, CameraOptions), optics=msgspec.convert(picture, OpticsOptions)
    )
    assert needs_another_camera(new, old) is anew


@pytest.mark.parametrize("path", ["/dev/video0", "", "one", "-1"])
def test_a_picamera2_camera_has_a_number(path: str) -> None:
    with pytest.raises(InputError, match="expected a camera number"):
        camera("picamera2", path)
