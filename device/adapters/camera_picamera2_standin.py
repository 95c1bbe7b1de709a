# SPDX-License-Identifier: Apache-2.0
"""A stand-in for the picamera2 module, for machines without a Pi: what `camera_picamera2` uses of it, no more.

Written after picamera2's own source (picamera2.py, request.py, job.py): padded rows of YUV420, a fixed
number of buffers that come back only by `release`, jobs whose result may time out or be cancelled, a camera number
that is an index into what was found, and RuntimeErrors for nearly everything.
"""

from __future__ import annotations

import os
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from device.ports import Clock

ROW_ALIGNMENT = 64


class StandinModule:
    """Has the shape of the module: `Picamera2(number)` opens a camera. Failures are told in the constructor.

    picture: called with the frame's number, gives (height, width, 3) uint8 RGB of `size_px`, what the sensor sees.
    cameras: how many are plugged in. stall_after: frames after which none come, until the camera is closed.
    late: a stalled capture is completed at the moment it is cancelled. fails: name of a method to the error it raises.
    granted: formats that `configure` grants, where not those asked. autofocus: whether the lens can move.
    offers: controls beyond the frame's duration, to (least, greatest, default). metadata: of every frame, besides its
    time stamp. `unplug` and `plug` take the cameras away and bring them back.
    old: answers a camera that is not there with an IndexError, as picamera2 once did.
    """

    def __init__(
        self,
        clock: Clock,
        picture: Callable[[int, tuple[int, int]], NDArray[np.uint8]],
        *,
        cameras: int = 1,
        stall_after: int | None = None,
        late: bool = False,
        fails: dict[str, Exception] | None = None,
        granted: dict[str, str] | None = None,
        autofocus: bool = False,
        old: bool = False,
        offers: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
        timestamp_offset_ns: int = -30_000_000,
    ) -> None:
        self.clock = clock
        self.picture = picture
        self.cameras = cameras
        self.stall_after = stall_after
        self.late = late
        self.fails = fails or {}
        self.granted = granted or {}
        self.offers = {"FrameDurationLimits": (100, 200_000, 33333), **(offers or {})}
        if autofocus:
            self.offers |= {"AfMode": (0, 2, 0), "AfTrigger": (0, 1, 0), "LensPosition": (0.0, 15.0, 1.0)}
        self.metadata = metadata or {}
        self.old = old
        self.timestamp_offset_ns = timestamp_offset_ns
        self.taken: list[int] = []  # cameras that somebody has open
        self.frames = 0
        self.held = 0  # requests that nobody has released
        self.configurations: list[dict[str, Any]] = []
        self.set: list[dict[str, Any]] = []  # what `set_controls` was given, in order
        self._there = cameras
        self.Picamera2 = type("Picamera2", (StandinCamera,), {"_module": self})

    def unplug(self) -> None:
        """Frames end, and there is no camera any more."""
        self.cameras, self.stall_after = 0, 0

    def plug(self) -> None:
        """The cameras are back."""
        self.cameras, self.stall_after = self._there, None

    def fail(self, method: str) -> None:
        """Raises what this method was told to raise."""
        if method in self.fails:
            raise self.fails[method]


class StandinJob:
    """A capture under way."""

    def __init__(self) -> None:
        self.request: StandinRequest | None = None
        self.cancelled = False


class StandinRequest:
    """A completed request: arrays may be made from it until it is released, once."""

    def __init__(self, module: StandinModule, configuration: dict[str, Any], number: int) -> None:
        self._module = module
        self._configuration = configuration
        self._number = number
        self._held = True
        module.held += 1

    def make_array(self, name: str) -> NDArray[np.uint8]:
        """A copy: RGB without its padding, YUV with it."""
        self._module.fail("make_array")
        if not self._held:
            raise RuntimeError("request was released")
        size = self._configuration[name]["size"]
        picture = self._module.picture(self._number, size)
        form = self._configuration[name]["format"]
        return (
            picture.copy() if form == "BGR888" else yuv420(picture, self._configuration[name]["stride"], form)
        )

    def get_metadata(self) -> dict[str, Any]:
        """The controls that go with the frame: its time stamp, and what the stand-in was told."""
        stamp_ns = self._module.clock.now().boot_ns + self._module.timestamp_offset_ns
        return {"SensorTimestamp": stamp_ns, **self._module.metadata}

    def release(self) -> None:
        """Gives the buffers back."""
        if not self._held:
            raise RuntimeError("CompletedRequest: lock now has negative ref_count")
        self._held = False
        self._module.held -= 1


