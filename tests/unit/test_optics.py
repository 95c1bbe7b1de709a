# SPDX-License-Identifier: Apache-2.0
"""From settings to libcamera's controls, for cameras that have all of them, some, or none."""

from __future__ import annotations

from typing import Any

import pytest

from device.daylight import DaylightRule
from device.optics import Optics, OpticsSettings

# As a Camera Module 3 on a Raspberry Pi 5 offers them, read from libcamera's source (src/ipa/rpi/common/ipa_base.cpp).
MODULE_3: dict[str, Any] = {
    "AeEnable": (False, True, None),
    "AeExposureMode": (0, 3, 0),
    "AeFlickerMode": (0, 1, 0),
    "AeFlickerPeriod": (100, 1_000_000, None),
    "AeMeteringMode": (0, 3, 0),
    "AfMode": (0, 2, 0),
    "AfTrigger": (0, 1, 0),
    "AnalogueGain": (1.12, 16.0, 1.0),
    "ExposureTime": (13, 220_000_000, 20_000),
    "ExposureValue": (-8.0, 8.0, 0.0),
    "FrameDurationLimits": (17_849, 220_417_486, 33_333),
    "HdrMode": (0, 4, 0),
    "LensPosition": (0.0, 15.0, 1.0),
}
FIXED_LENS = {
    name: MODULE_3[name] for name in MODULE_3 if name not in {"AfMode", "AfTrigger", "LensPosition"}
}
VIRTUAL = {"FrameDurationLimits": (33_333, 33_333, None)}
TENTH_US = 100_000


def controls(offered: dict[str, Any] = MODULE_3, **settings: Any) -> dict[str, Any]:
    """What is set for these settings on a camera that is wanted at 10 Hz; it can follow all of them."""
    optics = Optics(OpticsSettings(**settings))
    found = optics.controls(offered, TENTH_US)
    assert optics.unmet == ()
    return found


def test_the_defaults_focus_and_expose_by_themselves_and_never_longer_than_33_ms() -> None:
    """The sensor's frames are as long as the longest exposure, though they are wanted at 10 Hz only."""
    assert controls() == {
        "AfMode": 2,
        "AeEnable": True,
        "ExposureValue": 0.0,
        "AeMeteringMode": 0,
        "AeExposureMode": 0,
        "FrameDurationLimits": (33_300, 33_300),
        "AeFlickerMode": 0,
    }


@pytest.mark.parametrize("offered", [FIXED_LENS, VIRTUAL, {}])
def test_defaults_are_never_more_than_a_camera_can_do(offered: dict[str, Any]) -> None:
    """Nobody asked for them."""
    assert set(controls(offered)) <= set(offered)


def test_a_rate_faster_than_the_longest_exposure_is_kept_while_there_is_light() -> None:
    optics = Optics()
    assert optics.controls(MODULE_3, 16_667)["FrameDurationLimits"] == (16_667, 33_300)
    assert optics.controls(MODULE_3, 0)["FrameDurationLimits"] == (33_300, 33_300)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"focus": "once"}, {"AfMode": 1, "AfTrigger": 0}),
        ({"focus": "manual", "lens_dioptres": 0.5}, {"AfMode": 0, "LensPosition": 0.5}),
        ({"ev": 1.5}, {"ExposureValue": 1.5}),
        ({"max_exposure_ms": 20.0}, {"FrameDurationLimits": (20_000, 20_000)}),
        ({"metering": "spot"}, {"AeMeteringMode": 1}),
        ({"metering": "matrix"}, {"AeMeteringMode": 2}),
        ({"mains_hz": 50}, {"AeFlickerMode": 1, "AeFlickerPeriod": 10_000}),
        ({"mains_hz": 60}, {"AeFlickerMode": 1, "AeFlickerPeriod": 8_333}),
        ({"hdr": "isp"}, {"HdrMode": 3}),
    ],
)
def test_each_option_becomes_its_control(settings: dict[str, Any], expected: dict[str, Any]) -> None:
    assert expected.items() <= controls(**settings).items()


def test_a_fixed_exposure_leaves_the_automatic_and_the_night_out() -> None:
    optics = Optics(OpticsSettings(exposure="fixed", exposure_ms=5.0, gain=4.0))
    optics.look(0.1, 0)
    assert optics.light == ""
    assert optics.controls(MODULE_3, TENTH_US) == {
        "AfMode": 2,
        "AeEnable": False,
        "ExposureTime": 5_000,
        "AnalogueGain": 4.0,
        "FrameDurationLimits": (TENTH_US, TENTH_US),
    }


