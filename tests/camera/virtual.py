# SPDX-License-Identifier: Apache-2.0
"""The real picamera2, as far as libcamera's virtual pipeline wants it otherwise than a Pi does; nothing else differs.

That pipeline has no raw stream to ask for the sensor's modes, its buffers are libcamera's own (picamera2's have one
plane where NV12 has two), and it grants NV12 where RGB is asked.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any
from unittest import mock

# What picamera2 imports without condition and Porter never uses: previews on a screen, raw files, the IMX500's tensors.
for unused in ("pykms", "pidng", "pidng.camdefs", "pidng.core", "Imath", "OpenEXR"):
    sys.modules[unused] = mock.MagicMock()

libcamera = importlib.import_module("libcamera")
real = importlib.import_module("picamera2.picamera2")
helpers = importlib.import_module("picamera2.request").Helpers
allocators = importlib.import_module("picamera2.allocators")


class Picamera2(real.Picamera2):  # type: ignore[misc, name-defined]
    """The real class."""

    def __init__(self, number: int) -> None:
        allocator = allocators.LibcameraAllocator(None)
        super().__init__(number, allocator=allocator)
        allocator.camera = self.camera

    def _get_raw_modes(self) -> list[dict[str, Any]]:
        role = libcamera.StreamRole.VideoRecording
        formats = self.camera.generate_configuration([role]).at(0).formats
        return [
            {"format": str(form), "size": (size.width, size.height)}
            for form in formats.pixel_formats
            for size in formats.sizes(form)
        ]
