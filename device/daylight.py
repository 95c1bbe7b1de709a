# SPDX-License-Identifier: Apache-2.0
"""Whether it is day or night in front of the camera, for how it is exposed. Pure: numbers and time in, a word out.

Two thresholds and a wait: dusk must not make it flicker, and neither may headlights or a lamp with a sensor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from device.payloads import Light

NightWish = Literal["auto", "never", "always"]

# Incident light that exposes grey rightly: E = C N^2 / (t S), with C = 250 (ISO 2720), f/2, S = 100 times the gain.
LUX_SECONDS = 250 * 2.0**2 / 100
GREY = 0.18  # what automatic exposure aims for, of full linear brightness
GAMMA = 2.2


@dataclass(frozen=True, slots=True)
class DaylightRule:
    """When it is night: below `night_below_lux`, and day again above `day_above_lux`, each for `dwell_ns` on end."""

    night: NightWish = "auto"
    night_below_lux: float = 30.0
    day_above_lux: float = 60.0
    dwell_ns: int = 30_000_000_000


class Daylight:
    """Keeps the word. light: empty until something was seen of the light (where the rule leaves it open at all)."""

    def __init__(self, rule: DaylightRule) -> None:
        always: dict[NightWish, Light] = {"never": "day", "always": "night"}
        self.light: Light = always.get(rule.night, "")
        self._rule = rule
        self._other_since_ns: int | None = None

    def look(self, lux: float | None, now_ns: int) -> Light:
        """Takes one frame's light in, and says what holds from now on. None: this frame does not say."""
        rule = self._rule
        if lux is None or rule.night != "auto":
            return self.light
        if not self.light:
            self.light = "night" if lux < rule.night_below_lux else "day"
            return self.light
        speaks_against = lux > rule.day_above_lux if self.light == "night" else lux < rule.night_below_lux
        if not speaks_against:
            self._other_since_ns = None
        elif self._other_since_ns is None:
            self._other_since_ns = now_ns
        elif now_ns - self._other_since_ns >= rule.dwell_ns:
            self.light = "day" if self.light == "night" else "night"
            self._other_since_ns = None
        return self.light


def lux_of(
    measured_lux: float | None, exposure_us: float | None, gain: float | None, mean_luma: float
) -> float | None:
    """The light on the scene: as the camera measured it, else estimated from how it exposed; None: it says neither.

    gain: analogue times digital. mean_luma: 0 to 255, of the picture: dark, once a camera is at the end of its means.
    """
    if measured_lux is not None:
        return measured_lux
    if not exposure_us or not gain:
        return None
    reached = min(1.0, float((mean_luma / 255) ** GAMMA) / GREY)
    return LUX_SECONDS / (exposure_us / 1e6 * gain) * reached
