# SPDX-License-Identifier: Apache-2.0
"""Never 3: a stranger's crop and embedding are gone with the frame, their scores with the track.

Everything that can be reached from the pipeline is searched for the bytes of the stranger's crop and embedding. The
one place that may still hold them while somebody stands there is the embedder's own tensors, which the next
invocation overwrites; when nobody is there any more they must be gone from there, too.
"""

from __future__ import annotations

import gc
import json
import logging
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from device.adapters.interpreter_recorded import RecordedInterpreter
from tests.door import Door, Painted, embedding_of, enrolment

if TYPE_CHECKING:
    from collections.abc import Iterator

ANNA, STRANGER = Painted(1), Painted(5)
CROP = bytes(STRANGER.colour) * 8  # eight pixels of the stranger's colour in a row
EMBEDDING = embedding_of(5)


def reachable(root: object, *, but_not: tuple[type, ...] = ()) -> Iterator[object]:
    """Every object that `root` holds on to, directly or not; not through modules, classes or a function's globals."""
    seen, waiting = set[int](), [root]
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, (ModuleType, type, *but_not)):
            continue
        seen.add(id(one))
        yield one
        if isinstance(one, FunctionType):
            waiting += [one.__closure__, one.__defaults__, one.__kwdefaults__]
        elif isinstance(one, np.ndarray):
            waiting.append(one.base)
        else:
            waiting += gc.get_referents(one)


def holds_crop(thing: object) -> bool:
    """Whether these are bytes with the stranger's pixels in them, in any number format that a tensor may have."""
    if isinstance(thing, (bytes, bytearray, memoryview)):
        return CROP in bytes(thing)
    if not isinstance(thing, np.ndarray) or thing.dtype.kind not in "iuf" or thing.size < len(CROP):
        return False
    with np.errstate(invalid="ignore"):
        return CROP in thing.astype(np.uint8).tobytes()


def holds_embedding(thing: object) -> bool:
    """Whether this is the stranger's embedding, at any length and in any row of an array."""
    if not isinstance(thing, np.ndarray) or thing.dtype.kind != "f" or thing.shape[-1:] != EMBEDDING.shape:
        return False
    rows = thing.reshape(-1, EMBEDDING.size).astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1)
    return bool((np.abs(rows @ EMBEDDING) > 0.99 * lengths).any() and (lengths > 0).any())


def traces(root: object, *, but_not: tuple[type, ...] = ()) -> list[str]:
    """What is left of the stranger."""
    return [
        f"{what} in {type(one).__name__}"
        for one in reachable(root, but_not=but_not)
        for what, found in (("crop", holds_crop(one)), ("embedding", holds_embedding(one)))
        if found
    ]


def test_the_search_finds_what_is_there() -> None:
    # An enrolment keeps samples on purpose, and a picture handed over is a picture held.
    door = Door([1])
    session = enrolment()
    door.pipeline.enrolment = session
    door.show_alive(STRANGER, frames=30)
    assert session.progress.state == "complete"
    assert "embedding in ndarray" in traces(door.pipeline, but_not=(RecordedInterpreter,))
    door.people = [STRANGER]
    assert traces({"kept": [door.frame()]}) == ["crop in ndarray"]
    tensor = door.picture().astype(np.float32)[np.newaxis]
    assert "crop in ndarray" in traces(lambda: tensor)


@pytest.mark.parametrize("motion", [False, True])
def test_after_every_frame_neither_crop_nor_embedding_is_held(motion: bool) -> None:
    door = Door([1, 2], motion=motion)
    for _ in range(30):
        door.show(STRANGER)
        assert traces(door.pipeline, but_not=(RecordedInterpreter,)) == []
    assert door.pipeline.counters.embedded >= 6


def test_when_the_stranger_is_gone_the_embedders_tensors_hold_nothing_of_them() -> None:
    door = Door([1, 2])
    door.show(STRANGER, frames=10)
    assert traces(door.embedder) == ["embedding in ndarray"]
    door.show(frames=12)
    assert traces(door.pipeline) == []


def test_what_an_abandoned_enrolment_saw_is_gone_with_it() -> None:
    door = Door([1])
    door.pipeline.enrolment = enrolment()
    door.show(STRANGER, frames=6)
    assert traces(door.pipeline, but_not=(RecordedInterpreter,))
    door.pipeline.enrolment = None
    door.show(frames=12)
    assert traces(door.pipeline) == []


def test_the_scores_of_a_stranger_end_with_the_track_and_only_a_count_remains() -> None:
    door = Door([1, 2])
    door.show(STRANGER, frames=30)
    sightings, tracks = door.pipeline.sightings, door.pipeline.tracks
    assert (len(sightings._tracks), len(tracks.numbers)) == (1, 1)
    door.show(frames=12)
    assert (sightings._tracks, tracks.numbers, sightings.visits) == ({}, frozenset(), {})
    assert sightings.strangers == 1


def test_a_stranger_who_comes_back_is_not_known_again() -> None:
    door = Door([1])
    first = list[int]()
    for _ in range(3):
        door.show(STRANGER, frames=10)
        first += door.pipeline.tracks.numbers
        door.show(frames=12)
    assert first == [1, 2, 3]  # a new track each time, and nothing that would join them
    assert door.pipeline.sightings.strangers == 3


def test_nothing_is_decided_published_or_logged_about_a_stranger(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    door = Door([1, 2])
    assert door.show(STRANGER, frames=300) == []
    assert door.show(frames=100) == []
    assert caplog.records == []


def test_counters_are_numbers_and_nothing_else() -> None:
    door = Door([1])
    door.show(STRANGER, frames=10)
    counted: dict[str, Any] = json.loads(msgspec.json.encode(door.pipeline.counters))
    numbers = [*counted.pop("refused").values(), *counted.values()]
    assert all(isinstance(number, int) for number in numbers)
