# SPDX-License-Identifier: Apache-2.0
"""Enrolment: from live samples of one person to a handful of references. All in memory until the last one is good.

The session is fed by the pipeline in place of the sightings, and says after every frame what it has and what the
person could do. Cancelled, timed out or refused, it leaves nothing: its samples are dropped with it. Samples of two
people are never mixed: one that does not fit is not taken, two in a row and everything begins again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from device.recognition.poses import FARTHEST_YAW_DEG, PoseGuide
from device.recognition.references import FEWEST, Sample, choose, parts_of, still, summary_of
from device.recognition.sightings import leader

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from device.recognition.presentation import Refusal
    from device.recognition.tracks import Track
    from device.records import EnrolmentSummary, PoseName, PoseState, Probe, Quality, Sighting, Stamp

State = Literal["running", "complete", "refused", "timed_out"]

HINTS: dict[str, str] = {
    "no_face": "step in front of the camera",
    "several_faces": "one person only, please",
    "outside_zone": "move to the middle of the picture",
    "too_small": "come closer",
    "turned_away": "look into the camera",
    "too_far": "not so far: turn back a little",
    "size": "come closer",
    "sharpness": "hold still",
    "exposure": "more even light on the face, please",
    "unclear": "a clearer view of the face, please",
    "other_person": "that looked like somebody else: the same person, please",
    "restart": "somebody else was there: it begins again",
    "front": "look straight into the camera",
    "left": "turn your head a little to your left",
    "right": "turn your head a little to your right",
    "up": "raise your chin a little",
    "down": "lower your chin a little",
    "more": "good: a few more, move your head a little",
    "alike": "move your head a little: the samples are all alike",
}

SAMPLE_SPACING_NS = 400_000_000  # samples a tenth of a second apart are one sample, counted again and again
STANDS_NS = 1_000_000_000  # so long a hint stays at least: nobody can follow two a second
HOLD_NS = 2_000_000_000  # and one that nothing would repeat
# Mean cosine to the samples so far; below it somebody else has stepped in (FMR about 1e-5). Where the face was out of
# sight in between it must be plainer: the evaluation clips give 0.83 and more.
SAME_PERSON = 0.45
SAME_ON_NEW_TRACK = 0.6
STRAY_IN_A_ROW = 2
RESTARTS = 3
OWN_SAMPLES = 3  # so many samples' mean decides, as at the door, whether a renewal is of one's own references

ALREADY = "they may be enrolled already (porter subjects); porter enrol --again LABEL renews references"
NOT_THEIRS = "whoever looks different now is erased by porter withdraw LABEL and enrolled anew"
ONE_PERSON = "ask the others to step out of the picture; the same command starts again"


@dataclass(frozen=True, slots=True)
class EnrolmentProgress:
    """What to show the person: `taken` of `needed` samples, the poses, one hint; after a refusal, what to do."""

    state: State
    taken: int
    needed: int
    hint: str
    poses: tuple[tuple[PoseName, PoseState], ...] = ()
    way_out: str = ""


class EnrolmentSession:
    """Collects good samples of one person within `timeout_ns` of its first frame and keeps `most` (5 to 8) of them.

    pose_wait_ns: so long each pose is asked for. too_close: a score against somebody else that is refused.
    own: whose references are renewed, as a place in the gallery's order; None for somebody new.
    """

    def __init__(
        self,
        *,
        most: int,
        min_quality: float,
        pose_wait_ns: int,
        timeout_ns: int,
        too_close: float,
        own: int | None = None,
    ) -> None:
        self._most = most
        self._needed = most + most // 2
        self._min_quality = min_quality
        self._pose_wait_ns = pose_wait_ns
        self._timeout_ns = timeout_ns
        self._too_close = too_close
        self._own = own
        self._deadline_ns: int | None = None
        self._now_ns = 0
        self._stands_until_ns = 0
        self._last_offer_ns: int | None = None
        self._alone = False
        self._strays = 0
        self._restarts = 0
        self._track = 0
        self._quality: Quality | None = None
        self._own_scores: list[float] = []
        self._guide = PoseGuide(pose_wait_ns)
        self._samples: list[Sample] = []
        self._kept: list[Sample] = []
        self._progress = EnrolmentProgress("running", 0, self._needed, HINTS["no_face"], self._guide.states)

    @property
    def progress(self) -> EnrolmentProgress:
        """The newest state."""
        return self._progress

    def references(self) -> NDArray[np.float32]:
        """The kept samples' embeddings, (5 to `most`, D) float32 of unit length. Only when complete."""
        if self._progress.state != "complete":
            raise ValueError("an enrolment that is not complete has no references")
        return np.stack([sample.embedding for sample in self._kept])

    def summary(self) -> EnrolmentSummary:
        """What the references are worth. Only when complete."""
        if self._progress.state != "complete":
            raise ValueError("an enrolment that is not complete has no summary")
        return summary_of(self._kept, self._too_close)

    def tick(self, now_ns: int) -> None:
        """Keeps the time, also while no frame arrives."""
        self._now_ns = now_ns
        if self._deadline_ns is None:
            self._deadline_ns = now_ns + self._timeout_ns
        if self._progress.state != "running":
            return
        if now_ns >= self._deadline_ns:
            good = min(len(self._samples), self._needed)
            self._finish("timed_out", f"gave up with {good} of {self._needed} good samples")

    def seconds_left(self, now_ns: int) -> float:
        """Time until the session gives up."""
        return 0.0 if self._deadline_ns is None else max(0.0, (self._deadline_ns - now_ns) / 1e9)

    def open_frame(self, faces: int, now: Stamp) -> None:
        """Told how many faces the frame has: an enrolment looks only where there is exactly one."""
        self.tick(now.boot_ns)
        self._alone = faces == 1
        if self._alone:
            self._guide.tick(now.boot_ns)
        else:
            self._guide.rest(now.boot_ns)
            self._say("no_face" if faces == 0 else "several_faces")

    def wants(self, _track: Track, _now: Stamp) -> bool:
        """Whether the face is worth a crop."""
        return self._alone and self._progress.state == "running"

    def refuse(self, reason: Refusal) -> None:
        """Told why a face does not present itself."""
        if self._alone:
            too_far = reason == "turned_away" and self._guide.asked not in ("front", None)
            self._say("too_far" if too_far else reason)

    def accepts(self, quality: Quality, now: Stamp) -> bool:
        """Whether a sample of this quality is worth an embedding now."""
        if still(quality) < self._min_quality:
            parts = parts_of(quality)
            weakest = min(parts, key=lambda name: parts[name])
            self._say(weakest if weakest in HINTS else "unclear")
            return False
        self._quality = quality
        return self._last_offer_ns is None or now.boot_ns - self._last_offer_ns >= SAMPLE_SPACING_NS

    def offer(self, track: Track, probe: Probe, scores: NDArray[np.float32], now: Stamp) -> list[Sighting]:
        """Takes one probe and its scores against the gallery ((N,) float32). Decides no sightings."""
        self._last_offer_ns = now.boot_ns
        pose = self._guide.look(probe.pose, now.boot_ns)
        if pose is None or abs(probe.pose.yaw_deg) > FARTHEST_YAW_DEG:
            self._say("front" if pose is None else "too_far")
        elif not self._is_same(track, probe):
            self._stray()
        elif not self._objects(scores):
            self._take(track, probe, pose, scores)
        return []

    def _is_same(self, track: Track, probe: Probe) -> bool:
        if not self._samples:
            return True
        enough = SAME_PERSON if track.number == self._track else SAME_ON_NEW_TRACK
        return float(np.mean([sample.embedding @ probe.embedding for sample in self._samples])) >= enough

    def _stray(self) -> None:
        """Somebody else, or a sample that is no good: left out once; twice, and nobody knows whose the rest are."""
        self._strays += 1
        if self._strays < STRAY_IN_A_ROW:
            self._say("other_person", at_once=True, stands_ns=HOLD_NS)
            return
        self._restarts += 1
        if self._restarts > RESTARTS:
            self._finish("refused", "more than one person was in front of the camera", ONE_PERSON)
            return
        self._strays = 0
        self._overwrite(self._samples)
        self._own_scores.clear()
        self._guide = PoseGuide(self._pose_wait_ns)
        self._say("restart", at_once=True, stands_ns=HOLD_NS)

    def _objects(self, scores: NDArray[np.float32]) -> bool:
        """Whether a person with these scores is not enrolled: the session has ended then."""
        if self._own is not None and self._own >= scores.size:
            self._finish("refused", "the gallery changed meanwhile")
            return True
        if not scores.size:
            return False
        # Whose score it is stays untold: the person at the camera need not learn who else is enrolled.
        score = leader(self._others(scores))[1]
        if score >= self._too_close:
            self._finish(
                "refused", f"too close to a subject who is enrolled already (score {score:.2f})", ALREADY
            )
            return True
        if self._own is None:
            return False
        self._own_scores.append(float(scores[self._own]))
        own = float(np.mean(self._own_scores))
        if len(self._own_scores) != OWN_SAMPLES or own >= self._too_close:
            return False
        self._finish("refused", f"this is not the face that is enrolled there (score {own:.2f})", NOT_THEIRS)
        return True

    def _take(self, track: Track, probe: Probe, pose: PoseName, scores: NDArray[np.float32]) -> None:
        if self._quality is None:
            raise ValueError("offered a sample that was not accepted")
        self._strays = 0
        self._track = track.number
        nearest = leader(self._others(scores))[1] if scores.size else -1.0
        self._samples.append(Sample(probe.embedding, self._quality, pose, nearest))
        asked = self._guide.asked
        self._guide.note(pose, self._now_ns)
        self._go_on(at_once=self._guide.asked != asked)

    def _others(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """The scores against everybody but the subject whose references are renewed."""
        if self._own is None:
            return scores
        others = scores.copy()
        others[self._own] = -1.0
        return others

    def _go_on(self, *, at_once: bool) -> None:
        """After a sample: done, or what comes next; at once where that is something new."""
        asked = self._guide.asked
        if asked is not None or len(self._samples) < self._needed:
            self._say(asked or "more", at_once=at_once)
            return
        self._kept = choose(self._samples, self._most)
        if len(self._kept) >= FEWEST:
            self._finish("complete", "done")
        else:
            self._say("alike")

    def _say(self, hint: str, *, at_once: bool = False, stands_ns: int = STANDS_NS) -> None:
        """Shows a hint, once the one before has stood its time."""
        if self._progress.state != "running":
            return
        text = self._progress.hint
        if HINTS[hint] != text and (at_once or self._now_ns >= self._stands_until_ns):
            text, self._stands_until_ns = HINTS[hint], self._now_ns + stands_ns
        taken = min(len(self._samples), self._needed)
        self._progress = EnrolmentProgress("running", taken, self._needed, text, self._guide.states)

    def _finish(self, state: State, hint: str, way_out: str = "") -> None:
        taken = min(len(self._samples), self._needed)
        self._progress = EnrolmentProgress(state, taken, self._needed, hint, self._guide.states, way_out)
        if state != "complete":
            self._kept.clear()
        self._overwrite(
            [sample for sample in self._samples if all(sample is not kept for kept in self._kept)]
        )
        self._samples.clear()

    def forget(self) -> None:
        """The references are stored, or never will be: overwrites what is held of the person."""
        self._overwrite(self._samples)
        self._overwrite(self._kept)

    @staticmethod
    def _overwrite(samples: list[Sample]) -> None:
        """Empties a list of samples, and the memory of their embeddings: small blocks stay as they were freed."""
        for sample in samples:
            sample.embedding.fill(0.0)
        samples.clear()
