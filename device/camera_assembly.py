# SPDX-License-Identifier: Apache-2.0
"""From a `Config` to the camera and its capture thread, not yet started."""

from __future__ import annotations

from typing import TYPE_CHECKING

from device.adapters.camera_files import FilesCamera, kind_of
from device.capture import Capture
from device.daylight import DaylightRule
from device.errors import InputError
from device.optics import Optics, OpticsSettings
from device.payloads import CameraInfo
from device.supervisor import Worker

if TYPE_CHECKING:
    from device.options import Config
    from device.ports import Camera, Clock
    from device.records import Frame
    from device.supervisor import LatestSlot
    from device.troubles import Troubles


def optics_settings(config: Config) -> OpticsSettings:
    """The section `optics` in plain values."""
    optics = config.optics
    return OpticsSettings(
        focus=optics.focus,
        lens_dioptres=optics.lens_dioptres,
        exposure=optics.exposure,
        ev=optics.ev,
        max_exposure_ms=optics.max_exposure_ms,
        exposure_ms=optics.exposure_ms,
        gain=optics.gain,
        metering=optics.metering,
        mains_hz=optics.mains_hz,
        hdr=optics.hdr,
        night_max_exposure_ms=optics.night_max_exposure_ms,
        daylight=DaylightRule(
            optics.night, optics.night_below_lux, optics.day_above_lux, round(optics.night_dwell_s * 1e9)
        ),
    )


def needs_another_camera(new: Config, old: Config) -> bool:
    """Whether a changed configuration wants the camera opened anew; the rest of `optics` it takes over as it runs."""
    if (new.camera, new.models) != (old.camera, old.models):
        return True
    reopen = optics_settings(old).needs_reopening(optics_settings(new))
    return reopen and new.camera.source == "picamera2"


def make_camera(
    config: Config, clock: Clock, lores_px: tuple[int, int], optics: Optics | None = None
) -> Camera:
    """The configured camera, not yet open. Only the adapter that is asked for is imported."""
    options = config.camera
    size = options.width_px, options.height_px
    if options.source == "picamera2":
        from device.adapters.camera_picamera2 import Picamera2Camera

        return Picamera2Camera(
            camera_number(options.path),
            clock,
            *size,
            lores_px=lores_px,
            rate_hz=options.rate_hz,
            optics=optics or Optics(optics_settings(config)),
        )
    if options.source == "usb":
        from device.adapters.camera_video import UsbCamera

        return UsbCamera(options.path, clock, *size, lores_px=lores_px, rate_hz=options.rate_hz)
    if kind_of(options.path) == "video":
        from device.adapters.camera_video import VideoFileCamera

        return VideoFileCamera(
            options.path, clock, *size, lores_px=lores_px, rate_hz=options.rate_hz, loop=options.loop
        )
    return FilesCamera(
        options.path, clock, *size, lores_px=lores_px, rate_hz=options.rate_hz, loop=options.loop
    )


def camera_number(path: str) -> int:
    """`camera.path` of a picamera2 camera: its number, as `rpicam-hello --list-cameras` counts them."""
    if not path.isdecimal():
        raise InputError(
            f"camera.path: {path!r}: expected a camera number with source picamera2",
            hint="0 is the first camera; `rpicam-hello --list-cameras` shows them",
        )
    return int(path)


def camera_info(config: Config) -> CameraInfo:
    """What subscribers are told of the camera."""
    options = config.camera
    return CameraInfo(name=options.name, source=options.source, simulated=options.source == "files")


def make_capture(
    config: Config, clock: Clock, lores_px: tuple[int, int], slot: LatestSlot[Frame], troubles: Troubles
) -> Capture:
    """What the capture thread does with the configured camera."""
    optics = Optics(optics_settings(config))
    camera = make_camera(config, clock, lores_px, optics)
    return Capture(camera, slot, troubles, stall_after_s=config.camera.stall_after_s, optics=optics)


def capture_worker(capture: Capture, config: Config) -> Worker:
    """The thread of a capture; one that ended is followed by another for the same capture."""
    # A camera may take its time to open, and a frame may take until it counts as stalled.
    patience_s = config.camera.stall_after_s + 20.0
    return Worker("capture", capture.step, cleanup=capture.close, patience_s=patience_s)
