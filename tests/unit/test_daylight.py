# SPDX-License-Identifier: Apache-2.0
"""Day and night: two thresholds, a wait, and what is taken for the light where a camera does not measure it."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from device.daylight import Daylight, DaylightRule, lux_of

if TYPE_CHECKING:
    from collections.abc import Sequence

S = 1_000_000_000
RULE = DaylightRule("auto", night_below_lux=30, day_above_lux=60, dwell_ns=30 * S)


def lights(lux_per_second: Sequence[float | None], rule: DaylightRule = RULE) -> list[str]:
    """The word after each second."""
    daylight = Daylight(rule)
    return [daylight.look(lux, second * S) for second, lux in enumerate(lux_per_second)]


@pytest.mark.parametrize(("lux", "light"), [(29.9, "night"), (30.0, "day"), (59.0, "day"), (20_000.0, "day")])
def test_the_first_frame_decides_at_once(lux: float, light: str) -> None:
    assert lights([lux]) == [light]


def test_dusk_switches_once_and_only_after_the_wait() -> None:
    words = lights([100.0] * 10 + [20.0] * 40)
    assert words[:40] == ["day"] * 40
    assert words[40:] == ["night"] * 10


def test_dawn_switches_back_above_the_other_limit() -> None:
    words = lights([10.0] + [45.0] * 100 + [61.0] * 32)
    assert words[:101] == ["night"] * 101, "between the limits nothing changes"
    assert words[-1] == "day"
    assert words.index("day") == 101 + 30


def test_headlights_and_flicker_never_switch() -> None:
    """Interrupted, the wait begins anew."""
    assert set(lights([10.0] + ([500.0] * 20 + [10.0]) * 20)) == {"night"}
    assert set(lights([100.0] + ([29.0] * 29 + [31.0]) * 20)) == {"day"}


def test_light_that_hovers_at_a_limit_does_not_switch_back_and_forth() -> None:
    """Noise of a tenth around the lower limit for an hour: at most one change."""
    words = lights([30.0 + (3.0 if second % 2 else -3.0) for second in range(3600)])
    assert sum(before != after for before, after in pairwise(words)) <= 1


def test_a_frame_that_does_not_say_changes_nothing() -> None:
    assert lights([None, None]) == ["", ""]
    assert lights([100.0, None, 100.0]) == ["day"] * 3


@pytest.mark.parametrize(("wish", "light"), [("never", "day"), ("always", "night")])
def test_who_wants_no_switching_has_none(wish: str, light: str) -> None:
    rule = DaylightRule(wish, dwell_ns=0)  # type: ignore[arg-type]
    assert Daylight(rule).light == light
    assert set(lights([1.0] * 60 + [9999.0] * 60, rule)) == {light}


def test_what_the_camera_measured_is_taken() -> None:
    assert lux_of(123.0, 10_000, 2.0, 50.0) == 123.0


def test_else_the_exposure_tells() -> None:
    """Grey at f/2: 1/30 s at a gain of 10 is 30 lux; a picture that stays dark had less."""
    grey = 255 * 0.18 ** (1 / 2.2)
    assert lux_of(None, 33_333, 10.0, grey) == pytest.approx(30.0, rel=0.01)
    assert lux_of(None, 33_333, 10.0, 255.0) == pytest.approx(30.0, rel=0.01)
    dark = lux_of(None, 33_333, 10.0, grey / 4)
    assert dark == pytest.approx(30.0 / 4**2.2, rel=0.01)
    assert lux_of(None, 33_333, 10.0, 0.0) == 0.0


@pytest.mark.parametrize(("exposure_us", "gain"), [(None, 2.0), (10_000, None), (0, 2.0), (10_000, 0.0)])
def test_a_camera_that_tells_nothing_has_no_light(exposure_us: int | None, gain: float | None) -> None:
    assert lux_of(None, exposure_us, gain, 100.0) is None
