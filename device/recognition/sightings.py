# SPDX-License-Identifier: Apache-2.0
"""Decisions: from scores on a track to "this subject is at the door", once at the start and once at the end.

A track is undecided until its fused scores pick one subject by threshold and margin, or until enough samples said
that they pick nobody. After that it is looked at rarely. What is kept of a face is a row of scores on its running
track, never a crop or an embedding. A visit belongs to the subject, not to the track: a track that breaks and comes
back within `visit_end_ns` continues it. A face back from a gap keeps no visit alive until it was looked at again.

Wherever a track is decided for a subject, that subject's visit runs: a visit that ends takes those decisions along.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from device.recognition.gallery import Gallery
from device.records import Sighting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from device.recognition.operating_point import OperatingPoint
    from device.recognition.presentation import Refusal
    from device.recognition.tracks import Track
    from device.records import Expected, Probe, Quality, Stamp, Subject


@dataclass(frozen=True, slots=True)
class DecisionRule:
    """The numbers a decision rests on. Scores are cosines; durations nanoseconds. point: what sets the threshold."""

    point: OperatingPoint
    margin: float
    hysteresis: float
    min_quality: float
    min_frames: int
    max_frames: int
    recheck_ns: int
    visit_end_ns: int


@dataclass(slots=True)
class Evidence:
    """What is known of one track: the quality-weighted sum of its score rows, and what was decided."""

    weighted: NDArray[np.float32]
    weight: float = 0.0
    frames: int = 0
    subject: Subject | None = None
    decided: bool = False
    doubts: int = 0
    next_check_ns: int = 0

    def add(self, scores: NDArray[np.float32], quality: float) -> None:
        """Fuses one more row of scores."""
        self.weighted += scores * np.float32(quality)
        self.weight += quality
        self.frames += 1

    def fused(self) -> NDArray[np.float32]:
        """The fused scores, in subject order."""
        return self.weighted / np.float32(self.weight)


@dataclass(slots=True)
class Visit:
    """A subject who is at the door."""

    visit_id: str
    subject: Subject
    since: Stamp
    last_seen_ns: int
    threshold: float
    fmr: float | None
    score: float
    margin: float
    frames: int
    quality: float


class Sightings:
    """Turns score rows into sightings. Holds the gallery snapshot, so that rows and subjects always fit."""

    def __init__(self, rule: DecisionRule, new_visit_id: Callable[[Stamp], str]) -> None:
        self._rule = rule
        self._new_visit_id = new_visit_id
        self._tracks: dict[int, Evidence] = {}
        self._threshold = rule.point.threshold(0)
        self.gallery = Gallery()
        self.visits: dict[str, Visit] = {}
        self.strangers = 0

    @property
    def threshold(self) -> float:
        """The fused score from which a subject of the present gallery matches."""
        return self._threshold

    @property
    def expected(self) -> Expected | None:
        """What to expect of the present gallery; None where nobody measured the embedder's scores."""
        return self._rule.point.expected(len(self.gallery))

    def lookalikes(self) -> list[tuple[Subject, Subject, float]]:
        """Pairs of subjects whose templates are as near each other as a match: one may pass for the other."""
        return self.gallery.pairs_from(self._threshold - self._rule.margin)

    def adopt(self, gallery: Gallery, now: Stamp) -> list[Sighting]:
        """Takes a new snapshot, and with its size a new threshold.

        Running decisions start over; visits of subjects who are gone end at once.
        """
        self.gallery = gallery
        self._threshold = self._rule.point.threshold(len(gallery))
        self._tracks.clear()
        known = {subject.subject_id: subject for subject in gallery.subjects}
        gone = [visit for visit in self.visits.values() if visit.subject.subject_id not in known]
        for visit in self.visits.values():
            visit.subject = known.get(visit.subject.subject_id, visit.subject)
        return [self._end(visit, now) for visit in gone]

    def open_frame(self, _faces: int, _now: Stamp) -> None:
        """Nothing to prepare; an enrolment has (it takes this object's place in the pipeline)."""

    def wants(self, track: Track, now: Stamp) -> bool:
        """Whether this track's face is worth a crop now: undecided, due, or just back from a gap."""
        if len(self.gallery) == 0:
            return False  # nobody to compare with: then nobody is templated
        evidence = self._tracks.get(track.number)
        return (
            evidence is None or not evidence.decided or track.resumed or now.boot_ns >= evidence.next_check_ns
        )

    def forget(self, black: NDArray[np.float32] | None, now: Stamp) -> None:
        """Compares what nobody looks like: the linear algebra library keeps the last vector that it was given."""
        if black is not None:
            self.gallery.compare(black, now)

    def refuse(self, _reason: Refusal) -> None:
        """A face that does not present itself changes nothing."""

    def accepts(self, quality: Quality, _now: Stamp) -> bool:
        """Whether a sample of this quality is worth an embedding."""
        return quality.overall >= self._rule.min_quality

    def offer(self, track: Track, probe: Probe, scores: NDArray[np.float32], now: Stamp) -> list[Sighting]:
        """Takes one probe's score row ((N,) float32) for a track; returns the sightings that it decides.

        The probe's embedding is not kept: it is overwritten.
        """
        probe.embedding.fill(0.0)
        evidence = self._tracks.get(track.number)
        if evidence is None or (track.resumed and not evidence.decided):
            evidence = self._tracks[track.number] = Evidence(np.zeros(len(self.gallery), np.float32))
        track.resumed = False
        if evidence.decided:
            self._recheck(track.number, evidence, scores, now)
            return []
        evidence.add(scores, max(probe.quality, 1e-3))
        return self._decide(evidence, now)

    def close_frame(self, tracks: frozenset[int], present: Sequence[Track], now: Stamp) -> list[Sighting]:
        """Forgets ended tracks, keeps visits alive whose track is in view, ends the others.

        tracks: numbers of all running tracks; present: the tracks that had a face in this frame. A visit whose
        consent ends, ends with it.
        """
        for number in self._tracks.keys() - tracks:
            del self._tracks[number]
        for track in present:
            evidence = self._tracks.get(track.number)
            if (
                evidence is not None
                and evidence.subject is not None
                and not (evidence.doubts or track.resumed)
            ):
                self.visits[evidence.subject.subject_id].last_seen_ns = now.boot_ns
        over = [
            visit
            for visit in self.visits.values()
            if now.boot_ns - visit.last_seen_ns >= self._rule.visit_end_ns
            or not self.gallery.holds(visit.subject, now)
        ]
        return [self._end(visit, now) for visit in over]

    def end_all(self, now: Stamp) -> list[Sighting]:
        """Ends every visit: the camera is paused or the service stops."""
        self._tracks.clear()
        return [self._end(visit, now) for visit in list(self.visits.values())]

    def _decide(self, evidence: Evidence, now: Stamp) -> list[Sighting]:
        rule = self._rule
        if evidence.frames < rule.min_frames:
            return []
        fused = self.gallery.holding(evidence.fused(), now)
        best, score, margin = leader(fused)
        if score >= self._threshold and margin >= rule.margin:
            evidence.decided, evidence.subject = True, self.gallery.subjects[best]
            evidence.next_check_ns = now.boot_ns + rule.recheck_ns
            return self._start(evidence.subject, evidence, score, margin, now)
        if evidence.frames >= rule.max_frames:
            self.strangers += 1
            evidence.decided = True
            evidence.next_check_ns = now.boot_ns + rule.recheck_ns
        return []

    def _start(
        self, subject: Subject, evidence: Evidence, score: float, margin: float, now: Stamp
    ) -> list[Sighting]:
        visit = self.visits.get(subject.subject_id)
        if visit is not None:
            visit.last_seen_ns = now.boot_ns
            return []
        mean_quality = min(1.0, evidence.weight / evidence.frames)
        visit = Visit(
            self._new_visit_id(now),
            subject,
            since=now,
            last_seen_ns=now.boot_ns,
            threshold=self._threshold,
            fmr=self._rule.point.fmr(self._threshold),
            score=score,
            margin=margin,
            frames=evidence.frames,
            quality=mean_quality,
        )
        self.visits[subject.subject_id] = visit
        return [sighting("start", visit, now)]

    def _recheck(self, number: int, evidence: Evidence, scores: NDArray[np.float32], now: Stamp) -> None:
        rule = self._rule
        evidence.next_check_ns = now.boot_ns + rule.recheck_ns
        best, score, margin = leader(scores)
        if evidence.subject is None:
            # A stranger gets another full look when one sample says otherwise: a poor angle must not lock a door.
            if score >= self._threshold and margin >= rule.margin:
                del self._tracks[number]
            return
        mine = float(scores[self.gallery.subjects.index(evidence.subject)])
        is_other = self.gallery.subjects[best] is not evidence.subject and score >= self._threshold
        if mine >= self._threshold - rule.hysteresis and not is_other:
            evidence.doubts = 0
            return
        evidence.doubts += 1
        evidence.next_check_ns = now.boot_ns
        if evidence.doubts >= rule.min_frames:
            del self._tracks[number]  # somebody else stands here now: decide anew, and let the visit run out

    def _end(self, visit: Visit, now: Stamp) -> Sighting:
        subject = visit.subject
        del self.visits[subject.subject_id]
        self._tracks = {n: e for n, e in self._tracks.items() if e.subject is not subject}
        if subject not in self.gallery.subjects or not self.gallery.holds(subject, now):
            # Named by the opaque ref alone: the label went with the consent.
            visit = replace(visit, subject=replace(subject, label=""))
        return sighting("end", visit, now)


def leader(scores: NDArray[np.float32]) -> tuple[int, float, float]:
    """Index and score of the best subject, and its lead over the second; over -1 where there is no second."""
    best = int(scores.argmax())
    top = float(scores[best])
    second = float(np.partition(scores, -2)[-2]) if scores.size > 1 else -1.0
    return best, top, top - second


def sighting(phase: str, visit: Visit, now: Stamp) -> Sighting:
    """A visit's start or end as a record."""
    return Sighting(
        phase="start" if phase == "start" else "end",
        visit_id=visit.visit_id,
        subject=visit.subject,
        captured=now,
        threshold=visit.threshold,
        fmr=visit.fmr,
        score=visit.score,
        margin=visit.margin,
        frames=visit.frames,
        quality=visit.quality,
    )
