# SPDX-License-Identifier: Apache-2.0
"""A local USB camera, through FFmpeg's V4L2 input.

Its decoding, pacing and errors are tested over a video file in the device's place; it has not run on a real USB
camera yet. What may surprise:

- FFmpeg queues what nobody reads, so frames must be drained or they come ever later.
- A camera that was unplugged may come back as another /dev/videoN, and another camera may have its number by then. So
  at its first opening udev's name for it is looked up, and it is this one that is opened again.
"""

from __future__ import annotations

import os
import select
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device.adapters.camera_video.pyav import LOCAL_ONLY, load_av, phrase, picture_of, refuse_protocol
from device.errors import CameraStalledError, HardwareError, InputError
from device.pace import Pace
from device.records import Frame
from device.vision.views import Size, lores_and_luma

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from av import VideoFrame
    from av.container import InputContainer

    from device.ports import Clock

BY_ID = Path("/dev/v4l/by-id")  # udev's 60-persistent-v4l.rules: by maker, model and serial number
ALONE = ("rawvideo", "mjpeg")  # codecs whose packets can be skipped: each decodes without the others


class UsbCamera:
    """`ports.Camera` over a local V4L2 device. path: `/dev/video0`, or only its number.

    The camera chooses the size nearest to `width_px` x `height_px`; larger frames are scaled down to fit. Of frames
    that came in the meantime only the newest is decoded, so none is older than one frame time of the camera.
    by_id: the folder of lasting names. device: what was opened last.
    input_format: V4L2 name of what the camera shall send, e.g. `mjpeg`; empty: its default.
    open_container, readable: stand-ins for the device, for tests. `readable(seconds)` waits for a packet.
    """

    live = True

    def __init__(
        self,
        path: str | Path,
        clock: Clock,
        width_px: int,
        height_px: int,
        *,
        lores_px: Size,
        rate_hz: float = 0.0,
        input_format: str = "",
        by_id: Path = BY_ID,
        wait: Callable[[float], None] = time.sleep,
        open_container: Callable[[], InputContainer] | None = None,
        readable: Callable[[float], bool] | None = None,
    ) -> None:
        text = str(path)
        self.device = f"/dev/video{text}" if text.isdecimal() else text
        self._by_id = by_id
        self._lasting: str | None = None
        self._clock = clock
        self._limit_px = (width_px, height_px)
        self._lores_px = lores_px
        self._options = {
            **LOCAL_ONLY,
            "format_whitelist": "video4linux2,v4l2",
            "video_size": f"{width_px}x{height_px}",
        }
        if input_format:
            self._options["input_format"] = input_format
        self._pace = Pace(clock, wait, 1.0 / rate_hz if rate_hz else 0.0)
        self._open_container = open_container or self._open_device
        self._given_readable = readable
        self._readable = readable or (lambda _seconds: True)
        self._av: Any = None
        self._container: InputContainer | None = None
        self._packets: Iterator[Any] = iter(())
        self._skippable = False
        self._sequence = 0

    def open(self) -> None:
        """Starts the camera. Raises InputError (not a local device) or HardwareError (none there, or busy)."""
        self.close()
        self.device = self._lasting or self.device
        refuse_protocol(self.device)
        self._check_device()
        self._av = load_av()
        try:
            self._container = self._open_container()
            stream = self._container.streams.video[0]
            if self._given_readable is None:
                self._readable = readiness(self.device)
        except (self._av.error.FFmpegError, OSError, ValueError, LookupError) as error:
            self.close()
            raise self._unusable(error) from error
        self._lasting = self._lasting or lasting_name(self.device, self._by_id)
        self._skippable = stream.codec_context.name in ALONE
        self._packets = iter(self._container.demux(stream))
        self._pace.restart()

    def capture(self, timeout_s: float) -> Frame | None:
        """The newest frame. Raises CameraStalledError, or HardwareError where the camera went away."""
        if self._container is None:
            raise RuntimeError("capture before open")
        stamp = self._pace.when_due()
        deadline_ns = stamp.boot_ns + round(timeout_s * 1e9)
        while True:
            left_s = (deadline_ns - self._clock.now().boot_ns) / 1e9
            if left_s < 0 or not self._readable(left_s):
                raise CameraStalledError(
                    f"{self.device}: no frame for {timeout_s:g} s", hint="check its cable and its hub"
                )
            frame = self._newest()
            if frame is not None:
                break
        main = picture_of(frame, self._limit_px)
        lores, luma = lores_and_luma(main, self._lores_px)
        self._sequence += 1
        return Frame(self._sequence, self._clock.now(), main, lores, luma)

    def close(self) -> None:
        """Stops the camera; harmless when already closed."""
        if self._container is not None:
            self._container.close()
            self._container = None
            self._packets = iter(())

    def _newest(self) -> VideoFrame | None:
        """Decodes the newest packet that has arrived; None where it is damaged or not yet a picture."""
        try:
            packet = next(self._packets, None)
            while packet is not None and self._skippable and self._readable(0.0):
                packet = next(self._packets, None)
            if packet is None:
                raise HardwareError(f"{self.device}: the camera stopped", hint="was it unplugged?")
            frames = packet.decode()
        except self._av.error.InvalidDataError:  # a damaged JPEG after a USB glitch; the next one is whole
            return None
        except (self._av.error.FFmpegError, OSError) as error:
            raise HardwareError(
                f"{self.device}: {phrase(error)}", hint="was the camera unplugged?"
            ) from error
        return frames[-1] if frames else None

    def _check_device(self) -> None:
        try:
            mode = Path(self.device).stat().st_mode
        except OSError as error:
            raise self._unusable(error) from error
        if not stat.S_ISCHR(mode):
            raise InputError(
                f"{self.device}: expected a camera device such as /dev/video0",
                hint="for a video file say `source: files`",
            )

    def _open_device(self) -> InputContainer:
        device: InputContainer = self._av.open(self.device, format="v4l2", container_options=self._options)
        return device

    def _unusable(self, error: Exception) -> HardwareError:
        hints = (
            (FileNotFoundError, "is it plugged in? `v4l2-ctl --list-devices` lists the cameras"),
            (PermissionError, "the user that Porter runs as must be in the group `video`"),
        )
        hint = next(
            (text for kind, text in hints if isinstance(error, kind)),
            "does another program use it, and is it a camera? `v4l2-ctl --list-devices` tells",
        )
        return HardwareError(f"{self.device}: expected a USB camera, but: {phrase(error)}", hint=hint)


def lasting_name(device: str, by_id: Path) -> str | None:
    """The name that this device keeps when it is unplugged and comes back; None where udev gives none."""
    try:
        names = sorted(by_id.iterdir())
        return next((str(name) for name in names if name.exists() and name.samefile(device)), None)
    except OSError:
        return None


def readiness(path: str) -> Callable[[float], bool]:
    """A function that waits up to so many seconds for the open V4L2 device `path` to have a frame.

    FFmpeg's V4L2 input waits for ever in VIDIOC_DQBUF and offers no timeout, so its own file descriptor is looked up
    (only the queue's owner may poll it) and waited for before each read. Raises FileNotFoundError.
    """
    device = Path(path).stat().st_rdev
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208  only the names
        try:
            found = os.fstat(int(name)).st_rdev
        except OSError:  # the descriptor of the listing itself
            continue
        if found == device:
            return lambda timeout_s, fd=int(name): bool(select.select([fd], [], [], timeout_s)[0])  # type: ignore[misc]
    raise FileNotFoundError(f"the open device {path} is not in /proc/self/fd")
