# SPDX-License-Identifier: Apache-2.0
"""The CSI camera over a stand-in for picamera2, set while it runs, and unplugged beneath the capture thread."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from device.adapters.camera_picamera2 import Picamera2Camera
from device.adapters.camera_picamera2_standin import StandinModule
from device.adapters.clock import ManualClock
from device.capture import Capture
from device.daylight import DaylightRule
from device.errors import HardwareError
from device.optics import Optics, OpticsSettings
from device.supervisor import LatestSlot
from device.troubles import Troubles
from tests.pictures import Waits, drawn

EXPOSES = {"AeEnable": (False, True, None), "AeExposureMode": (0, 3, 0), "ExposureValue": (-8.0, 8.0, 0.0)}


def posed(settings: OpticsSettings, **module: Any) -> tuple[StandinModule, Picamera2Camera, Optics, Waits]:
    """A camera at 10 Hz with optics, on a clock that only waiting moves."""
    clock = ManualClock()
    waits, optics = Waits(clock), Optics(settings)
    standin = StandinModule(clock, drawn, **module)
    camera = Picamera2Camera(
        0,
        clock,
        200,
        120,
        lores_px=(100, 100),
        rate_hz=10,
        optics=optics,
        load_picamera2=lambda: standin,
        wait=waits,
    )
    return standin, camera, optics, waits


def test_frames_are_taken_at_the_rate_though_the_sensor_is_faster() -> None:
    """Exposures of at most 33 ms make it give 30 frames a second; ten are asked for."""
    _, camera, _, waits = posed(OpticsSettings())
    camera.open()
    frames = [camera.capture(1.0) for _ in range(5)]
    stamps = [frame.captured.boot_ns for frame in frames if frame is not None]
    assert [after - before for before, after in pairwise(stamps)] == [100_000_000] * 4
    assert waits.seconds == pytest.approx([0.1] * 4)


def test_a_sensor_as_slow_as_the_rate_is_not_waited_for_besides() -> None:
    """It keeps the rate by itself: two paces would miss every other frame."""
    _, camera, _, waits = posed(OpticsSettings(max_exposure_ms=100.0, night_max_exposure_ms=100.0))
    camera.open()
    for _ in range(5):
        camera.capture(1.0)
    assert waits.seconds == []


def test_night_comes_and_goes_by_controls_of_the_running_camera() -> None:
    """Nothing is configured a second time (raspberrypi/picamera2#1102, #1130)."""
    rule = DaylightRule(dwell_ns=2_000_000_000)
    module, camera, optics, _ = posed(OpticsSettings(daylight=rule), offers=EXPOSES)
    camera.open()

    def light_after(lux: float) -> str:
        module.metadata["Lux"] = lux
        for _ in range(25):
            camera.capture(1.0)
        return optics.light

    assert [light_after(lux) for lux in (400.0, 3.0, 400.0)] == ["day", "night", "day"]
    by_day = {"AeExposureMode": 0, "FrameDurationLimits": (33_300, 33_300)}
    by_night = {"AeExposureMode": 2, "FrameDurationLimits": (66_600, 66_600)}
    assert module.set == [{**by_day, "AeEnable": True, "ExposureValue": 0.0}, by_night, by_day]
    assert len(module.configurations) == 1


def test_without_lux_the_exposure_says_when_it_is_night() -> None:
    """At the end of its means, and the picture still dark: `drawn` is brighter than grey on its left half."""
    _, camera, optics, _ = posed(
        OpticsSettings(), metadata={"ExposureTime": 33_300, "AnalogueGain": 16.0, "DigitalGain": 4.0}
    )
    camera.open()
    camera.capture(1.0)
    assert optics.light == "night"


def test_optics_changed_while_it_runs_is_set_with_the_next_frame_and_only_the_difference() -> None:
    module, camera, optics, _ = posed(OpticsSettings(), offers=EXPOSES)
    camera.open()
    camera.capture(1.0)
    optics.change(OpticsSettings(ev=1.0))
    camera.capture(1.0)
    camera.capture(1.0)
    assert module.set[1:] == [{"ExposureValue": 1.0}]
    assert len(module.configurations) == 1


def test_a_camera_that_refuses_a_control_at_its_start_is_given_back() -> None:
    module, camera, _, _ = posed(OpticsSettings(), fails={"set_controls": RuntimeError("no")})
    with pytest.raises(HardwareError, match="cannot be started: no"):
        camera.open()
    assert module.taken == []


def test_a_camera_that_refuses_a_control_while_it_runs_is_reset_like_after_any_failure() -> None:
    module, camera, optics, _ = posed(OpticsSettings(), offers=EXPOSES)
    camera.open()
    module.fails["set_controls"] = RuntimeError("no")
    optics.change(OpticsSettings(ev=1.0))
    with pytest.raises(HardwareError, match="does not take a control: no"):
        camera.capture(1.0)
    assert module.held == 0


def test_sensor_hdr_is_switched_before_the_camera_is_opened() -> None:
    """And where that fails the camera opens without, and says so."""
    module, _, optics, waits = posed(OpticsSettings(hdr="sensor"))
    switched: list[tuple[int, int]] = []

    def switch(number: int) -> None:
        switched.append((number, len(module.taken)))
        if len(switched) > 1:
            raise RuntimeError("no such sensor")

    camera = Picamera2Camera(
        0,
        module.clock,
        200,
        120,
        lores_px=(100, 100),
        optics=optics,
        load_picamera2=lambda: module,
        sensor_hdr=switch,
        wait=waits,
    )
    camera.open()
    assert (switched, optics.unmet) == ([(0, 0)], ())
    camera.open()
    assert camera.capture(1.0) is not None
    assert optics.unmet == ("optics.hdr: no such sensor",)


def test_sensor_hdr_without_picamera2s_helper_is_an_error_that_opening_survives() -> None:
    """The real switch, on a machine without picamera2."""
    module, camera, optics, _ = posed(OpticsSettings(hdr="sensor"))
    camera.open()
    assert optics.unmet == ("optics.hdr: No module named 'picamera2'",)
    assert module.taken == [0]


class Door:
    """The capture thread's step over the stand-in, on a clock that only waiting moves."""

    def __init__(self, settings: OpticsSettings) -> None:
        self.module, camera, self.optics, waits = posed(settings)
        self.troubles = Troubles(self.module.clock)
        self.capture = Capture(
            camera, LatestSlot(), self.troubles, stall_after_s=3.0, optics=self.optics, wait=waits
        )

    def steps(self, times: int) -> None:
        for _ in range(times):
            self.capture.step()

    def codes(self) -> list[str]:
        return [trouble.code for trouble in self.troubles.standing()]


def test_a_camera_that_was_unplugged_is_an_alert_and_is_back_without_a_restart() -> None:
    """Tried again and again, half a minute apart at most, for as long as it takes."""
    door = Door(OpticsSettings())
    door.steps(3)
    door.module.unplug()
    door.steps(1)
    assert door.codes() == ["camera_lost"]
    door.steps(20_000)
    assert door.capture.resets > 60
    assert "there is no such camera" in door.troubles.standing()[0].text
    frames = door.capture.frames
    door.module.plug()
    door.steps(302)
    assert door.codes() == []
    assert door.capture.frames > frames
    assert door.module.held == 0


def test_what_a_camera_cannot_do_is_an_alert_and_no_reason_not_to_see() -> None:
    door = Door(OpticsSettings(focus="manual", metering="spot"))
    door.steps(3)
    assert door.capture.frames == 3
    assert door.codes() == ["camera_limited"]
    assert "optics.focus: no AfMode" in door.troubles.standing()[0].text
    door.optics.change(OpticsSettings())
    door.steps(2)  # one frame to set it, one to say so
    assert door.codes() == []
