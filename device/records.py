# SPDX-License-Identifier: Apache-2.0
"""The records that flow from the camera to a decision.

All are frozen. Arrays inside them are shared, not copied: whoever receives one must not write to it.
What leaves the device is in `payloads.py`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from device.geometry import Box

Phase = Literal["start", "end"]
PoseName = Literal["front", "left", "right", "up", "down"]
PoseState = Literal["given", "asked", "open", "skipped"]


@dataclass(frozen=True, slots=True)
class Stamp:
    """One moment on two clocks: `boot_ns` (CLOCK_BOOTTIME) for durations, `utc_ns` (since 1970) for people."""

    boot_ns: int
    utc_ns: int
    synced: bool


@dataclass(frozen=True, slots=True)
class Frame:
    """One captured frame: three views of the same field.

    main: (H, W, 3) uint8 RGB, what faces are cropped from.
    lores: (h, w, 3) uint8 RGB, what the detector sees; the camera scales it (h <= H, w <= W, same aspect).
    luma: (h', w') uint8, what the motion gate sees.
    """

    sequence: int
    captured: Stamp
    main: NDArray[np.uint8]
    lores: NDArray[np.uint8]
    luma: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Detection:
    """A face found in a frame, in pixels of `Frame.main`.

    landmarks: (5, 2) float32 x, y: the subject's right eye, left eye, nose tip, right and left mouth corner.
    score: detector's score, 0 to 1.
    """

    box: Box
    landmarks: NDArray[np.float32]
    score: float


@dataclass(frozen=True, slots=True)
class Pose:
    """Rough head pose from five landmarks, degrees; 0, 0, 0 looks into the camera."""

    yaw_deg: float
    pitch_deg: float
    roll_deg: float


@dataclass(frozen=True, slots=True)
class Quality:
    """Sample quality of one crop; every part and the whole is 0 (useless) to 1 (good)."""

    size: float
    pose: float
    sharpness: float
    exposure: float

    @property
    def overall(self) -> float:
        """The weakest part decides: a sharp but tiny sample is still a poor one."""
        return min(self.size, self.pose, self.sharpness, self.exposure)


@dataclass(frozen=True, slots=True)
class Probe:
    """A sample's embedding. embedding: (D,) float32 of unit length. Lives for the frame that made it."""

    embedding: NDArray[np.float32]
    quality: float
    pose: Pose = Pose(0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One line of a candidate list: a subject and the comparison score (cosine, -1 to 1)."""

    subject_id: str
    score: float


@dataclass(frozen=True, slots=True)
class Consent:
    """The record without which no reference may exist. Times are UTC, nanoseconds since 1970."""

    consent_id: str
    purpose: str
    policy_sha256: str
    given_at_ns: int
    expires_at_ns: int
    recorded_by: str


@dataclass(frozen=True, slots=True)
class Subject:
    """A person who asked to be known. `ref` is what MQTT sees: random, and different on every device."""

    subject_id: str
    ref: str
    label: str
    consent: Consent
    references: int


@dataclass(frozen=True, slots=True)
class EnrolmentSummary:
    """What an enrolment's references are worth.

    poses: those covered. weakest: the part of the quality that was lowest over the references, with its mean, 0 to 1.
    similarity: mean cosine among the references. nearest: the highest score of one of its samples against anybody
    else, None where nobody else is enrolled; whose it is, is told to no one. sentence: all of it in plain words.
    """

    references: int
    poses: tuple[PoseName, ...]
    weakest: str
    weakest_quality: float
    similarity: float
    nearest: float | None
    verdict: Literal["good", "usable", "again"]
    sentence: str


@dataclass(frozen=True, slots=True)
class LedgerHead:
    """The newest entry of the consent ledger: its number, from 1, and its SHA-256 in hexadecimal."""

    seq: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Sighting:
    """A decision: this subject's visit starts or ends. Scores are those fused when it was decided.

    threshold: what the score had to reach then; fmr: the false match rate per comparison there, None if unmeasured.
    """

    phase: Phase
    visit_id: str
    subject: Subject
    captured: Stamp
    threshold: float
    fmr: float | None
    score: float
    margin: float
    frames: int
    quality: float


@dataclass(frozen=True, slots=True)
class Expected:
    """What to expect at a threshold: rates with their 95 % intervals. counted: false matches so rare were counted.

    fmr: of one comparison; fpir: of a stranger's visit; fnir: of a subject's first look, before frames are fused.
    """

    threshold: float
    subjects: int
    fmr: float
    fmr_95: tuple[float, float]
    fpir: float
    fpir_95: tuple[float, float]
    fnir: float
    fnir_95: tuple[float, float]
    counted: bool


@dataclass(slots=True)
class Counters:
    """What the pipeline did so far, as numbers only: per-frame facts are counted, never logged.

    The one record that is not frozen; it belongs to the recognise thread. refused: why faces were not presented.
    dropped: frames that came while no model could run.
    """

    frames: int = 0
    still: int = 0
    faces: int = 0
    presented: int = 0
    embedded: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    dropped: int = 0
