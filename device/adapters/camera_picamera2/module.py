# SPDX-License-Identifier: Apache-2.0
"""What Porter asks of the picamera2 module besides a camera, and what has to be tidied up behind it."""

from __future__ import annotations

import importlib
import os
from contextlib import suppress
from typing import Any

from device.daylight import lux_of

MANY_ERRORS = (RuntimeError, OSError, ValueError, LookupError)  # picamera2 has no error class of its own


def import_picamera2() -> Any:
    """The distribution's picamera2 module; in a virtual environment it needs the system's site packages."""
    return importlib.import_module("picamera2")


def opened(picamera2: Any, number: int) -> Any:
    """A new Picamera2. Where its constructor fails, what that had opened is closed, which it does not do itself.

    It makes a pipe first and then looks for the camera. One file lost with each try (measured with 0.3.38) would end a
    service that waits for its camera after half a day of them.
    """
    kind = picamera2.Picamera2
    camera = kind.__new__(kind)
    try:
        camera.__init__(number)
    except BaseException:
        if getattr(camera, "is_open", False):
            with suppress(
                *MANY_ERRORS
            ):  # the camera is given back before this fails: it was registered nowhere yet
                camera.close()
            camera.is_open = False  # or its destructor would try once more
        if hasattr(camera, "notifyme_w"):
            with suppress(OSError):
                os.close(camera.notifyme_w)
        raise
    return camera


def forget_cameras(picamera2: Any) -> None:
    """Has picamera2 look anew which cameras there are: it keeps libcamera's list, and a camera may come later."""
    manager = getattr(picamera2.Picamera2, "_cm", None)
    if manager is not None and not manager.cameras:  # somebody else's camera would lose its manager
        manager.reset()


def switch_sensor_hdr(number: int) -> None:
    """Has the sensor itself make HDR from now on, by picamera2's helper; of Raspberry Pi's cameras the IMX708 can.

    It goes over the sensor's V4L2 node, so it is done before the camera is opened. Raises one of MANY_ERRORS.
    """
    try:
        helper = importlib.import_module("picamera2.devices.imx708")
    except (
        ImportError,
        AttributeError,
    ) as error:  # older than 0.3.21; its neighbours want libraries of their own
        raise RuntimeError(str(error)) from error
    with helper.IMX708(number) as sensor:
        sensor.set_sensor_hdr_mode(True)


def light_of(metadata: dict[str, Any], mean_luma: float) -> float | None:
    """The light on the scene in lux; None where the camera says nothing that tells."""
    gain = metadata.get("AnalogueGain", 0.0) * metadata.get("DigitalGain", 1.0)
    return lux_of(metadata.get("Lux"), metadata.get("ExposureTime"), gain, mean_luma)
