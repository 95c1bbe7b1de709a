# SPDX-License-Identifier: Apache-2.0
"""One CSI camera of a Raspberry Pi, through the distribution's picamera2.

The ISP makes both pictures: main (RGB) and lores (YUV 4:2:0, the only kind of format that it scales lores to on a
Pi 4), of the same field. What may surprise:

- The format that is RGB in memory order is called "BGR888" (picamera2 manual, appendix A).
- Other pipelines than the Pi's (libcamera's simple, uvcvideo and virtual ones) have no RGB and no YUV 4:2:0 in three
  planes: where the camera grants NV12 instead, that is taken.
- Configured as a preview, not as a video: the preview's colour space is sYCC, which is BT.601 in full range, and this
  is what Pillow's YCbCr means. A video configuration would give Rec. 709 in limited range from 720p on.
- `queue=False`: a capture waits for a frame exposed after it was asked for, never one kept from before a pause.
- A request that is not released is a buffer lost: with all gone the camera freezes, and memory that is held over a
  close runs the contiguous memory (CMA) short (raspberrypi/picamera2#887, #1102). So a request is copied and released
  at once, and a capture that timed out is cancelled, lest a late request come to nobody.
- A closed Picamera2 is a ring of references: what it holds stays until Python's collector comes by. So it is called.
  (Measured with 0.3.38 and libcamera 0.4: three files more with every close, else. Tests show it.)
- Controls go to a running camera as differences, by `set_controls`; a change of the sensor's mode, which takes new
  buffers, happens at no time but opening. The sensor runs faster than `rate_hz` where exposures are kept short
  (device/optics.py); a frame is then taken when it is due, and picamera2 gives the others back by itself.
- Cameras do freeze (picamera2#952, #1004). The cure is a full reset: close, drop the object, open a new one. Closing a
  camera whose driver hangs may hang as well; then the worker's heartbeat goes stale and systemd restarts the service.
- SensorTimestamp is the start of the exposure on CLOCK_BOOTTIME (libcamera's control_ids; the kernel really takes
  CLOCK_MONOTONIC, which is the same on a machine that never suspends).

Tested against `camera_picamera2_standin`, and against the real class on libcamera's virtual pipeline (`make camera`).
This has not run on a Raspberry Pi yet.
"""

from __future__ import annotations

import gc
import logging
import time
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

import numpy as np

from device.adapters.camera_picamera2.module import (
    MANY_ERRORS,
    forget_cameras,
    import_picamera2,
    light_of,
    opened,
    switch_sensor_hdr,
)
from device.errors import CameraStalledError, HardwareError
from device.optics import Optics
from device.pace import Pace
from device.records import Frame, Stamp
from device.vision.views import Size, fitted
from device.vision.yuv420 import FORMATS, rgb_and_luma

if TYPE_CHECKING:
    from collections.abc import Callable

    from device.ports import Clock

log = logging.getLogger("porter.camera")

RGB, YUV = "BGR888", "YUV420"
BUFFERS = 4  # one exposing, one in the ISP, one being copied, one spare; a video's six cost 1.5 times the CMA
OLDEST_NS = 10_000_000_000  # a time stamp further in the past than this is not on our clock


