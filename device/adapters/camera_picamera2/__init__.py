# SPDX-License-Identifier: Apache-2.0
"""The Raspberry Pi's CSI cameras, through the distribution's picamera2."""

from device.adapters.camera_picamera2.camera import Picamera2Camera

__all__ = ["Picamera2Camera"]
