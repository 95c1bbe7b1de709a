# SPDX-License-Identifier: Apache-2.0
"""The options of `porter.yaml` about how a CSI camera makes its picture."""

from __future__ import annotations

from typing import Annotated, Literal

from device.option_form import Section, option


class OpticsOptions(Section, frozen=True):
    """How a CSI camera makes its picture; others ignore it. What a camera cannot do raises the alert camera_limited."""

    focus: Annotated[
        Literal["continuous", "once", "manual"],
        option(
            "Of a lens that can move: `continuous`, `once` (each time the camera is opened) or `manual` (at "
            "`lens_dioptres`). A fixed lens stays as it is."
        ),
    ] = "continuous"
    lens_dioptres: Annotated[
        float,
        option(
            "For `focus: manual`: one divided by the distance in metres (0.5: 2 m; 0: far away).",
            unit="dioptres",
            ge=0,
            le=32,
        ),
    ] = 0.67
    exposure: Annotated[
        Literal["auto", "fixed"],
        option("`auto`, or `fixed` at `exposure_ms` and `gain`, by day and by night."),
    ] = "auto"
    ev: Annotated[
        float,
        option("`auto`: brighter (more than 0) or darker than the camera would.", unit="EV", ge=-4, le=4),
    ] = 0.0
    max_exposure_ms: Annotated[
        float,
        option(
            "`auto`: never exposes longer by day. People who walk are blurred: at 1 m/s, 2 m away, by 24 px in 33 ms "
            "(1280x720, Camera Module 3; computed). Shorter is noisier.",
            unit="ms",
            ge=1,
            le=200,
        ),
    ] = 33.3
    exposure_ms: Annotated[float, option("`fixed`: how long.", unit="ms", ge=0.05, le=1000)] = 10.0
    gain: Annotated[float, option("`fixed`: analogue gain.", ge=1, le=64)] = 2.0
    metering: Annotated[
        Literal["centre", "spot", "matrix"],
        option(
            "`auto`: what of the picture is to be exposed rightly: mostly its middle, only that, or all of it."
        ),
    ] = "centre"
    mains_hz: Annotated[
        Literal[0, 50, 60],
        option(
            "`auto`: lamps on mains of 50 or 60 Hz shall make no bands in the picture; 0: take no care.",
            unit="Hz",
        ),
    ] = 0
    hdr: Annotated[
        Literal["none", "sensor", "isp"],
        option(
            "For faces before a bright street: `sensor` (Camera Module 3; at most 2304x1296; stays on until the "
            "next boot) or `isp` (Raspberry Pi 5)."
        ),
    ] = "none"
    night: Annotated[
        Literal["auto", "never", "always"],
        option("`auto`: in the dark `night_max_exposure_ms` holds instead of `max_exposure_ms`."),
    ] = "auto"
    night_max_exposure_ms: Annotated[
        float, option("`auto`: never exposes longer by night.", unit="ms", ge=1, le=500)
    ] = 66.6
    night_below_lux: Annotated[
        float,
        option(
            "Night begins below this much light, as the camera estimates it (computed for 33 ms and the gains of "
            "Camera Modules 2 and 3, never tried on one).",
            unit="lux",
            ge=0.1,
            le=5000,
        ),
    ] = 30.0
    day_above_lux: Annotated[float, option("Day begins above this.", unit="lux", ge=0.1, le=10000)] = 60.0
    night_dwell_s: Annotated[
        float, option("After so long on end on the other side of its limit.", unit="s", ge=1, le=3600)
    ] = 30.0
