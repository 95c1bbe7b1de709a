# SPDX-License-Identifier: Apache-2.0
"""Decisions on score rows: start, margin, hysteresis, rechecks, takeovers, withdrawal. One second is ten frames."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from device.geometry import Box
from device.recognition.gallery import Gallery
from device.recognition.operating_point import OperatingPoint, ScoreTable
from device.recognition.sightings import DecisionRule, Sightings, leader
from device.recognition.tracks import Track
from device.records import Quality, Sighting
from tests.people import NS, at, at_threshold, gallery, probe, row, subject

RULE = DecisionRule(
    point=at_threshold(0.5, fmr=1e-4),
    margin=0.1,
    hysteresis=0.1,
    min_quality=0.2,
    min_frames=3,
    max_frames=6,
    recheck_ns=3 * NS,
    visit_end_ns=5 * NS,
)
ANNA, BERT = (0.9, 0.1), (0.1, 0.9)
STRANGER = (0.2, 0.1)


class Scene:
    """Sightings for Anna (subject 1) and Bert (subject 2), fed frame by frame as the pipeline does it."""

    def __init__(self, rule: DecisionRule = RULE, known: Gallery | None = None) -> None:
        ids = count(1)
        self.sightings = Sightings(rule, lambda _now: f"visit-{next(ids)}")
        self.sightings.adopt(gallery(subject(1), subject(2)) if known is None else known, at(0))
        self.seconds = 0.0
        self.offered = 0
        self.tracks: dict[int, Track] = {}

    def frame(
        self,
        *faces: tuple[float, ...] | None,
        numbers: tuple[int, ...] = (1, 2),
        running: tuple[int, ...] = (),
    ) -> list[str]:
        """One frame 0.1 s later: a row of scores for each face (None: a face that does not present itself).

        numbers: the faces' tracks; running: tracks that go on without a face. Returns e.g. ["start p_0001"].
        """
        self.seconds += 0.1
        now, decided = at(self.seconds), list[Sighting]()
        self.tracks = {n: t for n, t in self.tracks.items() if n in (*numbers, *running)}
        present = []
        for number, scores in zip(numbers, faces, strict=False):
            track = self.tracks.setdefault(number, Track(number, Box(0, 0, 9, 9), now.boot_ns))
            present.append(track)
            if scores is not None and self.sightings.wants(track, now):
                self.offered += 1
                decided += self.sightings.offer(track, probe(), row(*scores), now)
        shown = frozenset(track.number for track in present) | frozenset(running)
        return names(decided + self.sightings.close_frame(shown, present, now))

    def frames(self, times: int, *faces: tuple[float, ...] | None, **options: tuple[int, ...]) -> list[str]:
        """The same frame again and again."""
        return [name for _ in range(times) for name in self.frame(*faces, **options)]

    def resume(self, number: int = 1) -> None:
        """The track comes back after a gap."""
        self.tracks[number].resumed = True


def names(decided: list[Sighting]) -> list[str]:
    return [f"{one.phase} {one.subject.ref}" for one in decided]


def test_a_visit_starts_with_the_last_of_the_samples_that_it_needs() -> None:
    scene = Scene()
    assert [scene.frame(ANNA) for _ in range(4)] == [[], [], ["start p_0001"], []]


def test_a_start_carries_the_fused_score_and_the_lead_over_the_second() -> None:
    scene = Scene()
    now = at(1)
    track = Track(1, Box(0, 0, 9, 9), now.boot_ns)
    for quality, scores in ((1.0, (0.9, 0.1)), (0.5, (0.6, 0.4))):
        assert scene.sightings.offer(track, probe(quality), row(*scores), now) == []
    (start,) = scene.sightings.offer(track, probe(0.5), row(0.4, 0.2), now)
    # (0.9 + 0.3 + 0.2) / 2 = 0.7 and (0.1 + 0.2 + 0.1) / 2 = 0.2: the better sample counts twice.
    assert (start.score, start.margin, start.quality) == pytest.approx((0.7, 0.5, 2 / 3))
    assert start.frames == 3


def test_a_fused_score_of_exactly_the_threshold_matches_and_one_below_does_not() -> None:
    assert Scene().frames(3, (0.5, 0.0)) == ["start p_0001"]
    assert Scene().frames(6, (0.499, 0.0)) == []


def test_two_subjects_who_score_alike_are_not_decided_for_either() -> None:
    scene = Scene()
    assert scene.frames(6, (0.8, 0.75)) == []
    assert scene.sightings.strangers == 1


def test_a_margin_that_comes_late_still_decides() -> None:
    scene = Scene()
    assert scene.frames(3, (0.8, 0.75)) == []
    assert scene.frames(2, (0.9, 0.2)) == ["start p_0001"]


def test_the_only_subject_leads_over_nobody() -> None:
    assert leader(row(0.6)) == pytest.approx((0, 0.6, 1.6))
    assert Scene(known=gallery(subject(1))).frames(3, (0.6,)) == ["start p_0001"]


def test_a_stranger_is_given_up_on_after_the_most_samples_and_counted() -> None:
    scene = Scene()
    assert scene.frames(20, STRANGER) == []
    assert (scene.offered, scene.sightings.strangers) == (6, 1)


def test_a_decided_face_is_looked_at_once_per_recheck() -> None:
    for scores, samples in ((ANNA, 3), (STRANGER, 6)):
        scene = Scene()
        scene.frames(600, scores)  # a minute
        assert samples + 18 <= scene.offered <= samples + 20


def test_one_good_sample_gives_a_stranger_another_full_look_and_no_more() -> None:
    scene = Scene()
    scene.frames(6, STRANGER)
    scene.frames(30, STRANGER)
    assert scene.frames(34, ANNA) == ["start p_0001"]  # the next recheck, and three samples after it
    assert Scene().frames(100, STRANGER) == []


def test_a_visit_ends_once_when_its_subject_was_away_long_enough() -> None:
    scene = Scene()
    scene.frames(10, ANNA)
    assert scene.frames(49) == []
    assert scene.frames(1) == ["end p_0001"]
    assert scene.frames(100) == []


def test_the_end_names_the_visit_of_its_start() -> None:
    scene = Scene()
    scene.frames(10, ANNA)
    visit = scene.sightings.visits["subject-1"]
    scene.seconds += 60
    (end,) = scene.sightings.close_frame(frozenset(), [], at(scene.seconds))
    assert (end.phase, end.visit_id, end.score) == ("end", "visit-1", visit.score)


def test_a_broken_track_that_comes_back_in_time_continues_the_visit() -> None:
    scene = Scene()
    scene.frames(10, ANNA)
    assert scene.frames(40) == []
    assert scene.frames(100, ANNA, numbers=(2,)) == []
    assert list(scene.sightings.visits) == ["subject-1"]


def test_a_subject_who_comes_back_too_late_has_a_second_visit() -> None:
    scene = Scene()
    assert scene.frames(10, ANNA) == ["start p_0001"]
    assert scene.frames(60) == ["end p_0001"]
    assert scene.frames(10, ANNA, numbers=(2,)) == ["start p_0001"]


def test_a_score_within_the_hysteresis_keeps_a_visit_and_could_not_start_one() -> None:
    scene = Scene()
    scene.frames(3, ANNA)
    assert scene.frames(300, (0.41, 0.1)) == []
    assert list(scene.sightings.visits) == ["subject-1"]
    assert Scene().frames(300, (0.41, 0.1)) == []


def test_a_stranger_who_takes_over_a_track_does_not_keep_the_visit_alive() -> None:
    scene = Scene()
    scene.frames(10, ANNA)
    assert scene.frames(71, STRANGER) == []  # until the recheck at 3.3 s nobody knows, and then for 5 s
    assert scene.frames(1, STRANGER) == ["end p_0001"]
    assert scene.sightings.strangers == 1


def test_after_a_gap_nobody_is_present_before_somebody_looked() -> None:
    scene = Scene()
    scene.frames(10, ANNA)
    scene.frames(5, running=(1,))
    scene.resume()
    seen_ns = scene.sightings.visits["subject-1"].last_seen_ns
    scene.frames(20, None)  # a face, but turned away
    assert scene.sightings.visits["subject-1"].last_seen_ns == seen_ns
    scene.frame(ANNA)
    assert scene.sightings.visits["subject-1"].last_seen_ns == at(scene.seconds).boot_ns


def test_a_stranger_back_from_a_gap_on_a_subjects_track_ends_the_visit() -> None:
    scene = Scene()
    scene.frames(10, ANNA)
    scene.frames(5, running=(1,))
    scene.resume()
    assert scene.frames(44, STRANGER) == []
    assert scene.frames(1, STRANGER) == ["end p_0001"]
    assert scene.frames(200, STRANGER) == []


def test_samples_from_before_a_gap_are_not_fused_with_those_after_it() -> None:
    scene = Scene()
    scene.frames(2, ANNA)
    scene.frames(5, running=(1,))
    scene.resume()
    assert scene.frames(10, STRANGER) == []


def test_a_visit_that_ran_out_in_doubt_starts_again_when_the_doubt_is_gone() -> None:
    scene = Scene()
    scene.frames(3, ANNA)
    scene.frames(29, None)
    scene.frame(STRANGER)  # the recheck: one bad sample, and then the face turns away
    assert scene.frames(60, None) == ["end p_0001"]
    assert scene.frames(10, ANNA) == ["start p_0001"]


def test_a_visit_that_ran_out_within_a_long_gap_of_its_track_starts_again() -> None:
    scene = Scene()
    scene.frames(3, ANNA)
    assert scene.frames(60, running=(1,)) == ["end p_0001"]
    scene.resume()
    assert scene.frames(10, ANNA) == ["start p_0001"]


def test_two_subjects_who_change_places_keep_their_visits() -> None:
    scene = Scene()
    assert scene.frames(10, ANNA, BERT) == ["start p_0001", "start p_0002"]
    assert scene.frames(300, BERT, ANNA) == []
    assert sorted(scene.sightings.visits) == ["subject-1", "subject-2"]


def test_a_subject_seen_on_two_tracks_has_one_visit() -> None:
    scene = Scene()
    assert scene.frames(10, ANNA, ANNA) == ["start p_0001"]
    assert scene.frames(60, ANNA) == []


def test_withdrawal_ends_the_visit_at_once_and_without_the_label() -> None:
    scene = Scene()
    scene.frames(10, ANNA, BERT)
    (end,) = scene.sightings.adopt(gallery(subject(2)), at(scene.seconds))
    assert (end.phase, end.subject.ref, end.subject.label) == ("end", "p_0001", "")
    assert scene.frames(100, (0.1,), (0.9,)) == []
    assert list(scene.sightings.visits) == ["subject-2"]


def test_a_visit_ends_with_its_consent_and_without_the_label() -> None:
    scene = Scene(known=gallery(subject(1, expires_s=2.0), subject(2)))
    scene.frames(10, ANNA)
    scene.seconds = 1.95
    (end,) = scene.sightings.close_frame(frozenset(), [], at(2.0))
    assert (end.phase, end.subject.ref, end.subject.label) == ("end", "p_0001", "")


def test_samples_from_before_the_consent_ended_decide_nothing_after_it() -> None:
    scene = Scene(replace(RULE, min_frames=3), gallery(subject(1, expires_s=1.0), subject(2)))
    track = Track(1, Box(0, 0, 9, 9), at(0).boot_ns)
    for seconds in (0.8, 0.9):
        scene.sightings.offer(track, probe(1.0), row(0.95, 0.1), at(seconds))
    # A poor last sample weighs little: without its own look at the consents, the mean would still match.
    assert scene.sightings.offer(track, probe(0.1), row(-1.0, 0.1), at(1.0)) == []


def test_a_new_gallery_asks_every_track_again_and_repeats_no_start() -> None:
    scene = Scene()
    scene.frames(10, ANNA)
    assert scene.sightings.adopt(gallery(subject(1), subject(2), subject(3)), at(scene.seconds)) == []
    before = scene.offered
    assert scene.frames(10, (0.9, 0.1, 0.0)) == []
    assert scene.offered == before + 3


def test_an_end_for_all_ends_each_visit_once() -> None:
    scene = Scene()
    scene.frames(10, ANNA, BERT)
    assert names(scene.sightings.end_all(at(scene.seconds))) == ["end p_0001", "end p_0002"]
    assert scene.sightings.end_all(at(scene.seconds)) == []
    assert scene.frames(100) == []


def test_with_an_empty_gallery_nobody_is_worth_a_crop() -> None:
    scene = Scene(known=Gallery())
    scene.frames(10, ())
    assert scene.offered == 0


def test_poor_samples_are_not_worth_an_embedding() -> None:
    sightings = Scene().sightings
    assert sightings.accepts(Quality(1, 1, 1, 0.2), at(0))
    assert not sightings.accepts(Quality(1, 1, 0.19, 1), at(0))


def test_the_right_one_of_five_hundred_is_decided() -> None:
    known = gallery(*(subject(n) for n in range(500)))
    scores = np.full(500, 0.2, np.float32)
    scores[321] = 0.8
    assert Scene(known=known).frames(3, tuple(scores.tolist())) == ["start p_0141"]


def test_what_is_left_of_a_face_goes_with_its_track() -> None:
    scene = Scene()
    scene.frames(10, ANNA, STRANGER)
    assert set(scene.sightings._tracks) == {1, 2}
    scene.frame(ANNA)
    assert set(scene.sightings._tracks) == {1}
    scene.frame()
    assert not scene.sightings._tracks


def test_a_larger_gallery_needs_a_higher_score() -> None:
    table = ScoreTable("a test", 5, 1000, 1e-4, [0.3, 0.9], *[[1e-1, 1e-7]] * 3, *[[0.0, 0.1]] * 3)
    rule = replace(RULE, point=OperatingPoint(table, 1e-4, 3))
    one = Scene(rule, gallery(subject(1)))
    ten = Scene(rule, gallery(*(subject(n) for n in range(1, 11)), dimension=10))
    assert one.sightings.threshold == pytest.approx(0.6)
    assert ten.sightings.threshold == pytest.approx(0.7, abs=1e-3)
    assert ten.sightings.expected is not None
    assert ten.sightings.expected.fpir == pytest.approx(1e-4)
