# SPDX-License-Identifier: Apache-2.0
"""What every camera promises (`ports.Camera`), over the real ones (picamera2 and USB on stand-ins) and the fake."""

from __future__ import annotations

from typing import TYPE_CHECKING

import av
import numpy as np
import pytest

from device.adapters.camera_files import FilesCamera
from device.adapters.camera_picamera2 import Picamera2Camera
from device.adapters.camera_picamera2_standin import StandinModule
from device.adapters.camera_scripted import ScriptedCamera
from device.adapters.camera_video import UsbCamera, VideoFileCamera
from device.adapters.clock import ManualClock
from tests.pictures import Waits, drawn, save, save_gif, save_video

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from device.ports import Camera

SIZE = (160, 120)
LORES = (80, 80)  # the aspect makes it 80 x 60
FRAMES = 4
ENDING = ("folder", "gif", "video", "scripted")
ENDLESS = ("usb", "picamera2")


def usb_camera(tmp_path: Path, clock: ManualClock) -> UsbCamera:
    """A USB camera whose device is a character device that is always there, and whose frames are a video's."""
    video = save_video(tmp_path / "usb.avi", 30, size_px=SIZE, codec="mjpeg")
    return UsbCamera(
        "/dev/null",
        clock,
        *SIZE,
        lores_px=LORES,
        rate_hz=10,
        wait=Waits(clock),
        open_container=lambda: av.open(str(video)),
        readable=lambda seconds: seconds > 0,
    )


def make(kind: str, tmp_path: Path, clock: ManualClock) -> Camera:
    """One camera of each kind; those that end do so after FRAMES frames."""
    waits = Waits(clock)
    match kind:
        case "folder":
            for number in range(FRAMES):
                save(tmp_path / f"{number}.png", number, SIZE)
            return FilesCamera(tmp_path, clock, *SIZE, lores_px=LORES, rate_hz=10, wait=waits)
        case "gif":
            gif = save_gif(tmp_path / "a.gif", FRAMES, SIZE)
            return FilesCamera(gif, clock, *SIZE, lores_px=LORES, rate_hz=10, wait=waits)
        case "video":
            video = save_video(tmp_path / "a.mp4", FRAMES, size_px=SIZE)
            return VideoFileCamera(video, clock, *SIZE, lores_px=LORES, rate_hz=10, wait=waits)
        case "scripted":
            pictures = [drawn(number, SIZE) for number in range(FRAMES)]
            return ScriptedCamera(pictures, clock, lores_px=LORES, live=False, period_s=0.1, wait=waits)
        case "usb":
            return usb_camera(tmp_path, clock)
        case _:
            return Picamera2Camera(0, clock, *SIZE, lores_px=LORES, load_picamera2=lambda: ticking(clock))


def ticking(clock: ManualClock) -> StandinModule:
    """A picamera2 whose clock moves with every frame."""

    def picture(number: int, size_px: tuple[int, int]) -> NDArray[np.uint8]:
        clock.advance(0.05)
        return drawn(number, size_px)

    return StandinModule(clock, picture)


@pytest.fixture(params=ENDING + ENDLESS)
def camera(request: pytest.FixtureRequest, tmp_path: Path) -> Camera:
    """Each camera in turn, not yet open."""
    return make(request.param, tmp_path, ManualClock())


def test_a_frame_has_three_views_of_one_field(camera: Camera) -> None:
    """Shapes, dtype and layout are those that `records.Frame` names."""
    camera.open()
    frame = camera.capture(1.0)
    camera.close()
    assert frame is not None
    assert frame.main.shape == (120, 160, 3)
    assert frame.lores.shape == (60, 80, 3)
    assert frame.luma.shape == (60, 80)
    for view in (frame.main, frame.lores, frame.luma):
        assert view.dtype == np.uint8
        assert view.flags.c_contiguous
    for view in (frame.main, frame.lores):
        left, right = view[10, 5].astype(int), view[10, -5].astype(int)
        assert left[0] > 200 > right[0] + 100, "red stands in the first channel, on the left"


def test_sequence_and_stamps_only_go_up(camera: Camera) -> None:
    """Numbers rise by one, both clocks move on, and the stamps carry whether UTC is known."""
    camera.open()
    frames = [frame for frame in (camera.capture(1.0) for _ in range(3)) if frame is not None]
    camera.close()
    assert [frame.sequence for frame in frames] == [1, 2, 3]
    assert frames[0].captured.boot_ns < frames[1].captured.boot_ns < frames[2].captured.boot_ns
    assert frames[0].captured.utc_ns < frames[1].captured.utc_ns < frames[2].captured.utc_ns
    assert all(frame.captured.synced for frame in frames)


def test_a_frame_keeps_its_pixels_when_later_ones_are_captured(camera: Camera) -> None:
    """No view is a window into a buffer that the camera fills again."""
    camera.open()
    first = camera.capture(1.0)
    assert first is not None
    before = (first.main.copy(), first.lores.copy(), first.luma.copy())
    later = [camera.capture(1.0) for _ in range(2)]
    camera.close()
    for view, copy in zip((first.main, first.lores, first.luma), before, strict=True):
        np.testing.assert_array_equal(view, copy)
    assert later[0] is not None
    assert not np.array_equal(later[0].main, first.main), "the later frame really is another picture"


def test_close_may_be_repeated_and_open_may_follow(camera: Camera) -> None:
    """A full reset: the sequence goes on, frames come again."""
    camera.close()
    camera.open()
    first = camera.capture(1.0)
    camera.close()
    camera.close()
    camera.open()
    second = camera.capture(1.0)
    camera.close()
    assert first is not None
    assert second is not None
    assert second.sequence == first.sequence + 1


def test_capture_before_open_is_a_programming_error(camera: Camera) -> None:
    """Not a PorterError: nobody outside can mend it."""
    with pytest.raises(RuntimeError, match="before open"):
        camera.capture(1.0)


@pytest.mark.parametrize("kind", ENDING)
def test_a_source_that_ends_gives_none_and_stays_ended(kind: str, tmp_path: Path) -> None:
    """After the last frame there is None, again and again; opened anew it begins anew."""
    camera = make(kind, tmp_path, ManualClock())
    camera.open()
    shown = [camera.capture(1.0) for _ in range(FRAMES + 2)]
    assert [frame is None for frame in shown] == [False] * FRAMES + [True, True]
    camera.open()
    assert camera.capture(1.0) is not None
    camera.close()


@pytest.mark.parametrize(
    ("kind", "live"), [(kind, False) for kind in ENDING] + [(kind, True) for kind in ENDLESS]
)
def test_only_a_sensor_is_live(kind: str, live: bool, tmp_path: Path) -> None:
    """What is enrolled from files is marked simulated; this is where that begins."""
    assert make(kind, tmp_path, ManualClock()).live is live
