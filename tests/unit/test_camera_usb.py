# SPDX-License-Identifier: Apache-2.0
"""USB cameras through PyAV, over a video in the device's place: stalls, unplugging, and coming back."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import av
import pytest

from device.adapters.camera_video import UsbCamera
from device.adapters.camera_video.usb import readiness
from device.adapters.clock import ManualClock
from device.capture import Capture
from device.errors import CameraStalledError, HardwareError, InputError
from device.supervisor import LatestSlot
from device.troubles import Troubles
from tests.pictures import Waits, number_of, save, save_video

if TYPE_CHECKING:
    from pathlib import Path


class Device:
    """A USB camera's stand-in: a video of motion JPEG, and a script of what `readable` answers."""

    def __init__(self, path: Path, frames: int, ready: list[bool] | None = None) -> None:
        self.video = save_video(path / "usb.avi", frames, codec="mjpeg")
        self.ready = ready
        self.asked: list[float] = []
        self.containers: list[Any] = []

    def open_container(self) -> Any:
        self.containers.append(av.open(str(self.video)))
        return self.containers[-1]

    def readable(self, seconds: float) -> bool:
        self.asked.append(seconds)
        return self.ready.pop(0) if self.ready else seconds > 0

    def camera(self, **options: Any) -> UsbCamera:
        clock = ManualClock()
        return UsbCamera(
            "/dev/null",
            clock,
            64,
            48,
            lores_px=(32, 32),
            wait=Waits(clock),
            open_container=self.open_container,
            readable=self.readable,
            **options,
        )


def test_only_the_newest_usb_frame_is_decoded(tmp_path: Path) -> None:
    """Three packets have queued up while nobody asked: the third is shown, then the next."""
    device = Device(tmp_path, 8, ready=[True, True, True, False, True, False])
    camera = device.camera()
    camera.open()
    assert [number_of(camera.capture(1.0)) for _ in range(2)] == [2, 3]
    camera.close()


def test_usb_frames_come_at_most_at_the_given_rate(tmp_path: Path) -> None:
    """Stamps lie a period apart, whatever rate the camera chose."""
    camera = Device(tmp_path, 8).camera(rate_hz=5)
    camera.open()
    first, second = camera.capture(1.0), camera.capture(1.0)
    assert first is not None
    assert second is not None
    assert second.captured.boot_ns - first.captured.boot_ns == 200_000_000
    camera.close()


def test_a_usb_camera_that_stops_sending_is_a_stall(tmp_path: Path) -> None:
    """After the timeout that was asked for; a reset cures it."""
    device = Device(tmp_path, 8, ready=[True, False, False])
    camera = device.camera()
    camera.open()
    assert camera.capture(1.0) is not None
    with pytest.raises(CameraStalledError, match="no frame for 3 s"):
        camera.capture(3.0)
    assert device.asked[-1] == 3.0
    camera.close()
    camera.open()
    assert camera.capture(1.0) is not None
    camera.close()
    assert len(device.containers) == 2


def test_a_usb_camera_that_ends_was_unplugged(tmp_path: Path) -> None:
    """A sensor has no last frame."""
    camera = Device(tmp_path, 1).camera()
    camera.open()
    assert camera.capture(1.0) is not None
    with pytest.raises(HardwareError, match="stopped") as caught:
        camera.capture(1.0)
    assert "unplugged" in caught.value.hint
    camera.close()


def test_a_usb_camera_that_comes_back_under_another_number_is_found_by_its_lasting_name(
    tmp_path: Path,
) -> None:
    """And until then nothing is opened: what has its old number by now is somebody else's camera."""
    by_id = tmp_path / "by-id"
    by_id.mkdir()
    (by_id / "usb-another-camera").symlink_to("/dev/full")
    name = by_id / "usb-Maker_Camera_0123-video-index0"
    name.symlink_to("/dev/null")
    device = Device(tmp_path, 8)
    camera = device.camera(by_id=by_id)
    camera.open()
    assert camera.device == "/dev/null"
    name.unlink()
    for _ in range(3):
        with pytest.raises(
            HardwareError, match=r"usb-Maker_Camera_0123-video-index0: .* No such file"
        ) as caught:
            camera.open()
        assert "is it plugged in?" in caught.value.hint
    assert len(device.containers) == 1
    name.symlink_to("/dev/zero")
    camera.open()
    assert camera.capture(1.0) is not None
    assert camera.device == str(name)
    camera.close()