def test_a_fixed_exposure_longer_than_a_frame_makes_longer_frames() -> None:
    assert controls(exposure="fixed", exposure_ms=250.0)["FrameDurationLimits"] == (250_000, 250_000)


def test_by_night_it_may_expose_longer_and_the_sensors_mode_stays() -> None:
    """Three controls, no format and no size: nothing is allocated anew."""
    optics = Optics(OpticsSettings(daylight=DaylightRule(dwell_ns=0)))
    by_day = optics.controls(MODULE_3, TENTH_US)
    optics.look(5.0, 0)
    by_night = optics.controls(MODULE_3, TENTH_US)
    changed = {name: value for name, value in by_night.items() if by_day[name] != value}
    assert changed == {"AeExposureMode": 2, "FrameDurationLimits": (66_600, 66_600)}
    optics.look(500.0, 1)
    optics.look(500.0, 2)
    assert (optics.light, optics.controls(MODULE_3, TENTH_US)) == ("day", by_day)


@pytest.mark.parametrize(
    ("settings", "unmet"),
    [
        ({"focus": "manual"}, ("optics.focus: no AfMode", "optics.lens_dioptres: no LensPosition")),
        ({"focus": "once"}, ("optics.focus: no AfMode",)),
        ({"mains_hz": 50}, ("optics.mains_hz: no AeFlickerMode",)),
        ({"metering": "spot"}, ("optics.metering: no AeMeteringMode",)),
        ({"ev": -1.0}, ("optics.ev: no ExposureValue",)),
        ({"hdr": "isp"}, ("optics.hdr: no HdrMode",)),
        (
            {"exposure": "fixed"},
            (
                "optics.exposure: no AeEnable",
                "optics.exposure_ms: no ExposureTime",
                "optics.gain: no AnalogueGain",
            ),
        ),
        (
            {"max_exposure_ms": 5.0},
            ("optics.max_exposure_ms: it can do no shorter than 33.333 ms",),
        ),
    ],
)
def test_what_was_asked_for_and_is_not_there_is_named(
    settings: dict[str, Any], unmet: tuple[str, ...]
) -> None:
    """And the rest is set all the same: the virtual camera has frames of a fixed length and nothing else."""
    optics = Optics(OpticsSettings(**settings))
    found = optics.controls(VIRTUAL, TENTH_US)
    assert optics.unmet == unmet
    assert set(found) == {"FrameDurationLimits"}


def test_a_value_beyond_the_camera_is_moved_to_its_limit_and_named() -> None:
    optics = Optics(OpticsSettings(focus="manual", lens_dioptres=20.0, exposure="fixed", gain=40.0))
    found = optics.controls(MODULE_3, TENTH_US)
    assert (found["LensPosition"], found["AnalogueGain"]) == (15.0, 16.0)
    assert optics.unmet == (
        "optics.lens_dioptres: it can do 0 to 15",
        "optics.gain: it can do 1.12 to 16",
    )


def test_what_failed_at_opening_is_named_too() -> None:
    optics = Optics(OpticsSettings(hdr="sensor"))
    assert "HdrMode" not in optics.controls(MODULE_3, TENTH_US, ("optics.hdr: no such sensor",))
    assert optics.unmet == ("optics.hdr: no such sensor",)


def test_changed_settings_hold_from_the_next_frame_on() -> None:
    """And day or night is judged anew by their thresholds."""
    optics = Optics(OpticsSettings(metering="spot"))
    optics.controls(VIRTUAL, TENTH_US)
    optics.look(40.0, 0)
    assert (optics.light, bool(optics.unmet)) == ("day", True)
    optics.change(OpticsSettings(daylight=DaylightRule(night_below_lux=50.0)))
    optics.look(40.0, 1)
    optics.controls(VIRTUAL, TENTH_US)
    assert (optics.light, optics.unmet) == ("night", ())


def test_the_same_settings_again_do_not_begin_the_night_anew() -> None:
    """Every reload hands them over, changed or not."""
    optics = Optics()
    optics.look(40.0, 0)
    optics.change(OpticsSettings())
    assert optics.light == "day"


@pytest.mark.parametrize(
    ("change", "reopens"),
    [
        ({"hdr": "sensor"}, True),
        ({"exposure": "fixed"}, True),
        ({"ev": 1.0, "focus": "once", "mains_hz": 50, "max_exposure_ms": 5.0}, False),
    ],
)
def test_only_two_options_need_the_camera_opened_anew(change: dict[str, Any], reopens: bool) -> None:
    assert OpticsSettings().needs_reopening(OpticsSettings(**change)) is reopens
