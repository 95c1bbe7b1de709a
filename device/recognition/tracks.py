# SPDX-License-Identifier: Apache-2.0
"""Tracks: which face of this frame is which face of the last, by overlap alone, with a short gap.

A track knows where, not who: no crop or embedding is kept in it, and its number means nothing outside this process.
It never outlives its visit: after the gap it is gone and the next face is a new one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from device.geometry import Box
    from device.records import Detection

MIN_IOU = 0.2
# A detector that misses a frame or two is no gap: nobody changes places in a quarter of a second.
RESUMED_AFTER_NS = 250_000_000


@dataclass(slots=True)
class Track:
    """One face while it stays in view.

    resumed: it came back after a gap, so it may be another person's by now; stays true until somebody who looked
    at the face clears it.
    """

    number: int
    box: Box
    last_seen_ns: int
    resumed: bool = False


class Tracker:
    """Assigns the detections of each frame to tracks, best overlap first."""

    def __init__(self, *, gap_ns: int) -> None:
        self._gap_ns = gap_ns
        self._tracks: dict[int, Track] = {}
        self._seen_last: set[int] = set()
        self._next = 1

    @property
    def active(self) -> bool:
        """Whether any track runs."""
        return bool(self._tracks)

    @property
    def numbers(self) -> frozenset[int]:
        """The numbers of the running tracks."""
        return frozenset(self._tracks)

    def expire(self, now_ns: int) -> None:
        """Ends the tracks whose gap has passed."""
        self._tracks = {n: t for n, t in self._tracks.items() if now_ns - t.last_seen_ns <= self._gap_ns}

    def update(self, detections: Sequence[Detection], now_ns: int) -> list[tuple[Track, Detection]]:
        """Ends the tracks whose gap has passed, then pairs every detection with its track, new ones included."""
        self.expire(now_ns)
        overlaps = [
            (track.box.iou(detection.box), number, index)
            for number, track in self._tracks.items()
            for index, detection in enumerate(detections)
        ]
        taken: dict[int, Track] = {}
        for overlap, number, index in sorted(overlaps, key=lambda o: (-o[0], o[1], o[2])):
            if overlap < MIN_IOU:
                break
            track = self._tracks[number]
            if index not in taken and track not in taken.values():
                taken[index] = track
        pairs = [(self._follow(taken.get(i), d, now_ns), d) for i, d in enumerate(detections)]
        self._seen_last = {track.number for track, _ in pairs}
        return pairs

    def _follow(self, track: Track | None, detection: Detection, now_ns: int) -> Track:
        if track is None:
            track = Track(self._next, detection.box, now_ns)
            self._tracks[track.number] = track
            self._next += 1
            return track
        if track.number not in self._seen_last and now_ns - track.last_seen_ns >= RESUMED_AFTER_NS:
            track.resumed = True
        track.box = detection.box
        track.last_seen_ns = now_ns
        return track
