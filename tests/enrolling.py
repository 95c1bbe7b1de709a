# SPDX-License-Identifier: Apache-2.0
"""Somebody sits for an enrolment: frames, poses and embeddings as the pipeline would bring them, without pictures."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import numpy as np

from device.geometry import Box
from device.recognition.enrolment import EnrolmentSession
from device.recognition.tracks import Track
from device.records import Pose, Probe, Quality
from tests.people import NS, at, row

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from device.records import PoseName

SIZE = 32
ME, ANOTHER = np.eye(SIZE, dtype=np.float32)[:2]
GOOD = Quality(1.0, 1.0, 1.0, 1.0)
NOBODY = row()
FRONT = Pose(0.0, 8.0, 0.0)
TURNS: dict[PoseName, Pose] = {
    "front": FRONT,
    "left": Pose(20.0, 8.0, 0.0),
    "right": Pose(-20.0, 8.0, 0.0),
    "up": Pose(0.0, -4.0, 0.0),
    "down": Pose(0.0, 20.0, 0.0),
}


def sample_of(person: NDArray[np.float32], number: int) -> NDArray[np.float32]:
    """The person's `number`-th look: a cosine of 0.98 to the person, 0.96 to another look."""
    look = person + np.float32(0.2) * np.eye(SIZE, dtype=np.float32)[2 + number % (SIZE - 2)]
    unit: NDArray[np.float32] = look / np.linalg.norm(look)
    return unit


class Sitting:
    """A session that keeps five references, and who sits for it."""

    def __init__(
        self, *, pose_wait_s: float = 0.0, min_quality: float = 0.4, own: int | None = None, most: int = 5
    ) -> None:
        self.session = EnrolmentSession(
            most=most,
            min_quality=min_quality,
            pose_wait_ns=round(pose_wait_s * NS),
            timeout_ns=60 * NS,
            too_close=0.5,
            own=own,
        )
        self.seconds = 0.0
        self._looks = count()

    @property
    def state(self) -> tuple[str, int]:
        """The session's state and how many samples it took."""
        return self.session.progress.state, self.session.progress.taken

    def show(
        self,
        after_s: float,
        *,
        embedding: NDArray[np.float32] | None = None,
        faces: int = 1,
        quality: Quality = GOOD,
        pose: Pose = FRONT,
        scores: NDArray[np.float32] = NOBODY,
        track: int = 1,
    ) -> bool:
        """One frame so long after the last, as the pipeline does it; whether the face was embedded."""
        self.seconds += after_s
        now, face = at(self.seconds), Track(track, Box(0, 0, 9, 9), 0)
        self.session.open_frame(faces, now)
        if not (self.session.wants(face, now) and self.session.accepts(quality, now)):
            return False
        vector = sample_of(ME, next(self._looks)) if embedding is None else embedding.copy()
        assert self.session.offer(face, Probe(vector, quality.overall, pose), scores, now) == []
        return True
