# SPDX-License-Identifier: Apache-2.0
"""The real picamera2, opened again and again, unplugged, frozen, and set while it runs (docs/decisions/0027)."""

from __future__ import annotations

import gc
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from device.adapters.camera_picamera2 import Picamera2Camera
from device.adapters.clock import SystemClock
from device.capture import Capture
from device.daylight import DaylightRule
from device.errors import HardwareError
from device.optics import Optics, OpticsSettings
from device.supervisor import LatestSlot
from device.troubles import Troubles
from tests.camera import virtual

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BARS, FROZEN = 0, 1
CAMERAS = Path("/usr/share/libcamera/pipeline/virtual/virtual.yaml")


def camera(number: int = BARS, size: tuple[int, int] = (1280, 720), **options: Any) -> Picamera2Camera:
    """The adapter, not opened."""
    settings: dict[str, Any] = {"rate_hz": 30, "load_picamera2": lambda: virtual} | options
    return Picamera2Camera(number, SystemClock(), *size, lores_px=(640, 360), **settings)


def descriptors() -> int:
    """How many files this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def memory_kib() -> tuple[int, int]:
    """What this process has in memory, and what its open buffers hold whether they are mapped or not.

    On a Raspberry Pi the second is contiguous memory, which no measure of a process shows.
    """
    status = Path("/proc/self/status").read_text().splitlines()
    resident = int(next(line.split()[1] for line in status if line.startswith("VmRSS")))
    buffers = {}
    for each in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the listing itself
            if "memfd:" in str(each.readlink()):
                found = each.stat()
                buffers[found.st_ino] = found.st_blocks // 2
    return resident, sum(buffers.values())


class Growth(NamedTuple):
    """What some openings added to what ten of them left."""

    files: int
    threads: int
    resident_kib: int
    buffers_kib: int


def growth(cycles: int, collect: Callable[[], object], keep: Callable[[object], object] = id) -> Growth:
    """Opens a camera, takes a frame and closes it, over and over. keep: called with each frame."""

    def now() -> Growth:
        return Growth(descriptors(), threading.active_count(), *memory_kib())

    one = camera(collect=collect)
    for cycle in range(10 + cycles):
        one.open()
        frame = one.capture(5)
        assert frame is not None
        keep(frame)
        one.close()
        if cycle == 9:
            before = now()
    return Growth(*(after - then for after, then in zip(now(), before, strict=True)))


@pytest.fixture
def no_chance() -> Iterator[None]:
    """Python's collector comes only when it is called."""
    gc.collect()  # what other tests left
    gc.disable()
    yield
    gc.enable()
    gc.collect()


@pytest.mark.usefixtures("no_chance")
def test_closing_again_and_again_leaves_nothing_behind() -> None:
    """picamera2#887, #1102: files, threads or memory that grow with every reset end a device that resets for years."""
    grown = growth(30, gc.collect)
    assert (grown.files, grown.threads, grown.buffers_kib) == (0, 0, 0)
    assert grown.resident_kib < 8_000, "a frame has 3 MB: thirty would be 90"


@pytest.mark.usefixtures("no_chance")
def test_the_test_before_would_notice() -> None:
    """Without the collection that the adapter does, three files stay of every camera; and kept frames would show."""
    kept: list[object] = []
    grown = growth(5, lambda: None, kept.append)
    assert grown.files >= 15
    assert grown.resident_kib > 10_000


def test_tries_for_a_camera_that_is_not_there_or_busy_cost_nothing() -> None:
    """picamera2 0.3.38 leaves a pipe's end open with each: a service that waits for its camera would not live a day."""
    with closing(camera()) as other:
        other.open()
        for number, error in ((7, "there is no such camera"), (BARS, "cannot be opened")):
            one = camera(number)
            gc.collect()
            before = descriptors()
            for _ in range(20):
                with pytest.raises(HardwareError, match=error):
                    one.open()
            gc.collect()
            # The other camera runs meanwhile, and may have one more or fewer at this moment: a leak would be twenty.
            assert descriptors() < before + 5
        assert other.capture(5) is not None


class Door:
    """The capture thread's step over the real camera; its pauses between tries are real as well."""

    def __init__(self, number: int = BARS, size: tuple[int, int] = (1280, 720)) -> None:
        self.camera = camera(number, size)
        self.troubles = Troubles(SystemClock())
        self.capture = Capture(self.camera, LatestSlot(), self.troubles, stall_after_s=1.0)

    def until(self, seconds: float, done: Callable[[], bool]) -> None:
        """Steps on, and fails where that takes longer."""
        end = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < end, f"not within {seconds} s; alerts: {self.alerts()}"
            self.capture.step()

    def alerts(self) -> list[str]:
        """What stands."""
        return [f"{each.code}: {each.text}" for each in self.troubles.standing()]


