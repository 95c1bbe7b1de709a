# SPDX-License-Identifier: Apache-2.0
"""The CSI camera over a stand-in for picamera2: what it asks for, what it gives back, and how it fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device.adapters.camera_picamera2 import Picamera2Camera
from device.adapters.camera_picamera2_standin import StandinModule, yuv420
from device.adapters.clock import ManualClock
from device.errors import CameraStalledError, HardwareError
from device.vision.yuv420 import FORMATS, rgb_and_luma
from tests.pictures import drawn

ODD_WIDTH = 200  # not a multiple of the stand-in's row alignment of 64: rows are padded


def rig(clock: ManualClock | None = None, **failures: Any) -> tuple[StandinModule, Picamera2Camera]:
    """A camera of 200 x 120 px at 10 Hz and the module it believes to be picamera2."""
    clock = clock or ManualClock()
    module = StandinModule(clock, drawn, **failures)
    camera = Picamera2Camera(
        0, clock, ODD_WIDTH, 120, lores_px=(100, 100), rate_hz=10, load_picamera2=lambda: module
    )
    return module, camera


def test_the_configuration_asks_for_rgb_main_and_yuv_lores_of_the_same_field() -> None:
    """Few buffers, no kept frame; no autofocus where the lens cannot move; frames no longer than an exposure may be."""
    module, camera = rig()
    camera.open()
    (asked,) = module.configurations
    assert (asked["main"]["format"], asked["main"]["size"]) == ("BGR888", (200, 120))
    assert (asked["lores"]["format"], asked["lores"]["size"]) == ("YUV420", (100, 60))
    assert asked["queue"] is False
    assert asked["buffer_count"] == 4
    assert module.set == [{"FrameDurationLimits": (33_300, 33_300)}]
    assert (asked["display"], asked["encode"]) == (None, None)


def test_sizes_are_made_even() -> None:
    """libcamera refuses odd ones; lores never exceeds main."""
    module = StandinModule(ManualClock(), drawn)
    camera = Picamera2Camera(0, ManualClock(), 321, 241, lores_px=(640, 480), load_picamera2=lambda: module)
    camera.open()
    assert module.configurations[0]["main"]["size"] == (320, 240)
    assert module.configurations[0]["lores"]["size"] == (320, 240)


def test_a_lens_that_can_move_focuses_continuously() -> None:
    """Camera Module 3 would otherwise stay focused far away."""
    module, camera = rig(autofocus=True)
    camera.open()
    assert module.set[0]["AfMode"] == 2


def test_padding_never_shows_in_a_view() -> None:
    """Rows of main and lores are cropped to the width; colours survive YUV within rounding."""
    _, camera = rig()
    camera.open()
    frame = camera.capture(1.0)
    assert frame is not None
    np.testing.assert_array_equal(frame.main, drawn(0, (200, 120)))
    assert frame.lores.shape == (60, 100, 3)
    # 4:2:0 halves the colour where red meets grey; elsewhere only rounding is lost.
    away = np.r_[0:48, 52:100]
    error = np.abs(frame.lores.astype(int) - drawn(0, (100, 60)).astype(int))[:, away]
    assert error.max() <= 6
    assert frame.luma.shape == (60, 100)


def test_where_the_camera_has_no_rgb_nv12_is_taken() -> None:
    """As libcamera's pipelines for USB and for tests grant it; the padding shows in neither view."""
    _, camera = rig(granted={"main": "NV12", "lores": "NV12"})
    camera.open()
    frame = camera.capture(1.0)
    assert frame is not None
    for view, size in ((frame.main, (200, 120)), (frame.lores, (100, 60))):
        error = np.abs(view.astype(int) - drawn(0, size).astype(int))
        assert view.shape == (size[1], size[0], 3)
        assert np.median(error) <= 1
        assert error[:, : size[0] // 2 - 2].max() <= 6


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("size_px", [(100, 60), (64, 46), (66, 2), (320, 180)])
def test_yuv420_is_full_range_bt_601(size_px: tuple[int, int], form: str) -> None:
    """White is 255, black 0 (limited range would give 235 and 16); chroma planes are found in any height."""
    width, height = size_px
    for colour in ((255, 255, 255), (0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 150, 120)):
        picture = np.full((height, width, 3), colour, np.uint8)
        rgb, luma = rgb_and_luma(yuv420(picture, -(-width // 64) * 64, form), form, size_px)
        assert np.abs(rgb.astype(int) - picture.astype(int)).max() <= 2
        expected = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
        assert np.abs(luma.astype(float) - expected).max() <= 1


def test_every_request_is_released_at_once() -> None:
    """More captures than there are buffers, and none is held after any of them."""
    module, camera = rig()
    camera.open()
    for _ in range(10):
        assert camera.capture(1.0) is not None
        assert module.held == 0


def test_a_request_is_released_even_when_it_cannot_be_copied() -> None:
    """And the failure is a HardwareError."""
    module, camera = rig(fails={"make_array": RuntimeError("Format not supported")})
    camera.open()
    with pytest.raises(HardwareError, match="cannot be read: Format not supported"):
        camera.capture(1.0)
    assert module.held == 0


def test_a_frame_is_stamped_with_the_moment_of_its_exposure() -> None:
    """SensorTimestamp on boot time; UTC is as much earlier."""
    clock = ManualClock()
    _, camera = rig(clock, timestamp_offset_ns=-45_000_000)
    camera.open()
    frame = camera.capture(1.0)
    assert frame is not None
    assert clock.now().boot_ns - frame.captured.boot_ns == 45_000_000
    assert clock.now().utc_ns - frame.captured.utc_ns == 45_000_000


@pytest.mark.parametrize("offset_ns", [5_000_000, -3_000_000_000_000])
def test_a_time_stamp_of_another_clock_is_not_believed(offset_ns: int) -> None:
    """In the future, or long past: the moment of the capture stands in."""
    clock = ManualClock()
    _, camera = rig(clock, timestamp_offset_ns=offset_ns)
    camera.open()
    frame = camera.capture(1.0)
    assert frame is not None
    assert frame.captured == clock.now()


def test_a_stall_is_cured_by_a_full_reset() -> None:
    """The object is dropped and a new one is made; the sequence goes on."""
    module, camera = rig(stall_after=2)
    camera.open()
    assert [camera.capture(1.0) is not None for _ in range(2)] == [True, True]
    with pytest.raises(CameraStalledError, match="camera 0: no frame for 3 s"):
        camera.capture(3.0)
    camera.close()
    assert module.taken == []
    camera.open()
    frame = camera.capture(1.0)
    assert frame is not None
    assert frame.sequence == 3
    assert len(module.configurations) == 2


def test_a_request_that_comes_at_the_last_moment_is_released() -> None:
    """Between the timeout and the cancelling; else its buffer would be lost for good."""
    module, camera = rig(stall_after=0, late=True)
    camera.open()
    with pytest.raises(CameraStalledError):
        camera.capture(1.0)
    assert module.frames == 1
    assert module.held == 0


def test_a_close_that_fails_still_lets_go(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged; the next open makes a new object."""
    module, camera = rig(fails={"close": RuntimeError("Unable to stop preview.")})
    camera.open()
    camera.close()
    assert [record.message.split()[0] for record in caplog.records] == ["camera_close_failed"]
    camera.open()
    assert len(module.configurations) == 2


def no_module() -> Any:
    """As on a machine without picamera2."""
    raise ModuleNotFoundError("No module named 'picamera2'")


def wrong_numpy() -> Any:
    """As with a libcamera that was built for another numpy."""
    raise ValueError("numpy.dtype size changed, may indicate binary incompatibility")


@pytest.mark.parametrize("load", [no_module, wrong_numpy])
def test_without_a_usable_picamera2_the_hint_says_what_to_install(load: Any) -> None:
    """The distribution's package, seen from the environment."""
    camera = Picamera2Camera(0, ManualClock(), 64, 48, lores_px=(32, 32), load_picamera2=load)
    with pytest.raises(HardwareError, match="picamera2 cannot be imported") as caught:
        camera.open()
    assert "python3-picamera2" in caught.value.hint


def test_the_real_module_is_asked_for_by_default() -> None:
    """Here it is not installed, which must come out as the same clear error."""
    with pytest.raises(HardwareError, match="picamera2 cannot be imported"):
        Picamera2Camera(0, ManualClock(), 64, 48, lores_px=(32, 32)).open()


@pytest.mark.parametrize("old", [False, True])
def test_a_camera_that_is_not_there_is_named(old: bool) -> None:
    """The real constructor raises RuntimeError, an older one IndexError."""
    _, camera = rig(cameras=0, old=old)
    with pytest.raises(HardwareError, match="camera 0: there is no such camera") as caught:
        camera.open()
    assert "ribbon cable" in caught.value.hint


def test_a_camera_that_is_busy_is_named() -> None:
    """Somebody else has it."""
    module, camera = rig()
    module.taken.append(0)
    with pytest.raises(HardwareError, match="cannot be opened") as caught:
        camera.open()
    assert "does another program use it" in caught.value.hint


def open_files() -> int:
    """How many files this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize(
    "broken",
    [
        {"cameras": 0},
        {"fails": {"Picamera2": RuntimeError("Failed to acquire camera: Device or resource busy")}},
        {"fails": {"create_preview_configuration": RuntimeError("no formats")}},
        {"fails": {"start": RuntimeError("Broken pipe")}},
    ],
)
def test_tries_that_fail_cost_no_file_each(broken: dict[str, Any]) -> None:
    """One every half minute is a thousand in a night, and a thousand files are all that a service has."""
    module, camera = rig(**broken)
    before = open_files()
    for _ in range(50):
        with pytest.raises(HardwareError):
            camera.open()
    assert open_files() == before
    assert module.taken == []


@pytest.mark.parametrize("method", ["configure", "start"])
def test_a_camera_that_fails_to_start_is_given_back(method: str) -> None:
    """So that the next open finds it free."""
    module, camera = rig(fails={method: RuntimeError("Configuration failed")})
    with pytest.raises(HardwareError, match="cannot be started: Configuration failed"):
        camera.open()
    assert module.taken == []


def test_memory_that_runs_out_is_named() -> None:
    """The DMA heap's ENOMEM (picamera2#887, #1102)."""
    _, camera = rig(fails={"configure": OSError(12, "Cannot allocate memory")})
    with pytest.raises(HardwareError, match="Cannot allocate memory") as caught:
        camera.open()
    assert "CmaFree" in caught.value.hint


def test_other_formats_than_those_asked_are_refused() -> None:
    """libcamera adjusts without asking; pixels of another format would look like noise."""
    module, camera = rig(granted={"main": "XBGR8888"})
    with pytest.raises(HardwareError, match="it offers XBGR8888 and YUV420 where BGR888 and YUV420"):
        camera.open()
    assert module.taken == []


def test_a_picamera2_without_timeouts_is_refused() -> None:
    """0.3.18 would wait for ever for a camera that froze."""

    class Old:
        camera_controls: dict[str, Any] = {}  # noqa: RUF012  a stand-in's attribute
        closed = False

        def __init__(self, number: int) -> None:
            pass

        def close(self) -> None:
            Old.closed = True

    class OldModule:
        Picamera2 = Old

    camera = Picamera2Camera(0, ManualClock(), 64, 48, lores_px=(32, 32), load_picamera2=OldModule)
    with pytest.raises(HardwareError, match="wait for ever"):
        camera.open()
    assert Old.closed


def test_an_error_while_waiting_is_a_hardware_error() -> None:
    """picamera2 raises RuntimeErrors from its event loop into the job."""
    _, camera = rig(fails={"capture_request": RuntimeError("Camera not started")})
    camera.open()
    with pytest.raises(HardwareError, match="failed: Camera not started"):
        camera.capture(1.0)


@pytest.mark.parametrize("form", [None, *FORMATS])
@pytest.mark.parametrize("width", [62, 66, 126, 130, 198, 202])
def test_every_width_is_cropped_from_its_padded_rows_in_every_format(width: int, form: str | None) -> None:
    """One pair of columns less or more than the row alignment; the last column is the picture's, not padding."""
    granted = {"main": form, "lores": form} if form else {}
    module = StandinModule(ManualClock(), drawn, granted=granted)
    camera = Picamera2Camera(
        0, module.clock, width, 62, lores_px=(width, 62), load_picamera2=lambda: module, wait=lambda _s: None
    )
    camera.open()
    frame = camera.capture(1.0)
    assert frame is not None
    for view in (frame.main, frame.lores):
        assert view.shape == (62, width, 3)
        error = np.abs(view[:, -3:].astype(int) - drawn(0, (width, 62))[:, -3:].astype(int))
        assert error.max() <= 6
