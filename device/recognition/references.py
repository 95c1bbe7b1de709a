# SPDX-License-Identifier: Apache-2.0
"""From the good samples of one person to a few references that differ, and what can honestly be said about them.

A sample far from the others is left out: it is blurred, half hidden, or not this person. One that equals another adds
nothing, so a still picture can never be enrolled (a live face's samples have a cosine of 0.93 to 0.99 to each other).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from device.recognition.poses import POSES
from device.records import EnrolmentSummary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from device.records import PoseName, Quality

FEWEST = 5
# Evaluation clips, int8: a face in view has 0.83 or more to its own mean, one half hidden or turned far 0.2 to 0.5.
OUTLIER = 0.6
IDENTICAL = 0.998
# Nineteen of twenty of the evaluation set's press photos are better than this in every part.
FAIR_QUALITY = 0.7
POOR_QUALITY = 0.55
UNLIKE = 0.65  # mean cosine among the references; the clips give 0.9 and more
NEARLY_TOO_CLOSE = 0.1
FEW_POSES = 3

AGAIN = {
    "exposure": "consider enrolling again with more light",
    "sharpness": "consider enrolling again, holding still",
    "size": "consider enrolling again, nearer to the camera",
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One good sample. embedding: (D,) float32 of unit length. nearest: the best other subject's score, -1: none."""

    embedding: NDArray[np.float32]
    quality: Quality
    pose: PoseName
    nearest: float = -1.0


def choose(samples: Sequence[Sample], most: int) -> list[Sample]:
    """At most `most` samples: the best of each pose, then whoever is farthest from those chosen, no two the same."""
    good = without_outliers(samples)
    if not good:
        return []
    vectors = np.stack([sample.embedding for sample in good])
    alike = vectors @ vectors.T
    chosen: list[int] = []
    for name in POSES:
        posed = [index for index, sample in enumerate(good) if sample.pose == name]
        best = max(posed, key=lambda index: still(good[index].quality), default=None)
        if best is not None and (not chosen or alike[best, chosen].max() < IDENTICAL):
            chosen.append(best)
    while len(chosen) < min(most, len(good)):
        closest = alike[:, chosen].max(axis=1)
        farthest = int(closest.argmin())
        if closest[farthest] >= IDENTICAL:
            break
        chosen.append(farthest)
    return [good[index] for index in chosen[:most]]


def without_outliers(samples: Sequence[Sample]) -> list[Sample]:
    """Those that are near the samples' median."""
    if not samples:
        return []
    vectors = np.stack([sample.embedding for sample in samples])
    middle = np.median(vectors, axis=0)
    length = float(np.linalg.norm(middle))
    if length == 0.0:
        return []
    near = vectors @ (middle / length) >= OUTLIER
    return [sample for sample, is_near in zip(samples, near, strict=True) if is_near]


def still(quality: Quality) -> float:
    """Quality apart from the pose, which an enrolment asks for itself."""
    return min(parts_of(quality).values())


def parts_of(quality: Quality) -> dict[str, float]:
    """The parts of a sample's quality, by name, without the pose."""
    names = [name for name in type(quality).__dataclass_fields__ if name != "pose"]
    return {name: getattr(quality, name) for name in names}


def summary_of(kept: Sequence[Sample], too_close: float) -> EnrolmentSummary:
    """What these references (two or more) are worth, in numbers and in a sentence."""
    vectors = np.stack([sample.embedding for sample in kept])
    pairs = np.triu_indices(len(kept), 1)
    means = {
        name: float(np.mean([parts_of(sample.quality)[name] for sample in kept]))
        for name in parts_of(kept[0].quality)
    }
    weakest = min(means, key=lambda name: means[name])
    nearest = max(sample.nearest for sample in kept)
    similarity = float((vectors @ vectors.T)[pairs].mean())
    poses = tuple(name for name in POSES if any(sample.pose == name for sample in kept))
    lookalike = nearest >= too_close - NEARLY_TOO_CLOSE
    again, usable = remarks(weakest, means[weakest], similarity, lookalike, poses)
    verdict: Literal["good", "usable", "again"] = "again" if again else "usable" if usable else "good"
    sentence = again[0] if again else f"usable, but {' and '.join(usable)}" if usable else "good"
    return EnrolmentSummary(
        references=len(kept),
        poses=poses,
        weakest=weakest,
        weakest_quality=round(means[weakest], 2),
        similarity=round(similarity, 2),
        nearest=None if nearest <= -1.0 else round(nearest, 2),
        verdict=verdict,
        sentence=sentence,
    )


def remarks(
    weakest: str, quality: float, similarity: float, lookalike: bool, poses: Sequence[str]
) -> tuple[list[str], list[str]]:
    """What speaks for enrolling again, and what one should know otherwise."""
    again: list[str] = []
    usable: list[str] = []
    if quality < POOR_QUALITY:
        again.append(AGAIN.get(weakest, f"consider enrolling again: {weakest} was poor"))
    elif quality < FAIR_QUALITY:
        usable.append(f"{weakest} was only fair")
    if similarity < UNLIKE:
        again.append("consider enrolling again: the samples differ much from one another")
    if lookalike:
        usable.append("somebody enrolled looks much alike: expect to be asked to look twice")
    if len(poses) < FEW_POSES:
        usable.append(f"seen from few sides ({', '.join(poses)}): whoever looks aside may be missed")
    return again, usable
