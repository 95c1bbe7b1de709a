# SPDX-License-Identifier: Apache-2.0
"""How a CSI camera is to make its picture, as libcamera's controls: focus, exposure, metering, HDR, day and night.

What may surprise:

- libcamera has no control for the longest exposure. The Raspberry Pi's automatic exposure never exceeds a frame's
  duration (its IPA's applyFrameDurations), so the longest frame is what is set: the sensor then runs faster than
  `camera.rate_hz`, and the adapter takes a frame now and then.
- Night changes controls only, never the sensor's mode: a new mode means new buffers, and contiguous memory runs short
  of it (raspberrypi/picamera2#1102, #1130). The exposure mode "long" lets the automatic go beyond 66 ms.
- What a camera does not offer is left out and named in `unmet`: decision 0027 says why that is no error.

Names and numbers are those of libcamera's control_ids. Which controls a Raspberry Pi offers is read from its source;
none of this has moved a real lens or sensor yet.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from device.daylight import Daylight, DaylightRule

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from device.payloads import Light

AF_MANUAL, AF_AUTO, AF_CONTINUOUS = 0, 1, 2
AF_TRIGGER_START = 0
AE_NORMAL, AE_LONG = 0, 2
METERING = {"centre": 0, "spot": 1, "matrix": 2}
FLICKER_OFF, FLICKER_MANUAL = 0, 1
HDR_SINGLE_EXPOSURE = 3


@dataclass(frozen=True, slots=True)
class OpticsSettings:
    """The section `optics` in plain values; the defaults are its defaults."""

    focus: Literal["continuous", "once", "manual"] = "continuous"
    lens_dioptres: float = 0.67
    exposure: Literal["auto", "fixed"] = "auto"
    ev: float = 0.0
    max_exposure_ms: float = 33.3
    exposure_ms: float = 10.0
    gain: float = 2.0
    metering: Literal["centre", "spot", "matrix"] = "centre"
    mains_hz: Literal[0, 50, 60] = 0
    hdr: Literal["none", "sensor", "isp"] = "none"
    night_max_exposure_ms: float = 66.6
    daylight: DaylightRule = field(default_factory=DaylightRule)

    def needs_reopening(self, new: OpticsSettings) -> bool:
        """Whether a running camera cannot take `new` over: sensor HDR is set before opening; "fixed" is sticky."""
        return (self.hdr, self.exposure) != (new.hdr, new.exposure)


class Wanted(NamedTuple):
    """One control and its value. option: who asked for it, where somebody did."""

    control: str
    value: Any
    option: str = ""


class Optics:
    """The settings of one camera, and what became of them. Used by its thread; `change` and reading are anyone's."""

    def __init__(self, settings: OpticsSettings | None = None) -> None:
        settings = settings or OpticsSettings()
        self._now = (settings, Daylight(settings.daylight))
        self.unmet: tuple[str, ...] = ()  # options that this camera cannot follow

    @property
    def settings(self) -> OpticsSettings:
        """What is asked for now."""
        return self._now[0]

    @property
    def light(self) -> Light:
        """Day or night; empty where the camera says nothing of the light."""
        return self._now[1].light

    def change(self, settings: OpticsSettings) -> None:
        """Other settings from the next frame on, where they do not need reopening."""
        if settings != self.settings:
            self._now = (settings, Daylight(settings.daylight))

    def look(self, lux: float | None, now_ns: int) -> None:
        """Takes in how much light one frame had."""
        settings, daylight = self._now
        if settings.exposure == "auto":
            daylight.look(lux, now_ns)

    def controls(
        self, offered: Mapping[str, Any], period_us: int, lost: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """The controls to set on a camera that offers these (name to least, greatest and default value).

        period_us: of the frames that are wanted; 0: as they come. lost: what failed already when it was opened.
        """
        settings, daylight = self._now
        found: dict[str, Any] = {}
        unmet = list(lost)
        for wanted in all_wanted(settings, period_us, night=daylight.light == "night"):
            if wanted.control not in offered:
                unmet += [f"{wanted.option}: no {wanted.control}"] if wanted.option else []
                continue
            found[wanted.control], limit = within(wanted.value, offered[wanted.control])
            unmet += [f"{wanted.option}: {limit}"] if limit and wanted.option else []
        self.unmet = tuple(unmet)
        return found


def all_wanted(settings: OpticsSettings, period_us: int, *, night: bool) -> Iterator[Wanted]:
    """Every control for these settings, whether a camera has it or not."""
    yield from _focus(settings)
    if settings.exposure == "fixed":
        yield Wanted("AeEnable", False, "optics.exposure")
        yield Wanted("ExposureTime", us(settings.exposure_ms), "optics.exposure_ms")
        yield Wanted("AnalogueGain", float(settings.gain), "optics.gain")
        longest = max(us(settings.exposure_ms), period_us)
        yield Wanted("FrameDurationLimits", (longest, longest))
    else:
        yield from _automatic(settings, period_us, night=night)
    if settings.hdr == "isp":
        yield Wanted("HdrMode", HDR_SINGLE_EXPOSURE, "optics.hdr")


def _focus(settings: OpticsSettings) -> Iterator[Wanted]:
    if settings.focus == "continuous":  # else a lens that can move stays where it rests: far away
        yield Wanted("AfMode", AF_CONTINUOUS)
    elif settings.focus == "once":
        yield Wanted("AfMode", AF_AUTO, "optics.focus")
        yield Wanted("AfTrigger", AF_TRIGGER_START)
    else:
        yield Wanted("AfMode", AF_MANUAL, "optics.focus")
        yield Wanted("LensPosition", float(settings.lens_dioptres), "optics.lens_dioptres")


def _automatic(settings: OpticsSettings, period_us: int, *, night: bool) -> Iterator[Wanted]:
    usual = OpticsSettings()

    def asked(name: str) -> str:
        return f"optics.{name}" if getattr(settings, name) != getattr(usual, name) else ""

    yield Wanted("AeEnable", True)
    yield Wanted("ExposureValue", float(settings.ev), asked("ev"))
    yield Wanted("AeMeteringMode", METERING[settings.metering], asked("metering"))
    yield Wanted("AeExposureMode", AE_LONG if night else AE_NORMAL)
    name = "night_max_exposure_ms" if night else "max_exposure_ms"
    longest = us(getattr(settings, name))
    yield Wanted("FrameDurationLimits", (min(longest, period_us or longest), longest), asked(name))
    yield Wanted("AeFlickerMode", FLICKER_MANUAL if settings.mains_hz else FLICKER_OFF, asked("mains_hz"))
    if settings.mains_hz:  # a lamp flickers twice in a period of the mains
        yield Wanted("AeFlickerPeriod", round(1e6 / (2 * settings.mains_hz)))


def within(value: Any, offer: Any) -> tuple[Any, str]:
    """A value that the camera can take, and what it can do where that is another; only the longest of a pair counts."""
    least, greatest = offer[0], offer[1]
    if isinstance(value, bool) or not isinstance(least, int | float) or not isinstance(greatest, int | float):
        return value, ""
    if isinstance(value, tuple):  # libcamera itself moves the pair into its limits
        return value, f"it can do no shorter than {least / 1000:g} ms" if value[1] < least else ""
    nearest = min(max(value, least), greatest)
    return nearest, f"it can do {least:g} to {greatest:g}" if nearest != value else ""


def us(milliseconds: float) -> int:
    """Microseconds, as libcamera counts exposures."""
    return round(milliseconds * 1000)