class StandinCamera:
    """One open camera. As in reality a constructor that fails leaves a file open, and the camera, where it had it."""

    _module: StandinModule  # the class is made anew for every module

    def __init__(self, number: int = 0) -> None:
        module = self._module
        self.is_open = False
        self.notifyme_w = os.open(os.devnull, os.O_WRONLY)  # in reality a pipe's end
        if number not in range(module.cameras):
            if module.old:
                raise IndexError("list index out of range")
            raise RuntimeError(f"No camera number {number} found - use ... to check connected cameras")
        module.fail("Picamera2")
        if number in module.taken:
            raise RuntimeError("Camera __init__ sequence did not complete.")
        module.taken.append(number)
        self._number, self._registered = number, False
        self.is_open = True
        module.fail("create_preview_configuration")
        self._registered = True
        self._configuration: dict[str, Any] | None = None
        self._running = False
        self._jobs: list[StandinJob] = []
        self.camera_controls: dict[str, Any] = module.offers

    def create_preview_configuration(
        self,
        *,
        main: dict[str, Any],
        lores: dict[str, Any],
        buffer_count: int,
        queue: bool,
        controls: dict[str, Any],
        display: str | None,
        encode: str | None,
    ) -> dict[str, Any]:
        """A configuration to hand to `configure`."""
        return {
            "main": dict(main),
            "lores": dict(lores),
            "buffer_count": buffer_count,
            "queue": queue,
            "controls": controls,
            "display": display,
            "encode": encode,
        }

    def configure(self, configuration: dict[str, Any]) -> None:
        """Checks as the real one does, and allocates."""
        self._module.fail("configure")
        for name in ("main", "lores"):
            width, height = configuration[name]["size"]
            if type(configuration[name]["size"]) is not tuple:
                raise RuntimeError(f"size in {name} stream should be (width, height)")
            if width % 2 or height % 2:
                raise RuntimeError("width and height should be even")
            configuration[name]["stride"] = -(-width // ROW_ALIGNMENT) * ROW_ALIGNMENT
            configuration[name]["format"] = self._module.granted.get(name, configuration[name]["format"])
        if any(
            low > high
            for low, high in zip(configuration["lores"]["size"], configuration["main"]["size"], strict=True)
        ):
            raise RuntimeError("lores stream dimensions may not exceed main stream")
        self._configuration = configuration
        self._module.configurations.append(configuration)

    def camera_configuration(self) -> dict[str, Any] | None:
        """What `configure` granted."""
        return self._configuration

    def set_controls(self, controls: dict[str, Any]) -> None:
        """From the next frame on; before `start`, from the first."""
        self._module.fail("set_controls")
        for name in controls:
            if name not in self.camera_controls:
                raise RuntimeError(f"Control {name} is not advertised by libcamera")
        self._module.set.append(dict(controls))

    def start(self) -> None:
        """Frames flow from here on."""
        self._module.fail("start")
        if self._configuration is None:
            raise RuntimeError("Camera has not been configured")
        self._running = True

    def capture_request(self, *, wait: bool) -> StandinJob:
        """Asks for the next request; only the asynchronous form."""
        self._module.fail("capture_request")
        if wait:
            raise RuntimeError("only wait=False is stood in for")
        job = StandinJob()
        self._jobs.append(job)
        module = self._module
        free = self._buffers() - module.held
        if self._running and free > 0 and (module.stall_after is None or module.frames < module.stall_after):
            self._complete(job)
        return job

    def wait(self, job: StandinJob, timeout: float | None = None) -> StandinRequest:
        """The job's request. Raises TimeoutError, or CancelledError."""
        if job.request is not None:
            return job.request
        if job.cancelled:
            raise CancelledError
        if timeout is None:
            raise AssertionError("a stalled camera would be waited for without end")
        raise TimeoutError

    def cancel_all_and_flush(self) -> None:
        """Cancels every job that is not done."""
        for job in self._jobs:
            if self._module.late and job.request is None:
                self._complete(job)
            job.cancelled = job.request is None
        self._jobs = []

    def close(self) -> None:
        """Stops and gives back the camera; a stall ends with it."""
        if not self.is_open:
            return
        self._module.taken.remove(self._number)
        if not self._registered:
            raise KeyError(self._number)
        self.is_open = self._running = False
        os.close(self.notifyme_w)
        if self._module.cameras:
            self._module.stall_after = None
        self._module.fail("close")

    def _buffers(self) -> int:
        return int((self._configuration or {}).get("buffer_count", 0))

    def _complete(self, job: StandinJob) -> None:
        if self._configuration is None:
            raise RuntimeError("Camera has not been configured")
        job.request = StandinRequest(self._module, self._configuration, self._module.frames)
        self._module.frames += 1


def yuv420(picture: NDArray[np.uint8], stride: int, form: str = "YUV420") -> NDArray[np.uint8]:
    """(h * 3 / 2, stride): the picture in BT.601 full range, YUV420 or NV12, rows padded with noise-like 0xAA."""
    height, width, _ = picture.shape
    red, green, blue = (picture[:, :, channel].astype(np.float64) for channel in range(3))
    y = 0.299 * red + 0.587 * green + 0.114 * blue
    both = ((blue - y) / 1.772 + 128, (red - y) / 1.402 + 128)
    halved = [chroma.reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3)) for chroma in both]
    rows = np.full((height * 3 // 2, stride), 0xAA, np.uint8)
    rows[:height, :width] = np.clip(np.rint(y), 0, 255)
    if form == "NV12":
        halves = np.moveaxis(rows[height:].reshape(height // 2, stride // 2, 2), 2, 0)
    else:
        halves = rows[height:].reshape(2, height // 2, stride // 2)
    for half, plane in zip(halves, halved, strict=True):
        half[:, : width // 2] = np.clip(np.rint(plane), 0, 255)
    return rows
