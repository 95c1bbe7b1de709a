# SPDX-License-Identifier: Apache-2.0
"""A camera that shows given pictures and fails when it is told to: the fake beside the real ones."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from device.errors import CameraStalledError, HardwareError
from device.records import Frame
from device.vision.views import Size, lores_and_luma

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from device.ports import Clock


class ScriptedCamera:
    """`ports.Camera` over arrays in memory, each (H, W, 3) uint8 RGB.

    period_s: it waits so long before each frame, as a sensor would; `wait` is called with it.
    loop: begins again after the last picture; otherwise `capture` returns None there.
    stall_after: after so many frames `capture` waits out its timeout and raises CameraStalledError, until it is reset.
    fail_after: after so many frames the camera is gone: `capture` and `open` raise HardwareError for ever.
    """

    def __init__(
        self,
        pictures: Sequence[NDArray[np.uint8]],
        clock: Clock,
        *,
        lores_px: Size,
        live: bool = True,
        loop: bool = False,
        period_s: float = 0.0,
        stall_after: int | None = None,
        fail_after: int | None = None,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.live = live
        self.resets = 0  # how often it was opened after the first time
        self._pictures = [np.array(picture, dtype=np.uint8) for picture in pictures]
        self._clock = clock
        self._lores_px = lores_px
        self._loop = loop
        self._period_s = period_s
        self._stall_after = stall_after
        self._fail_after = fail_after
        self._wait = wait
        self._open = False
        self._opened = False
        self._next = 0
        self._sequence = 0

    def open(self) -> None:
        """Begins with the first picture; a reset goes on where it was. Raises HardwareError where told to."""
        self._fail_when_told()
        if self._opened:
            self.resets += 1
            self._stall_after = None if self._stalled() else self._stall_after
            self._next %= max(1, len(self._pictures))
        self._open = self._opened = True

    def capture(self, timeout_s: float) -> Frame | None:
        """The next picture as a frame; None after the last, until it is opened again."""
        if not self._open:
            raise RuntimeError("capture before open")
        self._fail_when_told()
        if self._stalled():
            self._wait(timeout_s)
            raise CameraStalledError(f"scripted camera: no frame for {timeout_s:g} s", hint="reset it")
        if self._next == len(self._pictures):
            if not (self._loop and self._pictures):
                return None
            self._next = 0
        if self._period_s:
            self._wait(self._period_s)
        main = self._pictures[self._next]
        lores, luma = lores_and_luma(main, self._lores_px)
        self._next += 1
        self._sequence += 1
        return Frame(self._sequence, self._clock.now(), main, lores, luma)

    def close(self) -> None:
        """Harmless when already closed."""
        self._open = False

    def _stalled(self) -> bool:
        return self._stall_after is not None and self._sequence >= self._stall_after

    def _fail_when_told(self) -> None:
        if self._fail_after is not None and self._sequence >= self._fail_after:
            raise HardwareError("scripted camera: gone", hint="it was told to fail")
