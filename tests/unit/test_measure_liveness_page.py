# SPDX-License-Identifier: Apache-2.0
"""docs/liveness.md is what its numbers make, says what it must, and no partial run makes it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from device.errors import InputError
from device.measure.liveness_page import main, page, read_figures, worst, write_page

DOCS = Path(__file__).resolve().parents[2] / "docs"
NUMBERS = DOCS / "liveness" / "attacks.json"


@pytest.fixture
def figures() -> dict[str, Any]:
    """What is committed, to change at will."""
    loaded: dict[str, Any] = json.loads(NUMBERS.read_text(encoding="utf-8"))
    return loaded


def test_the_committed_page_is_what_its_committed_numbers_make(figures: dict[str, Any]) -> None:
    made = page(figures, "liveness")
    assert made == (DOCS / "liveness.md").read_text(encoding="utf-8"), (
        "run `make attacks` and commit all of it"
    )


def test_the_page_says_never_to_open_a_door_on_a_face_and_what_the_photos_ask_for(
    figures: dict[str, Any],
) -> None:
    made = page(figures, "liveness")
    assert "**Never open a door on a face alone.**" in made
    assert figures["about"]["caveat"] in made
    assert "no commercial conclusion" in made


def test_no_name_of_a_photo_or_a_person_is_among_the_numbers() -> None:
    text = NUMBERS.read_text(encoding="utf-8")
    assert ".jpg" not in text
    assert ".gif" not in text
    assert "images" not in text


def test_the_worst_kind_is_named_by_the_numbers(figures: dict[str, Any]) -> None:
    kinds = copy.deepcopy(figures["parallax"]["kinds"])
    for each in kinds.values():
        each["only_live_passes"]["share"] = 0.1
    kinds["print_bent"]["only_live_passes"].update(share=0.9, share_95=[0.8, 0.95])
    assert "90.00 % (80.00-95.00) at its worst kind (a print, bent and turned)" in worst(
        kinds, "only_live_passes"
    )


def test_the_page_and_its_numbers_are_written_beside_each_other(
    figures: dict[str, Any], tmp_path: Path
) -> None:
    target = tmp_path / "liveness.md"
    written = write_page(NUMBERS, target)
    assert written == [tmp_path / "liveness" / "attacks.json", target]
    assert json.loads(written[0].read_text()) == figures


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "expected the JSON of"),
        ("[]", "matches, parallax, cues, about is missing"),
        (
            '{"matches": {"print": {}}, "parallax": {"kinds": {}}, "cues": {"moire": {}}, "about": {"people": 6}}',
            "about.partial",
        ),
        (
            '{"matches": {"print": {}}, "parallax": {"kinds": {}}, "cues": {"moire": {}}, "about": {"partial": true}}',
            "expected a whole run, found a partial one",
        ),
    ],
)
def test_numbers_that_are_not_a_whole_run_make_no_page(
    text: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "attacks.json"
    source.write_text(text)
    with pytest.raises(InputError, match=expected):
        read_figures(source)
    assert main([str(source), str(tmp_path / "page.md")]) == 2
    assert str(source) in capsys.readouterr().err
    assert not (tmp_path / "page.md").exists()


def test_numbers_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_figures(tmp_path / "none.json")
