# SPDX-License-Identifier: Apache-2.0
"""What holds for any people at any door: alternation, thresholds, consent, and bounded looking."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from device.geometry import Box
from device.recognition.sightings import DecisionRule, Sightings
from device.recognition.tracks import Track
from device.records import Sighting
from tests.people import NS, at, at_threshold, gallery, probe, row, subject

PEOPLE = {f"subject-{n}": subject(n, expires_s=20.0 if n == 3 else 9e6) for n in (1, 2, 3)}
SCORE = st.sampled_from([-0.1, 0.2, 0.41, 0.5, 0.55, 0.7, 0.95])
RULES = st.builds(
    DecisionRule,
    point=st.just(at_threshold(0.5)),
    margin=st.sampled_from([0.0, 0.1]),
    hysteresis=st.sampled_from([0.0, 0.1]),
    min_quality=st.just(0.0),
    min_frames=st.integers(1, 4),
    max_frames=st.integers(4, 8),
    recheck_ns=st.integers(1, 4).map(lambda s: s * NS),
    visit_end_ns=st.integers(1, 6).map(lambda s: s * NS),
)
# Somebody known, somebody in between, nobody; and anything at all.
ROWS = st.sampled_from(
    [
        (0.95, 0.2, -0.1),
        (0.2, 0.95, 0.0),
        (0.0, 0.2, 0.95),
        (0.7, 0.65, 0.0),
        (0.41, 0.2, 0.1),
        (0.2, 0.2, 0.1),
    ]
) | st.tuples(SCORE, SCORE, SCORE)
FACES = st.dictionaries(st.integers(1, 2), st.none() | st.tuples(ROWS, st.floats(0, 1)), max_size=2)


@dataclass(frozen=True)
class Step:
    """One frame: how long after the last, a face (or one that is turned away) on some tracks, who withdraws."""

    wait_s: float
    faces: dict[int, tuple[tuple[float, float, float], float] | None]
    running: frozenset[int]
    resumed: frozenset[int]
    withdrawn: str | None


STEPS = st.lists(
    st.builds(
        Step,
        wait_s=st.sampled_from([0.1, 0.3, 1.0, 4.0]),
        faces=FACES,
        running=st.sampled_from([frozenset({1, 2})] * 3 + [frozenset({1}), frozenset()]),
        resumed=st.sampled_from([frozenset()] * 3 + [frozenset({1}), frozenset({1, 2})]),
        withdrawn=st.sampled_from([None] * 8 + ["subject-1", "subject-3"]),
    ),
    max_size=40,
)


@dataclass
class Run:
    """Everything that happened."""

    decided: list[tuple[float, Sighting]] = field(default_factory=list)
    samples: Counter[int] = field(default_factory=Counter)
    """How many samples each life of a track gave since anything about it last started over."""
    starts: list[tuple[int, Sighting, frozenset[str]]] = field(default_factory=list)
    """The samples of the track that started a visit, the start, and who was enrolled then."""


def run(rule: DecisionRule, steps: list[Step]) -> Run:
    ids, done = count(1), Run()
    sightings = Sightings(rule, lambda _now: f"visit-{next(ids)}")
    enrolled = dict(PEOPLE)
    sightings.adopt(gallery(*enrolled.values(), dimension=3), at(0))
    tracks: dict[int, Track] = {}
    seconds = 0.0
    for step in steps:
        seconds += step.wait_s
        now = at(seconds)
        if step.withdrawn in enrolled:
            del enrolled[step.withdrawn]
            done.decided += [
                (seconds, s) for s in sightings.adopt(gallery(*enrolled.values(), dimension=3), now)
            ]
        here = set(step.faces) | step.running
        for gone in tracks.keys() - here:
            del tracks[gone], done.samples[gone]
        present = []
        for number, face in step.faces.items():
            track = tracks.setdefault(number, Track(number, Box(0, 0, 9, 9), now.boot_ns))
            track.resumed |= number in step.resumed
            present.append(track)
            if face is None or not sightings.wants(track, now):
                continue
            scores = [
                -1.0 if PEOPLE[who].consent.expires_at_ns <= now.utc_ns else face[0][int(who[-1]) - 1]
                for who in enrolled
            ]
            done.samples[number] += 1
            for sighting in sightings.offer(track, probe(face[1]), row(*scores), now):
                done.decided.append((seconds, sighting))
                done.starts.append((done.samples[number], sighting, frozenset(enrolled)))
        done.decided += [(seconds, s) for s in sightings.close_frame(frozenset(tracks) & here, present, now)]
    done.decided += [(seconds, s) for s in sightings.end_all(at(seconds))]
    assert not sightings.visits
    return done


@given(RULES, STEPS)
def test_starts_and_ends_alternate_for_each_subject_and_share_their_visit(
    rule: DecisionRule, steps: list[Step]
) -> None:
    visits = defaultdict(list)
    for _, sighting in run(rule, steps).decided:
        visits[sighting.subject.subject_id].append((sighting.phase, sighting.visit_id))
    for story in visits.values():
        starts, ends = story[::2], story[1::2]
        assert [phase for phase, _ in starts] == ["start"] * len(starts)
        assert [("end", visit) for _, visit in starts] == ends
    every = [visit for story in visits.values() for _, visit in story[::2]]
    assert len(set(every)) == len(every)


@given(RULES, STEPS)
def test_no_visit_starts_without_enough_samples_score_margin_and_consent(
    rule: DecisionRule, steps: list[Step]
) -> None:
    for samples, start, enrolled in run(rule, steps).starts:
        assert start.phase == "start"
        assert samples >= start.frames >= rule.min_frames
        assert start.score >= rule.point.threshold(0)
        assert start.margin >= rule.margin
        assert start.subject.subject_id in enrolled
        assert start.subject.consent.expires_at_ns > start.captured.utc_ns


@given(RULES, STEPS)
def test_no_visit_goes_on_after_its_consent(rule: DecisionRule, steps: list[Step]) -> None:
    for seconds, sighting in run(rule, steps).decided:
        if sighting.phase == "end" and seconds > 20.0 and sighting.subject.subject_id == "subject-3":
            assert sighting.subject.label == ""


@given(st.integers(1, 4), st.integers(4, 8), SCORE, SCORE, st.integers(0, 1))
def test_a_face_that_stays_is_embedded_rarely_whatever_it_scores(
    min_frames: int, max_frames: int, one: float, other: float, flicker: int
) -> None:
    rule = DecisionRule(at_threshold(0.5), 0.1, 0.1, 0.0, min_frames, max_frames, 3 * NS, 5 * NS)
    faces: list[Step] = [
        Step(
            0.1, {1: ((one, other, 0.0), 1.0)} if k % 2 >= flicker else {}, frozenset({1}), frozenset(), None
        )
        for k in range(600)
    ]
    assert run(rule, faces).samples[1] <= max_frames + 600 / 30 + 1
