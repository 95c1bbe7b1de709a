# SPDX-License-Identifier: Apache-2.0
"""A camera that shows a video file, every frame or sampled at a rate in the video's own time.

What may surprise: a damaged packet is skipped and counted, so a truncated file plays as far as it goes.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device.adapters.camera_video.pyav import (
    CONTAINERS,
    LOCAL_ONLY,
    load_av,
    phrase,
    picture_of,
    refuse_protocol,
)
from device.errors import InputError
from device.pace import Pace
from device.records import Frame
from device.vision.views import Size, lores_and_luma

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from av import VideoFrame

    from device.ports import Clock

log = logging.getLogger("porter.camera")

MAX_PIXELS = 64_000_000
LONGEST_STEP_S = 10.0  # a larger step between two frames is a hole in the time stamps, not a still picture


class VideoFileCamera:
    """`ports.Camera` over a video file. Frames larger than `width_px` x `height_px` are scaled down to fit.

    rate_hz: 0 shows every frame as fast as it is asked for; otherwise `clock` paces the frames, and the video is
    sampled at this rate in its own time: it runs at natural speed, frames are left out or repeated.
    wait: called with the seconds until the next frame is due.
    """

    live = False

    def __init__(
        self,
        path: str | Path,
        clock: Clock,
        width_px: int,
        height_px: int,
        *,
        lores_px: Size,
        rate_hz: float = 0.0,
        loop: bool = False,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.skipped = 0  # packets that could not be decoded, since construction
        self._path = str(path)
        self._limit_px = (width_px, height_px)
        self._lores_px = lores_px
        self._period_s = 1.0 / rate_hz if rate_hz else 0.0
        self._loop = loop
        self._pace = Pace(clock, wait, self._period_s)
        self._av: Any = None
        self._frames: Generator[VideoFrame, None, None] | None = None
        self._sequence = 0

    def open(self) -> None:
        """Decodes the first frame to see that the file can be shown. Raises InputError."""
        self.close()
        refuse_protocol(self._path)
        self._check_file()
        self._av = load_av()
        first = self._decoded()
        if next(first, None) is None:
            raise self._unreadable("no frame in it can be decoded")
        first.close()
        self._frames = self._sampled() if self._period_s else self._every()
        self._pace.restart()

    def capture(self, timeout_s: float) -> Frame | None:  # noqa: ARG002  a file does not stall
        """The next frame, when it is due; None after the last."""
        if self._frames is None:
            raise RuntimeError("capture before open")
        frame = next(self._frames, None)
        if frame is None:
            return None
        main = picture_of(frame, self._limit_px)
        lores, luma = lores_and_luma(main, self._lores_px)
        self._sequence += 1
        return Frame(self._sequence, self._pace.when_due(), main, lores, luma)

    def close(self) -> None:
        """Closes the file; harmless when already closed."""
        if self._frames is not None:
            self._frames.close()
            self._frames = None

    def _check_file(self) -> None:
        path = Path(self._path)
        if not path.exists():
            raise InputError(f"{path}: expected a video file, found nothing", hint="check the path")
        if not path.is_file():
            raise InputError(f"{path}: expected a video file", hint="a folder of pictures is not a video")
        if path.stat().st_size == 0:
            raise self._unreadable("it is empty")

    def _every(self) -> Generator[VideoFrame, None, None]:
        while True:
            shown = 0
            for frame in self._decoded():
                shown += 1
                yield frame
            if not shown:
                raise self._unreadable("no frame in it can be decoded any more")
            if not self._loop:
                return

    def _sampled(self) -> Generator[VideoFrame, None, None]:
        due_s = now_s = 0.0
        current: VideoFrame | None = None
        for frame, step_s in with_steps(self._every()):
            now_s += step_s
            while current is not None and now_s > due_s + 1e-6:
                yield current
                due_s += self._period_s
            current = frame
        if current is not None and due_s <= now_s + 1e-6:
            yield current

    def _decoded(self) -> Generator[VideoFrame, None, None]:
        errors = (self._av.error.FFmpegError, OSError)
        try:
            container = self._av.open(str(Path(self._path).absolute()), container_options=LOCAL_ONLY)
        except errors as error:
            raise self._unreadable(phrase(error)) from error
        with container:
            if not container.streams.video:
                raise self._unreadable("there is no picture in it, only sound")
            packets = container.demux(container.streams.video[0])
            while True:
                try:
                    packet = next(packets, None)
                    frames = packet.decode() if packet is not None else []
                except errors as error:
                    if isinstance(error, EOFError):
                        return
                    self._skip(error)
                    continue
                if packet is None:
                    return
                for frame in frames:
                    self._check_size(frame)
                    yield frame

    def _check_size(self, frame: VideoFrame) -> None:
        if frame.width * frame.height > MAX_PIXELS:
            raise self._unreadable(f"its frames have more than {MAX_PIXELS // 1_000_000} million pixels")

    def _skip(self, error: Exception) -> None:
        if not self.skipped:
            log.warning("packet_skipped file=%r reason=%r", Path(self._path).name, phrase(error))
        self.skipped += 1

    def _unreadable(self, why: str) -> InputError:
        return InputError(
            f"{self._path}: expected a video that Porter can show, but: {why}",
            hint=f"containers that are read: {CONTAINERS.replace(',', ', ')}",
        )


def with_steps(frames: Iterator[VideoFrame]) -> Iterator[tuple[VideoFrame, float]]:
    """Each frame with the seconds since the one before; 0 for the first; where time stamps jump or fail, the usual."""
    before: float | None = None
    usual_s = 0.04
    for index, frame in enumerate(frames):
        step_s = frame.time - before if frame.time is not None and before is not None else 0.0
        if 0.0 < step_s < LONGEST_STEP_S:
            usual_s = step_s
        yield frame, usual_s if index else 0.0
        before = frame.time
