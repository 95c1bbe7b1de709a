# SPDX-License-Identifier: Apache-2.0
"""The bad conditions that are measured: each curve's levels, mildest first.

Every condition is seen by the default camera and detector, the photo in the middle of a grey frame, so that the
detector sees the face a quarter as wide as it is; only the curves of the face's width are also drawn with the detector
of the larger input, and with a photo that is the whole picture, where the detector sees every pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from device.measure.degrade import compressed, darkened, masked, moved, with_cap, with_sunglasses

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    Change = Callable[[NDArray[np.uint8], NDArray[np.float32], np.random.Generator], NDArray[np.uint8]]

NOMINAL_PX = 100.0  # the face's width on all curves but the width's: above the smallest that presents itself
WIDTHS_PX = (112, 96, 80, 64, 48, 40, 32, 24)
MOTION = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3)  # of the face's width
LIGHT = (0.5, 0.25, 0.1, 0.05, 0.02, 0.01)
JPEG = (90, 70, 50, 30, 20, 10)
WORN = {"mask": masked, "sunglasses": with_sunglasses, "cap": with_cap}


@dataclass(frozen=True, slots=True)
class View:
    """How a photo reaches the detector. detector: its manifest's name; None: the default one."""

    in_frame: bool
    detector: str | None = None


VIEWS = {
    "door": View(in_frame=True),
    "door_large": View(in_frame=True, detector="yunet-640x480"),
    "close": View(in_frame=False),
}


@dataclass(frozen=True, slots=True)
class Condition:
    """One point of one curve. change: from the photo, its landmarks and a generator to the degraded photo."""

    curve: str
    level: float | str
    change: Change
    view: str = "door"
    face_px: float = NOMINAL_PX


def conditions() -> list[Condition]:
    """All of them; `none` is the photo at NOMINAL_PX as it is."""
    return [
        Condition("none", NOMINAL_PX, unchanged),
        *(
            Condition("width" if view == "door" else f"width_{view}", width, unchanged, view, width)
            for view in VIEWS
            for width in WIDTHS_PX
        ),
        *(Condition("motion", share, motion_of(share)) for share in MOTION),
        *(Condition("light", share, light_of(share)) for share in LIGHT),
        *(Condition("jpeg", quality, jpeg_of(quality)) for quality in JPEG),
        *(Condition("worn", name, worn_of(wear)) for name, wear in WORN.items()),
    ]


def unchanged(
    photo: NDArray[np.uint8], _landmarks: NDArray[np.float32], _rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Nothing but the size."""
    return photo


def motion_of(share: float) -> Change:
    """Motion over this share of the face's width."""
    return lambda photo, _landmarks, _rng: moved(photo, max(1.0, share * NOMINAL_PX))


def light_of(share: float) -> Change:
    """This share of the photo's light."""
    return lambda photo, _landmarks, rng: darkened(photo, share, rng)


def jpeg_of(quality: int) -> Change:
    """JPEG of this quality."""
    return lambda photo, _landmarks, _rng: compressed(photo, quality)


def worn_of(wear: Callable[[NDArray[np.uint8], NDArray[np.float32]], NDArray[np.uint8]]) -> Change:
    """Something worn."""
    return lambda photo, landmarks, _rng: wear(photo, landmarks)
