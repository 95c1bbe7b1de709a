# SPDX-License-Identifier: Apache-2.0
"""Pictures and videos for tests: drawn, never photographed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import av
import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from device.adapters.clock import ManualClock
    from device.records import Frame


def drawn(number: int, size_px: tuple[int, int] = (64, 48)) -> NDArray[np.uint8]:
    """(h, w, 3) uint8: grey that gets lighter with `number`, red on the left half, and a slope downwards."""
    width, height = size_px
    picture = np.full((height, width, 3), (20 + 15 * number) % 200, np.uint8)
    picture[:, : width // 2, 0] = 250
    picture[:, :, 2] = np.linspace(0, 255, height, dtype=np.uint8)[:, None]
    return picture


def number_of(frame: Frame | None) -> int | None:
    """The number of a drawn frame of 64 x 48 px, coding losses rounded away."""
    return None if frame is None else round((int(frame.main[24, -5, 1]) - 20) / 15)


def save(path: Path, number: int = 0, size_px: tuple[int, int] = (64, 48)) -> Path:
    """Writes a drawn picture in the format that the name says."""
    Image.fromarray(drawn(number, size_px)).save(path)
    return path


def save_gif(path: Path, frames: int, size_px: tuple[int, int] = (64, 48)) -> Path:
    """Writes an animation of drawn pictures."""
    first, *rest = (Image.fromarray(drawn(number, size_px)) for number in range(frames))
    first.save(path, save_all=True, append_images=rest, duration=40, loop=0)
    return path


def save_video(
    path: Path,
    frames: int = 10,
    *,
    size_px: tuple[int, int] = (64, 48),
    rate_hz: int = 10,
    codec: str = "mpeg4",
    container: str | None = None,
) -> Path:
    """Writes a video of drawn pictures; its container is that of the name."""
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate_hz)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = size_px
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for number in range(frames):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(drawn(number, size_px), format="rgb24")))
        output.mux(stream.encode())
    return path


class Waits:
    """A `wait` for cameras: moves the clock instead of sleeping, and remembers what was waited for."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.seconds: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        self._clock.advance(seconds)
