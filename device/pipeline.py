# SPDX-License-Identifier: Apache-2.0
"""One frame, top to bottom. Read this first.

Motion, faces, tracks; then, only for a face that presents itself: crop, embedding, scores, decision. What comes out
are sightings; what went in is forgotten when `process` returns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from device.records import Counters, Probe
from device.vision.align import align
from device.vision.quality import pose_of, quality_of

if TYPE_CHECKING:
    from device.recognition.enrolment import EnrolmentSession
    from device.recognition.presentation import Presentation
    from device.recognition.sightings import Sightings
    from device.recognition.tracks import Tracker
    from device.records import Detection, Frame, Pose, Sighting
    from device.vision.detect import Detector
    from device.vision.embed import Embedder
    from device.vision.motion import MotionGate

    Taker = Sightings | EnrolmentSession


@dataclass(slots=True)
class Pipeline:
    """The parts, and the one way through them. Everything in it belongs to the recognise thread."""

    motion: MotionGate | None
    detector: Detector
    tracks: Tracker
    presentation: Presentation
    embedder: Embedder
    sightings: Sightings
    enrolment: EnrolmentSession | None = None  # while one runs it takes the samples, and nobody is recognised
    counters: Counters = field(default_factory=Counters)

    def process(self, frame: Frame) -> list[Sighting]:
        """What this frame decides: starts and ends of visits, most often nothing."""
        now = frame.captured
        self.counters.frames += 1
        moved = self.motion is None or self.motion.is_open(frame.luma, now.boot_ns)
        if not (moved or self.tracks.active or self.enrolment):
            self.counters.still += 1
            return self.sightings.close_frame(frozenset(), [], now)

        faces = self.tracks.update(self.detector.detect(frame.lores, frame.main.shape[1]), now.boot_ns)
        self.counters.faces += len(faces)
        taker = self.enrolment or self.sightings
        taker.open_frame(len(faces), now)
        decided: list[Sighting] = []
        for track, detection in faces:
            pose = self._presented(frame, detection, taker)
            if pose is None or not taker.wants(track, now):
                continue
            image = align(frame.main, detection.landmarks)
            quality = quality_of(image, pose, detection.box.w)
            if not taker.accepts(quality, now):
                continue
            self.counters.embedded += 1
            probe = Probe(self.embedder.embed(image), quality.overall)
            scores = self.sightings.gallery.compare(probe.embedding, now.utc_ns)
            decided += taker.offer(track, probe, scores, now)
        return decided + self.sightings.close_frame(self.tracks.numbers, [t.number for t, _ in faces], now)

    def _presented(self, frame: Frame, detection: Detection, taker: Taker) -> Pose | None:
        """The pose of a face that presents itself; None for everyone else, of whom nothing is cut out."""
        pose = pose_of(detection.landmarks)
        refusal = self.presentation.refusal(detection, pose, frame.main.shape[1], frame.main.shape[0])
        if refusal is None:
            self.counters.presented += 1
            return pose
        self.counters.refused[refusal] += 1
        taker.refuse(refusal)
        return None
