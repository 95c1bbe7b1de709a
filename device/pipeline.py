# SPDX-License-Identifier: Apache-2.0
"""One frame, top to bottom. Read this first.

Motion, faces, tracks; then, only for a face that presents itself: crop, embedding, scores, decision. What comes out
are sightings; what went in is forgotten when `process` returns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from device.records import Counters, Probe
from device.vision.quality import pose_of
from device.vision.sample import Sampler

if TYPE_CHECKING:
    from device.recognition.enrolment import EnrolmentSession
    from device.recognition.presentation import Presentation
    from device.recognition.sightings import Sightings
    from device.recognition.tracks import Track, Tracker
    from device.records import Frame, Sighting, Stamp
    from device.vision.detect import Detector
    from device.vision.embed import Embedder
    from device.vision.motion import MotionGate


@dataclass(slots=True)
class Pipeline:
    """The parts, and the one way through them. Everything in it belongs to the recognise thread."""

    motion: MotionGate | None
    detector: Detector
    tracks: Tracker
    presentation: Presentation
    embedder: Embedder
    sightings: Sightings
    sampler: Sampler = field(default_factory=Sampler)
    enrolment: EnrolmentSession | None = None  # while one runs it takes the samples, and nobody is recognised
    counters: Counters = field(default_factory=Counters)
    decided: list[Sighting] = field(default_factory=list)  # of the last frame, whatever ended it

    def process(self, frame: Frame) -> list[Sighting]:
        """What this frame decides: starts and ends of visits, most often nothing."""
        now, taker = frame.captured, self.enrolment or self.sightings
        self.decided, self.counters.frames = [], self.counters.frames + 1
        gate = None if self.tracks.active or self.enrolment else self.motion  # a face in view needs no motion
        if gate is not None and not gate.is_open(frame.luma, now.boot_ns):
            self.counters.still += 1
            return self.close(now)
        faces = self.tracks.update(self.detector.detect(frame.lores, frame.main.shape[1]), now.boot_ns)
        self.counters.faces += len(faces)
        taker.open_frame(len(faces), now)
        for track, detection in faces:
            pose = pose_of(detection.landmarks)
            refusal = self.presentation.refusal(detection, pose, frame.main.shape[1], frame.main.shape[0])
            if refusal is not None:
                self.counters.refused[refusal] += 1
                taker.refuse(refusal)
                continue
            self.counters.presented += 1
            if not taker.wants(track, now):
                continue
            image, quality, pose = self.sampler.sample(frame.main, detection, closer=bool(self.enrolment))
            if not taker.accepts(quality, now):
                continue
            self.counters.embedded += 1
            embedding = (self.embedder.embed_mirrored if self.enrolment else self.embedder.embed)(image)
            scores = self.sightings.gallery.compare(embedding, now)
            self.decided += taker.offer(track, Probe(embedding, quality.overall, pose), scores, now)
        # During an enrolment nobody looks who is on a track, so no visit is kept alive by one.
        return self.decided + self.close(now, () if self.enrolment else tuple(track for track, _ in faces))

    def close(self, now: Stamp, present: tuple[Track, ...] = ()) -> list[Sighting]:
        """What time alone decides: after a frame (present: the tracks with a face in it), and where none came."""
        self.tracks.expire(now.boot_ns)
        if not self.tracks.active:
            self.sampler.forget()
            self.sightings.forget(self.embedder.forget(), now)
        return self.sightings.close_frame(self.tracks.numbers, present, now)
