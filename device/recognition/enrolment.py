# SPDX-License-Identifier: Apache-2.0
"""Enrolment: from live samples of one person to a handful of references. All in memory until the last one is good.

The session is fed by the pipeline in place of the sightings, and says after every frame what it has and what the
person could do. Cancelled, timed out or refused, it leaves nothing: its samples are dropped with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from device.recognition.sightings import leader

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from device.recognition.presentation import Refusal
    from device.recognition.tracks import Track
    from device.records import Probe, Quality, Sighting, Stamp

State = Literal["running", "complete", "refused", "timed_out"]

HINTS: dict[str, str] = {
    "no_face": "step in front of the camera",
    "several_faces": "one person only, please",
    "outside_zone": "move to the middle of the picture",
    "too_small": "come closer",
    "turned_away": "look into the camera",
    "size": "come closer",
    "pose": "look into the camera",
    "sharpness": "hold still",
    "exposure": "more even light on the face, please",
    "other_person": "that looked like somebody else: the same person, please",
    "taken": "good: turn your head a little",
}

SAMPLE_SPACING_NS = 400_000_000  # samples a tenth of a second apart are one sample, counted again and again
SAME_PERSON = 0.45  # cosine to the samples so far; below it somebody else has stepped in (FMR about 1e-5)


@dataclass(frozen=True, slots=True)
class EnrolmentProgress:
    """What to show the person: `taken` of `needed` samples, and one hint."""

    state: State
    taken: int
    needed: int
    hint: str


class EnrolmentSession:
    """Collects `needed` good samples of one person within `timeout_ns` of its first frame."""

    def __init__(self, *, needed: int, min_quality: float, timeout_ns: int, too_close: float) -> None:
        self._needed = needed
        self._min_quality = min_quality
        self._timeout_ns = timeout_ns
        self._too_close = too_close
        self._deadline_ns: int | None = None
        self._last_taken_ns = 0
        self._alone = False
        self._samples: list[NDArray[np.float32]] = []
        self._progress = EnrolmentProgress("running", 0, needed, HINTS["no_face"])

    @property
    def progress(self) -> EnrolmentProgress:
        """The newest state."""
        return self._progress

    def references(self) -> NDArray[np.float32]:
        """The samples' embeddings, (needed, D) float32 of unit length. Only when complete."""
        if self._progress.state != "complete":
            raise ValueError("an enrolment that is not complete has no references")
        return np.stack(self._samples)

    def tick(self, now_ns: int) -> None:
        """Keeps the time, also while no frame arrives."""
        if self._deadline_ns is None:
            self._deadline_ns = now_ns + self._timeout_ns
        if self._progress.state == "running" and now_ns >= self._deadline_ns:
            self._finish("timed_out", f"gave up with {len(self._samples)} of {self._needed} good samples")

    def seconds_left(self, now_ns: int) -> float:
        """Time until the session gives up."""
        return 0.0 if self._deadline_ns is None else max(0.0, (self._deadline_ns - now_ns) / 1e9)

    def open_frame(self, faces: int, now: Stamp) -> None:
        """Told how many faces the frame has: an enrolment looks only where there is exactly one."""
        self.tick(now.boot_ns)
        self._alone = faces == 1
        if not self._alone:
            self._say("no_face" if faces == 0 else "several_faces")

    def wants(self, _track: Track, _now: Stamp) -> bool:
        """Whether the face is worth a crop."""
        return self._alone and self._progress.state == "running"

    def refuse(self, reason: Refusal) -> None:
        """Told why a face does not present itself."""
        if self._alone:
            self._say(reason)

    def accepts(self, quality: Quality, now: Stamp) -> bool:
        """Whether a sample of this quality is worth an embedding now."""
        if quality.overall < self._min_quality:
            parts = {name: getattr(quality, name) for name in ("size", "pose", "sharpness", "exposure")}
            self._say(min(parts, key=lambda name: parts[name]))
            return False
        return not self._samples or now.boot_ns - self._last_taken_ns >= SAMPLE_SPACING_NS

    def offer(self, _track: Track, probe: Probe, scores: NDArray[np.float32], now: Stamp) -> list[Sighting]:
        """Takes one probe and its scores against the gallery ((N,) float32). Decides no sightings."""
        if scores.size and leader(scores)[1] >= self._too_close:
            # Whose score it is stays untold: the person at the camera need not learn who else is enrolled.
            score = leader(scores)[1]
            self._finish("refused", f"too close to a subject who is enrolled already (score {score:.2f})")
        elif self._samples and float(np.mean([s @ probe.embedding for s in self._samples])) < SAME_PERSON:
            self._say("other_person")
        else:
            self._take(probe, now)
        return []

    def _take(self, probe: Probe, now: Stamp) -> None:
        self._samples.append(probe.embedding)
        self._last_taken_ns = now.boot_ns
        if len(self._samples) == self._needed:
            self._finish("complete", "done", keep=True)
        else:
            self._say("taken")

    def _say(self, hint: str) -> None:
        if self._progress.state == "running":
            self._progress = EnrolmentProgress("running", len(self._samples), self._needed, HINTS[hint])

    def _finish(self, state: State, hint: str, *, keep: bool = False) -> None:
        self._progress = EnrolmentProgress(state, len(self._samples), self._needed, hint)
        if not keep:
            self._samples.clear()
