# SPDX-License-Identifier: Apache-2.0
"""Cameras that need PyAV (the `video` extra): video files, and local USB cameras through V4L2.

There is no network source here and there cannot be one: the process that sees has no network. A path with a protocol
in front (`rtsp://`, `tcp:`, `concat:`) is refused before PyAV sees it; PyAV is given absolute paths only, the
protocol `file` only, and a list of containers that holds none of those that name other files (HLS, DASH, SDP, concat).
"""

from device.adapters.camera_video.file import VideoFileCamera
from device.adapters.camera_video.usb import UsbCamera

__all__ = ["UsbCamera", "VideoFileCamera"]
