# SPDX-License-Identifier: Apache-2.0
"""Golden replays: the real models on drawn visits decide what they decided before, within declared tolerances.

After a wanted change: `python -m tests.replay.regenerate`, and read what changed.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.replay.play import CASES, CONFIG, GOLDEN, NUMBERS, differences, play, references


def golden(name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    return read


@pytest.mark.parametrize("name", CASES)
def test_a_visit_is_decided_as_it_was(name: str) -> None:
    assert differences(golden(name), play(CASES[name])) == []


@pytest.mark.parametrize("name", ["subject", "subject-1280x720", "one-of-two"])
def test_a_subject_has_one_start_and_one_end(name: str) -> None:
    expected = golden(name)
    assert [event["phase"] for event in expected["events"]] == ["start", "end"]
    assert len({event["subject"] for event in expected["events"]}) == 1


@pytest.mark.parametrize("name", ["stranger", "other-stranger", "passer-by"])
def test_a_stranger_and_a_passer_by_make_no_event(name: str) -> None:
    expected = golden(name)
    assert expected["events"] == []
    assert expected["anyone_embedded"] is (name != "passer-by")


def test_enrolment_gives_references_of_unit_length_that_agree() -> None:
    for person in NUMBERS:
        rows = references(person)
        assert rows.shape[0] == CONFIG.enrolment.references
        assert (rows @ rows.T).min() > 0.6
        assert (rows @ rows.T).diagonal() == pytest.approx(1.0, abs=1e-5)


def test_every_golden_file_belongs_to_a_case_and_says_which() -> None:
    files = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in GOLDEN.glob("*.json")}
    assert set(files) == set(CASES)
    for name, read in files.items():
        assert tuple(read["case"]["enrolled"]) == CASES[name].enrolled
        assert read["case"]["visitor"] == CASES[name].visitor


def test_a_difference_beyond_the_tolerance_is_found() -> None:
    expected = golden("subject")
    for key, value in (("score", 0.05), ("at_s", 0.4), ("frames", 3)):
        changed = json.loads(json.dumps(expected))
        changed["events"][0][key] += value
        assert len(differences(expected, changed)) == 1, key
    assert differences(expected, {**expected, "events": []}) == ["0 events, expected 2"]
    assert differences(expected, expected) == []