@pytest.fixture
def plug() -> Iterator[Callable[[bool], None]]:
    """Takes the second camera away (False) and brings it back (True).

    Never both: libcamera's virtual pipeline that once found no camera at all finds none again in that process.
    """
    both = CAMERAS.read_text()
    first, _, second = both.partition('"Frozen picture":')
    assert second
    yield lambda there: (CAMERAS.write_text(both if there else first), None)[1]
    CAMERAS.write_text(both)


def test_a_camera_that_is_unplugged_is_an_alert_and_comes_back_without_a_restart(
    plug: Callable[[bool], None],
) -> None:
    """No frame comes any more, and it is gone from libcamera's list; later it is in it again."""
    door = Door(FROZEN, (640, 360))
    with closing(door.capture):
        door.until(5, lambda: door.capture.frames > 2)
        door.camera._camera.stop_preview()  # picamera2's thread, which hands frames on
        plug(False)
        door.until(20, lambda: door.capture.resets >= 3)
        assert door.alerts() == ["camera_lost: camera 1: there is no such camera"]
        frames = door.capture.frames
        plug(True)
        door.until(20, lambda: door.capture.frames > frames + 2)
        assert door.alerts() == []


def test_a_camera_that_gives_the_same_picture_for_ever_is_noticed() -> None:
    """Alive, frame after frame with a fresh time stamp, and frozen: picamera2#883, #952, as a user sees it."""
    door = Door(FROZEN, (640, 360))
    with closing(door.capture):
        door.until(15, lambda: door.capture.resets > 0)
        assert door.capture.frames > 100
        assert door.alerts() == ["camera_lost: the camera has shown the very same picture for 10 s"]
        frames = door.capture.frames
        door.until(10, lambda: door.capture.frames > frames)


def test_what_is_set_while_it_runs_configures_nothing_anew() -> None:
    """By night and by day again: no file and no buffer more, no frame missing (picamera2#1102, #1130)."""
    optics = Optics(OpticsSettings(daylight=DaylightRule(dwell_ns=0)))
    with closing(camera(optics=optics)) as one:
        one.open()
        assert one.capture(5) is not None
        before = (descriptors(), one._camera.camera_configuration())
        for lux in (5.0, 500.0) * 5:
            for _ in range(2):
                optics.look(lux, 0)
            frame = one.capture(1)
            assert frame is not None
            assert optics.light == ("night" if lux < 30 else "day")
            assert one._set["FrameDurationLimits"] == ((33_333, 66_600) if lux < 30 else (33_300, 33_300))
        assert (descriptors(), one._camera.camera_configuration()) == before
        assert frame is not None
        assert frame.sequence == 11


def test_what_this_camera_cannot_do_is_named_and_it_sees_all_the_same() -> None:
    """The virtual one has neither lens nor exposure nor an IMX708, for which picamera2's own helper looks."""
    settings = OpticsSettings(focus="manual", mains_hz=50, hdr="sensor", max_exposure_ms=20.0)
    optics = Optics(settings)
    with closing(camera(optics=optics)) as one:
        one.open()
        assert one.capture(5) is not None
    assert optics.unmet[0].startswith("optics.hdr: IMX708: ")
    assert optics.unmet[1:] == (
        "optics.focus: no AfMode",
        "optics.lens_dioptres: no LensPosition",
        "optics.max_exposure_ms: it can do no shorter than 33.333 ms",
        "optics.mains_hz: no AeFlickerMode",
    )
    assert optics.light == "", "nor does it tell how much light there is"


def test_frames_are_taken_at_the_rate_while_the_sensor_runs_faster() -> None:
    """30 frames a second come, 10 are wanted; what is taken was exposed when it was due, not kept from before."""
    with closing(camera(rate_hz=10)) as one:
        one.open()
        one.capture(5)
        began = time.monotonic()
        ages = []
        for _ in range(20):
            frame = one.capture(5)
            assert frame is not None
            ages.append(time.clock_gettime_ns(time.CLOCK_BOOTTIME) - frame.captured.boot_ns)
        took_s = time.monotonic() - began
    assert took_s > 1.9
    assert sorted(ages)[10] < 150_000_000