class Picamera2Camera:
    """`ports.Camera` over one CSI camera.

    number: as `rpicam-hello --list-cameras` counts. Sizes are rounded down to even numbers, as the ISP wants them.
    rate_hz: frames a second, set in the sensor; 0 leaves the rate to picamera2.
    optics: how it is exposed and focused; may change at any time.
    load_picamera2, sensor_hdr: give the module and switch the sensor's HDR, or stand in for it.
    collect: frees what refers to itself; without it every reopening costs memory.
    """

    live = True

    def __init__(
        self,
        number: int,
        clock: Clock,
        width_px: int,
        height_px: int,
        *,
        lores_px: Size,
        rate_hz: float = 0.0,
        optics: Optics | None = None,
        load_picamera2: Callable[[], Any] = import_picamera2,
        sensor_hdr: Callable[[int], None] = switch_sensor_hdr,
        collect: Callable[[], object] = gc.collect,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        self._number = number
        self._clock = clock
        self._main_px = (even(width_px), even(height_px))
        self._lores_px = tuple(even(side) for side in fitted(self._main_px, lores_px))
        self._period_us = round(1e6 / rate_hz) if rate_hz else 0
        self._pace = Pace(clock, wait, 1.0 / rate_hz if rate_hz else 0.0)
        self._optics = optics or Optics()
        self._load = load_picamera2
        self._sensor_hdr = sensor_hdr
        self._collect = collect
        self._camera: Any = None
        self._missing = False  # it was not there when it was looked for last
        self._granted: dict[str, tuple[str, Size]] = {}  # of main and lores: the format and the size
        self._set: dict[str, Any] = {}  # the controls as they were set last
        self._lost: tuple[str, ...] = ()  # what the optics were to do and what failed at opening
        self._sequence = 0

    def open(self) -> None:
        """Takes the camera and starts it. Raises HardwareError."""
        self.close()
        try:
            picamera2 = self._load()
        except (ImportError, ValueError) as error:  # ValueError: libcamera built for another numpy
            raise HardwareError(
                f"camera {self._number}: picamera2 cannot be imported ({error})",
                hint="apt install python3-picamera2, and make the environment with --system-site-packages",
            ) from error
        if self._missing:
            forget_cameras(picamera2)
        self._lost = self._prepare_sensor()
        try:
            camera = opened(picamera2, self._number)
        except (IndexError, RuntimeError) as error:  # which of the two depends on picamera2's version
            if isinstance(error, RuntimeError) and "No camera number" not in str(error):
                raise self._unusable("cannot be opened", error) from error
            self._missing = True
            raise HardwareError(
                f"camera {self._number}: there is no such camera",
                hint="check the ribbon cable at both ends; `rpicam-hello --list-cameras` lists what is found",
            ) from error
        except MANY_ERRORS as error:
            raise self._unusable("cannot be opened", error) from error
        if not hasattr(camera, "cancel_all_and_flush"):
            camera.close()
            raise HardwareError(
                f"camera {self._number}: this picamera2 would wait for ever for a frozen camera",
                hint="apt install --only-upgrade python3-picamera2; 0.3.18 is too old (no cancel_all_and_flush)",
            )
        self._camera, self._missing = camera, False
        try:
            self._start()
        except MANY_ERRORS as error:
            self.close()
            raise self._unusable("cannot be started", error) from error

    def capture(self, timeout_s: float) -> Frame | None:
        """The next frame that the sensor exposes. Raises CameraStalledError; then reset: close and open."""
        if self._camera is None:
            raise RuntimeError("capture before open")
        if self._is_faster:
            self._pace.when_due()
        request = self._next_request(timeout_s)
        try:
            arrays = {
                name: request.make_array(name) for name in self._granted
            }  # copies; YUV's rows still padded
            metadata = request.get_metadata()
        except MANY_ERRORS as error:
            raise self._unusable("gave a frame that cannot be read", error) from error
        finally:
            request.release()
        main = arrays["main"]
        if self._granted["main"][0] != RGB:
            main, _ = rgb_and_luma(main, *self._granted["main"])
        lores, luma = rgb_and_luma(arrays["lores"], *self._granted["lores"])
        captured = self._captured(metadata)
        self._optics.look(light_of(metadata, float(luma.mean())), captured.boot_ns)
        try:
            self._adjust()
        except MANY_ERRORS as error:
            raise self._unusable("does not take a control", error) from error
        self._sequence += 1
        return Frame(self._sequence, captured, np.ascontiguousarray(main), lores, luma)

    def close(self) -> None:
        """Stops and gives back the camera and drops the object, whatever state it is in; harmless when closed."""
        camera, self._camera = self._camera, None
        if camera is None:
            return
        try:
            camera.cancel_all_and_flush()
            camera.close()  # stops first
        except MANY_ERRORS as error:
            log.warning("camera_close_failed number=%d reason=%r", self._number, str(error))
        # What was closed refers to itself: its files would wait for the collector.
        del camera
        self._collect()

    def _start(self) -> None:
        camera = self._camera
        configuration = camera.create_preview_configuration(
            main={"format": RGB, "size": self._main_px},
            lores={"format": YUV, "size": self._lores_px},
            buffer_count=BUFFERS,
            queue=False,
            controls={},
            display=None,
            encode=None,
        )
        camera.configure(configuration)
        granted = camera.camera_configuration()  # libcamera may have adjusted what was asked
        self._granted = {name: (granted[name]["format"], granted[name]["size"]) for name in ("main", "lores")}
        (main, _), (lores, _) = self._granted.values()
        if main not in (RGB, *FORMATS) or lores not in FORMATS:
            raise RuntimeError(f"it offers {main} and {lores} where {RGB} and {YUV}, or NV12, were asked")
        self._set = {}
        self._adjust()  # the limits of the controls are known from here on; they hold from the first frame
        camera.start()
        self._pace.restart()

    def _prepare_sensor(self) -> tuple[str, ...]:
        """What has to be done before opening; returns what failed of it."""
        if self._optics.settings.hdr != "sensor":
            return ()
        try:
            self._sensor_hdr(self._number)
        except MANY_ERRORS as error:
            return (f"optics.hdr: {error}",)
        return ()

    def _adjust(self) -> None:
        """Sets the controls that are to be others than before."""
        wanted = self._optics.controls(self._camera.camera_controls, self._period_us, self._lost)
        changed = {name: value for name, value in wanted.items() if self._set.get(name) != value}
        if not changed:
            return
        self._camera.set_controls(changed)
        self._set = wanted
        log.info("camera_controls changed=%s light=%s", ",".join(sorted(changed)), self._optics.light)

    @property
    def _is_faster(self) -> bool:
        """Whether the sensor's frames come clearly faster than they are wanted."""
        limits = self._set.get("FrameDurationLimits")
        return limits is not None and limits[1] < 0.9 * self._period_us

    def _next_request(self, timeout_s: float) -> Any:
        job = None
        try:
            job = self._camera.capture_request(wait=False)
            return self._camera.wait(job, timeout=timeout_s)
        except TimeoutError as error:
            self._cancel(job)
            raise CameraStalledError(
                f"camera {self._number}: no frame for {timeout_s:g} s",
                hint="if resets do not help, check the ribbon cable and the power supply",
            ) from error
        except MANY_ERRORS as error:
            raise self._unusable("failed", error) from error

    def _cancel(self, job: Any) -> None:
        """Takes back a capture that timed out; releases the request if it came at the last moment after all."""
        self._camera.cancel_all_and_flush()
        try:
            self._camera.wait(job, timeout=0).release()
        except (CancelledError, TimeoutError):
            return

    def _captured(self, metadata: dict[str, Any]) -> Stamp:
        now = self._clock.now()
        age_ns = now.boot_ns - int(metadata.get("SensorTimestamp", now.boot_ns))
        if not 0 <= age_ns <= OLDEST_NS:
            return now
        return Stamp(now.boot_ns - age_ns, now.utc_ns - age_ns, now.synced)

    def _unusable(self, what: str, error: Exception) -> HardwareError:
        hint = "does another program use it? `fuser -v /dev/media*` tells; is the user in the group `video`?"
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError | PermissionError):
            hint = "contiguous memory may be short: see CmaFree in /proc/meminfo; a reboot gives it back"
        return HardwareError(f"camera {self._number}: it {what}: {error}", hint=hint)


def even(side_px: int) -> int:
    """The next lower even number, at least 2."""
    return max(2, side_px - side_px % 2)
