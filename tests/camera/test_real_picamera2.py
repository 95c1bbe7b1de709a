# SPDX-License-Identifier: Apache-2.0
"""Porter's CSI camera adapter over the real Picamera2 class and the real libcamera, whose virtual camera shows bars."""

from __future__ import annotations

import gc
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from device.adapters.camera_picamera2 import Picamera2Camera
from device.adapters.clock import SystemClock
from device.errors import CameraStalledError, HardwareError
from tests.camera import virtual

if TYPE_CHECKING:
    from collections.abc import Iterator

    from device.records import Frame

MAIN, LORES = (1280, 720), (640, 360)
FRAME_NS = 33_333_333
# Stopped beneath it, picamera2's own thread dies of what it cannot queue: frozen for good.
stalls = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


def camera(number: int = 0, size: tuple[int, int] = MAIN, lores: tuple[int, int] = LORES) -> Picamera2Camera:
    """The adapter, not opened."""
    return Picamera2Camera(
        number, SystemClock(), *size, lores_px=lores, rate_hz=30, load_picamera2=lambda: virtual
    )


@pytest.fixture
def opened() -> Iterator[Picamera2Camera]:
    """The adapter over a camera that runs."""
    one = camera()
    one.open()
    with closing(one):
        yield one


def descriptors() -> int:
    """How many files this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def resident_kib() -> int:
    """Memory of this process, shared buffers included."""
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in status if line.startswith("VmRSS")))


def bars(view: np.ndarray[Any, Any]) -> list[int]:
    """Of the eight bars from left to right the brightness in their middles."""
    width = view.shape[1]
    row = view[view.shape[0] // 2] @ np.array([0.299, 0.587, 0.114])
    return [int(row[round(width * (k + 0.5) / 8)]) for k in range(8)]


def recovered(one: Picamera2Camera) -> Frame:
    """The first frame after a stall, by as many resets as the capture thread would make, three here.

    Who stops libcamera beneath picamera2 may hit the very moment in which that gives a request back ("Camera in
    Configured state trying queueRequest()"); the next camera then gives nothing once, which another reset cures.
    """
    for _ in range(3):
        one.open()
        try:
            frame = one.capture(5)
        except CameraStalledError:
            one.close()
            continue
        assert frame is not None
        return frame
    raise AssertionError("three resets did not bring the camera back")


def test_main_and_lores_are_two_views_of_the_same_picture(opened: Picamera2Camera) -> None:
    """Both streams arrive in their sizes, as RGB; the bars get darker from left to right in both."""
    frame = opened.capture(5)
    assert frame is not None
    assert frame.main.shape == (720, 1280, 3)
    assert frame.lores.shape == (360, 640, 3)
    assert frame.luma.shape == (45, 80)
    large, small = bars(frame.main), bars(frame.lores)
    assert large == sorted(large, reverse=True)
    assert large[0] - large[-1] > 150
    assert np.abs(np.subtract(large, small)).max() <= 12
    assert frame.main.flags.c_contiguous


def test_the_colours_are_where_they_belong(opened: Picamera2Camera) -> None:
    """White, yellow, cyan, green, magenta, red, blue, black: an exchange of U and V or of R and B would show."""
    frame = opened.capture(5)
    assert frame is not None
    middles = frame.main[360, [round(1280 * (k + 0.5) / 8) for k in range(8)]].astype(int)
    loud = [tuple(bool(channel) for channel in pixel > 128) for pixel in middles]
    white, yellow, cyan, green, magenta, red, blue, black = loud
    assert (white, black) == ((True, True, True), (False, False, False))
    assert (yellow, cyan, magenta) == ((True, True, False), (False, True, True), (True, False, True))
    assert (green, red, blue) == ((False, True, False), (True, False, False), (False, False, True))


def test_a_size_whose_rows_are_padded_is_cropped() -> None:
    """200 px are no multiple of any alignment that libcamera knows."""
    with closing(camera(size=(200, 120), lores=(200, 120))) as one:
        one.open()
        frame = one.capture(5)
    assert frame is not None
    assert frame.main.shape == (120, 200, 3)
    assert bars(frame.main) == sorted(bars(frame.main), reverse=True)


def test_frames_are_stamped_with_the_time_of_their_exposure(opened: Picamera2Camera) -> None:
    """Strictly rising, never ahead of now, and not older than a capture takes."""
    last = 0
    for _ in range(20):
        asked = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        frame = opened.capture(5)
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        assert frame is not None
        assert last < frame.captured.boot_ns <= now
        assert frame.captured.boot_ns > asked - 3 * FRAME_NS
        last = frame.captured.boot_ns


def test_a_slow_consumer_gets_a_new_frame_and_not_what_was_kept(opened: Picamera2Camera) -> None:
    """All buffers were filled long ago; what comes was exposed after it was asked for, give or take a frame."""
    for _ in range(3):
        opened.capture(5)
        time.sleep(0.7)
        asked = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        frame = opened.capture(5)
        assert frame is not None
        assert frame.captured.boot_ns > asked - 3 * FRAME_NS


def test_no_buffer_is_ever_kept(opened: Picamera2Camera) -> None:
    """There are four: a hundred captures would starve at the fifth."""
    sequences = [frame.sequence for _ in range(100) if (frame := opened.capture(5)) is not None]
    assert sequences == list(range(1, 101))


@stalls
def test_a_camera_that_stalls_is_cured_by_a_full_reset(opened: Picamera2Camera) -> None:
    """Stopped beneath picamera2, as a frozen pipeline: no frame comes, and none is waited for beyond the limit."""
    assert opened.capture(5) is not None
    opened._camera.camera.stop()
    began = time.monotonic()
    with pytest.raises(CameraStalledError, match="no frame for 1 s"):
        opened.capture(1.0)
    assert time.monotonic() - began < 10
    opened.close()
    assert recovered(opened).sequence == 2


def test_closing_again_and_again_leaves_nothing_behind() -> None:
    """picamera2#1102: files, threads or memory that grow with every reset end a device that resets for years."""
    gc.collect()  # what other tests left
    one = camera()
    for cycle in range(40):
        one.open()
        assert one.capture(5) is not None
        one.close()
        if cycle == 0:
            files, threads = descriptors(), threading.active_count()
        if cycle == 9:
            memory = resident_kib()
        assert (descriptors(), threading.active_count()) == (files, threads)
    assert resident_kib() < memory + 16_384  # one camera's buffers are 13 MB: thirty would be 390


def test_a_camera_that_is_not_there() -> None:
    """Its number is past the end of the list."""
    with pytest.raises(HardwareError, match="camera 7: there is no such camera"):
        camera(7).open()


def test_a_camera_that_somebody_else_has(opened: Picamera2Camera) -> None:
    """And it is not taken from them: they go on seeing."""
    with pytest.raises(HardwareError, match="camera 0"):
        camera().open()
    assert opened.capture(5) is not None


@stalls
def test_closing_from_a_stall_frees_the_camera_for_the_next_process(opened: Picamera2Camera) -> None:
    """What was stalled and closed can be opened by another object."""
    opened._camera.camera.stop()
    with pytest.raises(CameraStalledError):
        opened.capture(0.5)
    opened.close()
    with closing(camera()) as other:
        assert recovered(other).main.shape == (720, 1280, 3)
