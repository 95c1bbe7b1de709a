# SPDX-License-Identifier: Apache-2.0
"""Never 4: the embedder runs for a face that presents itself, and for nobody else; nobody else is even cut out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.door import Door, Painted, enrolment

PERSON = Painted(1)
PASSERS_BY = {
    "outside the zone": replace(PERSON, x=215),
    "too small": replace(PERSON, width=70),
    "turned to the right": replace(PERSON, turned_px=60),
    "turned to the left": replace(PERSON, turned_px=-60),
}


@pytest.mark.parametrize("who", PASSERS_BY)
def test_a_passer_by_is_never_embedded_however_long_they_stay(who: str) -> None:
    door = Door([1, 2])
    assert door.show(PASSERS_BY[who], frames=200) == []
    assert door.embedder.invocations == 0
    assert door.pipeline.counters.faces == 200
    assert door.pipeline.counters.presented == 0


@pytest.mark.parametrize("who", PASSERS_BY)
def test_no_pixel_of_a_passer_by_is_read_from_the_main_picture(who: str) -> None:
    door = Door([1, 2])
    door.people = [PASSERS_BY[who]]
    frame = door.frame()
    blank = replace(frame, main=_Untouchable(frame.main.shape))  # type: ignore[arg-type]
    assert door.pipeline.process(blank) == []
    assert door.pipeline.counters.faces == 1


@pytest.mark.parametrize("who", PASSERS_BY)
def test_an_enrolment_takes_no_sample_of_a_passer_by_either(who: str) -> None:
    door = Door([])
    door.pipeline.enrolment = enrolment()
    door.show(PASSERS_BY[who], frames=50)
    assert door.embedder.invocations == 0
    assert door.pipeline.enrolment.progress.taken == 0


def test_where_nobody_is_enrolled_nobody_is_templated() -> None:
    door = Door([])
    door.show(PERSON, frames=100)
    assert door.embedder.invocations == 0


def test_the_same_person_is_embedded_once_they_present_themselves() -> None:
    # The other tests would pass with an embedder that never runs; this one would not.
    for passer_by in PASSERS_BY.values():
        door = Door([1])
        door.show(passer_by, frames=10)
        door.show(frames=12)
        assert door.show(PERSON, frames=3) == ["start p_0001"]
        assert door.embedder.invocations == 3


def test_a_subject_who_turns_away_is_not_embedded_while_they_do() -> None:
    door = Door([1])
    door.show(PERSON, frames=5)
    seen = door.embedder.invocations
    door.show(PASSERS_BY["turned to the right"], frames=200)
    assert door.embedder.invocations == seen


class _Untouchable:
    """Has the shape of a picture; whoever looks for anything else in it fails."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
