# SPDX-License-Identifier: Apache-2.0
"""Whatever happens in front of the camera, two people's references are never mixed, and nobody is trapped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.enrolling import ANOTHER, ME, TURNS, Sitting, sample_of

if TYPE_CHECKING:
    from device.records import PoseName

# How alike the two are: plainly below SAME_PERSON, as two different people nearly always are.
LIKENESS = 0.3
OTHER = np.float32(LIKENESS) * ME + np.float32(np.sqrt(1 - LIKENESS**2)) * ANOTHER


@dataclass(frozen=True)
class Moment:
    """One frame: who is there, on which track, how long after the last, and where they look."""

    who: str
    track: int
    after_s: float
    look: int
    pose: PoseName


MOMENTS = st.builds(
    Moment,
    who=st.sampled_from(["me", "me", "me", "other", "other", "both", "nobody"]),
    track=st.integers(1, 3),
    after_s=st.sampled_from([0.1, 0.4, 0.4, 0.4, 1.0]),
    look=st.integers(0, 29),
    pose=st.sampled_from(sorted(TURNS)),
)
FACES = {"me": 1, "other": 1, "both": 2, "nobody": 0}


def play(sitting: Sitting, moments: list[Moment]) -> None:
    """Shows all of it; with two in the picture the tracks may be swapped, which must not matter."""
    for moment in moments:
        person = OTHER if moment.who == "other" else ME
        sitting.show(
            moment.after_s,
            embedding=sample_of(person, moment.look),
            faces=FACES[moment.who],
            pose=TURNS[moment.pose],
            track=moment.track,
        )


def whose(references: np.ndarray) -> set[str]:
    """To whom these references belong."""
    return {"me" if row @ ME > row @ ANOTHER else "other" for row in references}


@settings(max_examples=300, deadline=None)
@given(st.lists(MOMENTS, min_size=8, max_size=80), st.sampled_from([0.0, 1.0]))
def test_the_references_are_one_persons_and_no_two_are_the_same(moments: list[Moment], wait_s: float) -> None:
    sitting = Sitting(pose_wait_s=wait_s, most=8)
    play(sitting, moments)
    if sitting.state[0] != "complete":
        return
    references = sitting.session.references()
    assert len(whose(references)) == 1
    assert 5 <= len(references) <= 8
    alike = references @ references.T - np.eye(len(references))
    assert alike.max() < 0.998
    assert sitting.session.summary().references == len(references)


@settings(max_examples=200, deadline=None)
@given(st.lists(MOMENTS, max_size=40), st.sampled_from(["me", "other"]))
def test_whoever_stays_is_enrolled_in_the_end_or_refused(moments: list[Moment], who: str) -> None:
    sitting = Sitting(pose_wait_s=1.0)
    play(sitting, moments)
    play(sitting, [Moment(who, 1, 0.4, look, "front") for look in range(30)])
    assert sitting.state[0] in ("complete", "refused", "timed_out")
    if sitting.state[0] == "timed_out":
        assert sitting.seconds >= 60.0


def test_somebody_else_can_be_enrolled_after_they_took_over_and_only_they() -> None:
    # The properties would hold for a session that never completes; this one must.
    sitting = Sitting(most=8)
    play(sitting, [Moment("me", 1, 0.4, look, "front") for look in range(5)])
    play(sitting, [Moment("other", 1, 0.4, look, "front") for look in range(20)])
    assert sitting.state[0] == "complete"
    assert whose(sitting.session.references()) == {"other"}
