# SPDX-License-Identifier: Apache-2.0
"""Moments, subjects, galleries and faces for tests of the core. Nobody in here is real."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from device.geometry import Box
from device.ports import EnrolledReferences
from device.recognition.gallery import Gallery
from device.recognition.operating_point import OperatingPoint, ScoreTable
from device.records import Consent, Detection, Probe, Stamp, Subject
from device.sealing import DeviceKey
from device.vision.align import CROP_PX, TEMPLATE

if TYPE_CHECKING:
    from numpy.typing import NDArray

KEY = DeviceKey(b"k" * 32, "a test")
NS = 1_000_000_000
UTC_S = 1_795_407_600  # 2026-11-23T04:20:00Z
YEAR_S = 365 * 86_400


def at(seconds: float, *, synced: bool = True) -> Stamp:
    """The moment `seconds` after 2026-11-23T04:20:00Z, which was an hour after boot."""
    ns = round(seconds * NS)
    return Stamp(3600 * NS + ns, UTC_S * NS + ns, synced)


def subject(number: int, *, expires_s: float = YEAR_S) -> Subject:
    """Subject `number`, whose consent ends `expires_s` after `at(0)`."""
    start = UTC_S * NS
    consent = Consent(
        consent_id=f"c_{number}",
        purpose="recognition at this door",
        policy_sha256="ab" * 32,
        given_at_ns=start - 86_400 * NS,
        expires_at_ns=start + round(expires_s * NS),
        recorded_by="alice",
    )
    return Subject(f"subject-{number}", f"p_{number:04x}", f"label-{number}", consent, 3)


def gallery(*subjects: Subject, dimension: int = 8) -> Gallery:
    """These subjects; the template of the first is the first unit vector, and so on."""
    rows = np.eye(max(dimension, len(subjects)), dtype=np.float32)
    return Gallery([EnrolledReferences(one, rows[i : i + 1]) for i, one in enumerate(subjects)])


def probe(quality: float = 1.0) -> Probe:
    """A probe for code that only looks at its quality."""
    return Probe(np.zeros(8, np.float32), quality)


def at_threshold(score: float, *, fmr: float | None = None) -> OperatingPoint:
    """A threshold that stays where it is; fmr: what a measured table would say of it."""
    table = None
    if fmr is not None:
        rates = {name: [fmr, fmr / 10] for name in ("fmr", "fmr_low", "fmr_high")}
        misses = {name: [0.01, 0.02] for name in ("fnmr", "fnmr_low", "fnmr_high")}
        table = ScoreTable("a test", 5, 1000, 1e-4, [score, score + 0.1], **rates, **misses)
    return OperatingPoint(table, 1e-4, 3, fixed=score)


def row(*scores: float) -> NDArray[np.float32]:
    """A row of comparison scores."""
    return np.array(scores, np.float32)


def face(x: float, y: float, width: float = 100.0, score: float = 0.9) -> Detection:
    """A face that looks straight at the camera; its box begins at x, y, its landmarks are the template's, scaled."""
    landmarks = (TEMPLATE * (width / CROP_PX) + (x, y)).astype(np.float32)
    return Detection(Box(x, y, width, width), landmarks, score)
