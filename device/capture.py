# SPDX-License-Identifier: Apache-2.0
"""The capture thread: frames from the camera into the slot, and a full reset when the camera stalls.

A stalled camera is closed and opened again: of the remedies users report for a frozen libcamera pipeline, the one
that works without a reboot (picamera2#883, #952). Paused, the camera is closed: pausing means not looking.

A camera may also go on giving the same picture. A sensor's noise never repeats, so one that has shown exactly the same
for ten seconds has stalled as well; what is kept to tell is a checksum, not the picture.
"""

from __future__ import annotations

import logging
import threading
import zlib
from typing import TYPE_CHECKING

import numpy as np

from device.errors import CameraStalledError, HardwareError, InputError
from device.optics import Optics

if TYPE_CHECKING:
    from collections.abc import Callable

    from device.ports import Camera
    from device.records import Frame
    from device.supervisor import LatestSlot
    from device.troubles import Troubles

log = logging.getLogger("porter.capture")

FIRST_RETRY_S, LAST_RETRY_S = 0.5, 30.0
FROZEN_NS = 10_000_000_000
ROWS = 16  # one in so many rows of a frame is compared: 0.1 ms at 1280x720
NAP_S = 0.1  # a step never waits longer on its own account, so that stopping and pausing take effect at once


class Capture:
    """The step of the capture worker. The camera belongs to that thread alone, from its first step to `close`."""

    def __init__(
        self,
        camera: Camera,
        slot: LatestSlot[Frame],
        troubles: Troubles,
        *,
        stall_after_s: float,
        optics: Optics | None = None,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        self._camera = camera
        self._slot = slot
        self._troubles = troubles
        self._stall_after_s = stall_after_s
        self.optics = optics or Optics()
        self._wait = wait or threading.Event().wait
        self._open = False
        self._sameness = Sameness()
        self._retry_s = FIRST_RETRY_S
        self._naps_left = 0
        self._looking = threading.Event()
        self._looking.set()
        self.finished = False  # the source came to its end
        self.frames = 0
        self.resets = 0

    def pause(self) -> None:
        """From any thread: closes the camera at the next step."""
        self._looking.clear()

    def resume(self) -> None:
        """From any thread: opens it again."""
        self._looking.set()

    def step(self) -> None:
        """Captures one frame, takes one try at getting the camera to work, or waits a little for the next."""
        if not self._looking.is_set() or self.finished:
            self.close()
            self._naps_left = 0
            self._wait(NAP_S)
            return
        if self._naps_left > 0:
            self._naps_left -= 1
            self._wait(NAP_S)
            return
        try:
            if not self._open:
                self._camera.open()
                self._open = True
            frame = self._camera.capture(self._stall_after_s)
            if frame is not None and self._camera.live:
                self._sameness.look(frame)
        except (HardwareError, InputError) as error:
            if isinstance(error, InputError) and self.frames == 0:
                raise  # the configuration names no usable source: that is for whoever wrote it, now
            self._reset(error)
            return
        if frame is None:
            log.info("camera_ended")
            self.finished = True
            return
        self._retry_s = FIRST_RETRY_S
        self._troubles.clear("camera_lost")
        self._report_limits()
        self.frames += 1
        self._slot.put(frame)

    def close(self) -> None:
        """Gives the camera back; also the worker's cleanup."""
        if self._open:
            self._open = False
            self._camera.close()

    def _report_limits(self) -> None:
        """An alert for what was asked of the picture and this camera cannot do; it sees all the same."""
        if self.optics.unmet:
            self._troubles.raise_(
                "camera_limited",
                f"this camera cannot follow the configuration: {'; '.join(self.optics.unmet)}",
                "take these options out, or see docs/hardware.md for which camera has them",
            )
        else:
            self._troubles.clear("camera_limited")

    def _reset(self, error: HardwareError | InputError) -> None:
        """Closes the camera, so that the next step opens it anew, after a pause that doubles up to half a minute."""
        self.resets += 1
        self._troubles.raise_("camera_lost", error.message, error.hint)
        log.warning("camera_reset resets=%d stalled=%s", self.resets, isinstance(error, CameraStalledError))
        self._open = False
        self._camera.close()
        self._sameness = Sameness()
        self._naps_left = round(self._retry_s / NAP_S)
        self._retry_s = min(LAST_RETRY_S, self._retry_s * 2)


class Sameness:
    """Notices a camera that is alive and shows the same for ever. Belongs to the capture thread."""

    def __init__(self) -> None:
        self._checksum = 0
        self._since_ns = 0

    def look(self, frame: Frame) -> None:
        """Raises CameraStalledError for what was already shown FROZEN_NS ago.

        All of one colour is not judged: a covered or blinded sensor may well give the same number everywhere.
        """
        rows = np.ascontiguousarray(frame.main[::ROWS])
        checksum = zlib.crc32(rows.data)
        if checksum != self._checksum or rows.min() == rows.max():
            self._checksum, self._since_ns = checksum, frame.captured.boot_ns
        elif frame.captured.boot_ns - self._since_ns >= FROZEN_NS:
            raise CameraStalledError(
                f"the camera has shown the very same picture for {FROZEN_NS // 10**9} s",
                hint="it is being reset; if that does not help, check the ribbon cable and the power supply",
            )