@pytest.mark.parametrize("names", [(), ("usb-another-camera",)])
def test_a_usb_camera_without_a_lasting_name_is_opened_by_its_number(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    """No folder of them, or none for this one; and a dangling name is none."""
    by_id = tmp_path / "by-id"
    if names:
        by_id.mkdir()
        (by_id / "dangling").symlink_to("/dev/video987")
    for each in names:
        (by_id / each).symlink_to("/dev/full")
    camera = Device(tmp_path, 8).camera(by_id=by_id)
    for _ in range(2):
        camera.open()
        assert camera.device == "/dev/null"
    camera.close()


def test_a_usb_camera_that_was_unplugged_is_an_alert_and_is_back_without_a_restart(tmp_path: Path) -> None:
    """Through the capture thread's step, on a clock that only waiting moves."""
    name = tmp_path / "usb-Maker_Camera_0123-video-index0"
    name.symlink_to("/dev/null")
    device, clock = Device(tmp_path, 8), ManualClock()
    camera = device.camera(by_id=tmp_path)
    troubles = Troubles(clock)
    capture = Capture(camera, LatestSlot(), troubles, stall_after_s=3.0, wait=Waits(clock))
    capture.step()
    name.unlink()
    for _ in range(5_000):
        capture.step()
    assert [trouble.code for trouble in troubles.standing()] == ["camera_lost"]
    assert capture.resets > 15
    frames = capture.frames
    name.symlink_to("/dev/zero")
    for _ in range(302):
        capture.step()
        if capture.frames > frames:
            break
    assert troubles.standing() == []
    capture.close()


def test_a_number_means_the_video_device_of_that_number(tmp_path: Path) -> None:
    """As in `porter demo --camera 0`; missing, it says how to list what is there."""
    with pytest.raises(
        HardwareError, match=r"/dev/video987: expected a USB camera, but: No such file"
    ) as caught:
        UsbCamera("987", ManualClock(), 64, 48, lores_px=(32, 32)).open()
    assert "plugged in" in caught.value.hint


def test_a_file_is_no_usb_camera(tmp_path: Path) -> None:
    """A picture, a video: the hint names the right source."""
    with pytest.raises(InputError, match="expected a camera device") as caught:
        UsbCamera(save(tmp_path / "a.png"), ManualClock(), 64, 48, lores_px=(32, 32)).open()
    assert "source: files" in caught.value.hint


def test_a_device_that_is_no_camera_is_a_hardware_error() -> None:
    """FFmpeg's own V4L2 input is asked, and refuses; the camera can be closed and opened again."""
    camera = UsbCamera("/dev/null", ManualClock(), 64, 48, lores_px=(32, 32), input_format="mjpeg")
    for _ in range(2):
        with pytest.raises(HardwareError, match="/dev/null: expected a USB camera"):
            camera.open()
    camera.close()


def test_an_open_device_is_waited_for_by_its_own_descriptor() -> None:
    """A terminal stands in for the camera: nothing to read at first, then something."""
    master, slave = os.openpty()
    try:
        ready = readiness(os.ttyname(slave))
        assert not ready(0.0)
        os.write(master, b"frame\n")
        assert ready(1.0)
    finally:
        os.close(master)
        os.close(slave)


def test_a_device_that_nobody_opened_cannot_be_waited_for() -> None:
    """Rather than waiting on something else."""
    with pytest.raises(FileNotFoundError, match="/dev/full"):
        readiness("/dev/full")
