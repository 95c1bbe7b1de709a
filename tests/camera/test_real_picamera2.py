# SPDX-License-Identifier: Apache-2.0
"""Porter's CSI camera adapter over the real Picamera2 class and the real libcamera, whose virtual camera shows bars."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from device.adapters.camera_picamera2 import Picamera2Camera
from device.adapters.camera_picamera2_standin import yuv420
from device.adapters.clock import SystemClock
from device.errors import CameraStalledError, HardwareError
from device.vision.yuv420 import FORMATS, rgb_and_luma
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


@pytest.mark.parametrize("size", [(200, 120), (202, 120), (254, 118), (256, 118), (258, 118)])
def test_every_width_is_whole(size: tuple[int, int]) -> None:
    """On both sides of every row alignment. (This pipeline pads no rows: that is for the next test.)"""
    with closing(camera(size=size, lores=size)) as one:
        one.open()
        frame = one.capture(5)
    assert frame is not None
    assert frame.main.shape == (size[1], size[0], 3)
    assert bars(frame.main) == sorted(bars(frame.main), reverse=True)


@pytest.mark.parametrize("form", ["BGR888", *FORMATS])
@pytest.mark.parametrize("width", [62, 66, 126, 130, 198, 202])
def test_padded_rows_are_cropped_from_what_picamera2_really_makes_of_a_buffer(width: int, form: str) -> None:
    """Its own `make_array` over a buffer with the rows of a Raspberry Pi, a multiple of 64 bytes; 0xAA is padding."""
    height = 60
    picture = np.full((height, width, 3), (200, 120, 60), np.uint8)
    picture[:, width // 2 :] = (40, 90, 220)
    if form == "BGR888":
        rows = np.full((height, -(-width * 3 // 64) * 64), 0xAA, np.uint8)
        rows[:, : width * 3] = picture.reshape(height, width * 3)
    else:
        rows = yuv420(picture, -(-width // 64) * 64, form)
    config = {"format": form, "size": (width, height), "stride": rows.shape[1]}
    array = virtual.helpers(None).make_array(rows.reshape(-1), config)
    made = array if form == "BGR888" else rgb_and_luma(array, form, (width, height))[0]
    assert made.shape == (height, width, 3)
    for columns in (slice(0, width // 2 - 2), slice(width // 2 + 2, width)):
        assert np.abs(made[:, columns].astype(int) - picture[:, columns].astype(int)).max() <= 2


def test_frames_are_stamped_with_the_time_of_their_exposure(opened: Picamera2Camera) -> None:
    """Strictly rising, never ahead of now, and mostly not older than a capture takes: a busy machine may be late."""
    last, ages = 0, []
    for _ in range(20):
        asked = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        frame = opened.capture(5)
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        assert frame is not None
        assert last < frame.captured.boot_ns <= now
        last = frame.captured.boot_ns
        ages.append(asked - last)
    assert np.median(ages) < 3 * FRAME_NS


def test_the_sensors_own_time_stamp_is_on_the_clock_that_frames_are_stamped_with(
    opened: Picamera2Camera,
) -> None:
    """Before the adapter's doubts: what libcamera says is a moment ago on CLOCK_BOOTTIME, and later each time."""
    stamps, ages = [], []
    for _ in range(10):
        request = opened._camera.capture_request()
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        stamps.append(request.get_metadata()["SensorTimestamp"])
        request.release()
        ages.append(now - stamps[-1])
    assert (np.diff(stamps) > 0).all()
    assert min(ages) > 0
    assert np.median(ages) < 3 * FRAME_NS


def test_a_slow_consumer_gets_a_new_frame_and_not_what_was_kept(opened: Picamera2Camera) -> None:
    """All buffers were filled half a second ago and longer; what comes was exposed when it was asked for, or so."""
    for _ in range(3):
        opened.capture(5)
        time.sleep(0.7)
        asked = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        frame = opened.capture(5)
        assert frame is not None
        assert frame.captured.boot_ns > asked - 10 * FRAME_NS


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
