# SPDX-License-Identifier: Apache-2.0
"""Which way a face looks, in words, and which way the person is asked to look next.

Turns are measured from the person's own front: a camera above the door, or a nose longer than the mean, moves every
pitch alike (over the frontal photos of the evaluation set it lies at 8 degrees, give or take 4). Nobody is trapped: a
pose that does not come is given up, after two in a row the rest are not asked for, and each counts whenever it comes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from device.records import Pose, PoseName, PoseState

POSES: tuple[PoseName, ...] = ("front", "left", "right", "up", "down")

FRONT_YAW_DEG = 12.0
# What counts as turned. Landmarks of a head at rest move by 0.4 to 2 degrees from frame to frame (evaluation clips).
TURN_YAW_DEG = 12.0
TURN_PITCH_DEG = 8.0
# References turned further than about 35 degrees do harm; the landmarks are good for some five degrees.
FARTHEST_YAW_DEG = 30.0
GIVEN_UP_IN_A_ROW = 2


class PoseGuide:
    """Asks for one pose after the other, front first, each for `wait_ns`; 0 asks for none but the front."""

    def __init__(self, wait_ns: int) -> None:
        self._wait_ns = wait_ns
        self._since_ns: int | None = None
        self._in_vain = 0
        self._front: Pose | None = None
        self._states: dict[PoseName, PoseState] = dict.fromkeys(POSES, "open" if wait_ns else "skipped")
        self._states["front"] = "open"
        self._ask()

    @property
    def states(self) -> tuple[tuple[PoseName, PoseState], ...]:
        """Every pose and whether it was given."""
        return tuple(self._states.items())

    @property
    def asked(self) -> PoseName | None:
        """The pose to ask for now; None where there is nothing left to wait for."""
        return next((name for name, state in self._states.items() if state == "asked"), None)

    def rest(self, now_ns: int) -> None:
        """Nobody is there to be asked: the wait begins again."""
        self._since_ns = now_ns

    def tick(self, now_ns: int) -> None:
        """Gives up a pose that has been asked for long enough. The front is not given up: anything may stand for it."""
        if self._since_ns is None:
            self._since_ns = now_ns
        asked = self.asked
        if asked is None or asked == "front" or now_ns - self._since_ns < self._wait_ns:
            return
        self._states[asked] = "skipped"
        self._in_vain += 1
        self._since_ns = now_ns
        if self._in_vain >= GIVEN_UP_IN_A_ROW:
            self._states = {n: "skipped" if s == "open" else s for n, s in self._states.items()}
        self._ask()

    def look(self, pose: Pose, now_ns: int) -> PoseName | None:
        """Which pose this is; None where it cannot be told yet, since the front was not seen."""
        if self._front is not None:
            return turn_of(pose, self._front)
        waited = self._since_ns is not None and now_ns - self._since_ns >= self._wait_ns
        if abs(pose.yaw_deg) > FRONT_YAW_DEG and not waited:
            return None
        self._front = pose
        return "front"

    def note(self, name: PoseName, now_ns: int) -> None:
        """This pose was given."""
        if self._states[name] == "given":
            return
        self._states[name] = "given"
        self._since_ns = now_ns
        self._in_vain = 0
        self._ask()

    def _ask(self) -> None:
        if self.asked is None:
            first = next((name for name, state in self._states.items() if state == "open"), None)
            if first is not None:
                self._states[first] = "asked"


def turn_of(pose: Pose, front: Pose) -> PoseName:
    """The pose in words; left and right are the person's own. What is not turned far enough is still the front."""
    yaw = (pose.yaw_deg - front.yaw_deg) / TURN_YAW_DEG
    pitch = (pose.pitch_deg - front.pitch_deg) / TURN_PITCH_DEG
    if max(abs(yaw), abs(pitch)) < 1.0:
        return "front"
    if abs(yaw) >= abs(pitch):
        return "left" if yaw > 0 else "right"
    return "down" if pitch > 0 else "up"
