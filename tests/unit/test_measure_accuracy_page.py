# SPDX-License-Identifier: Apache-2.0
"""docs/accuracy.md is what its numbers make, says what it must, and judges by the numbers alone."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from device.errors import InputError
from device.measure import accuracy_page
from device.measure.accuracy_limits import gap_lines, limits_of, mistakes_line, target_line
from device.measure.accuracy_page import COPIED, SECTIONS, read_numbers, write_page
from device.measure.accuracy_tables import counted, md_table, rate, wrapped
from device.measure.accuracy_text import page
from device.measure.evaluate import CAVEAT
from device.measure.metrics import wilson

DOCS = Path(__file__).resolve().parents[2] / "docs"
NUMBERS = DOCS / "accuracy" / "evaluate.json"


@pytest.fixture
def numbers() -> dict[str, Any]:
    """What is committed, to change at will."""
    loaded: dict[str, Any] = json.loads(NUMBERS.read_text(encoding="utf-8"))
    return loaded


def point(level: float, *, fnir: float, let_in: int = 100, missed: int = 0, **more: Any) -> dict[str, Any]:
    """A level of 100 probes and 100 strangers."""
    return {
        "level": level,
        "probes": 100,
        "fnir": fnir,
        "fnir_95": wilson(round(100 * fnir), 100),
        "not_found": 0,
        "accepted_probes": let_in,
        "accepted_fnir": missed / let_in if let_in else None,
        "accepted_fnir_95": wilson(missed, let_in),
        "accepted_mistaken": 0,
        "accepted_strangers": let_in,
        "accepted_alarms": 1 if let_in else 0,
        "accepted_fpir": 1 / let_in if let_in else None,
        "accepted_fpir_95": wilson(1 if let_in else 0, let_in),
        **more,
    }


def test_the_committed_page_is_what_its_committed_numbers_make(numbers: dict[str, Any]) -> None:
    made = page(numbers, "accuracy")
    assert made == (DOCS / "accuracy.md").read_text(encoding="utf-8"), (
        "run `make accuracy` and commit all of it"
    )


def test_the_committed_numbers_are_a_whole_run_and_name_no_machine(numbers: dict[str, Any]) -> None:
    assert read_numbers(NUMBERS) == numbers
    assert set(numbers["about"]).isdisjoint(accuracy_page.ABOUT_THIS_MACHINE)
    texts = re.findall(r'"([^"]*)"', NUMBERS.read_text(encoding="utf-8"))
    assert not [text for text in texts if text.startswith("/") or text.endswith((".jpg", ".png"))]


def test_the_page_says_what_nobody_may_miss(numbers: dict[str, Any]) -> None:
    text = page(numbers, "accuracy")
    assert "**Never open a door on a face alone.** Porter does not detect presentation attacks" in text
    assert CAVEAT.replace("\n", " ") in text
    assert "training pictures were collected from the web by its authors" in text


def test_every_plot_of_the_page_is_there_small_and_a_png(numbers: dict[str, Any]) -> None:
    named = set(re.findall(r"\]\(accuracy/([a-z-]+\.png)\)", page(numbers, "accuracy")))
    assert named == {file.name for file in (DOCS / "accuracy").glob("*.png")}
    for name in named:
        data = (DOCS / "accuracy" / name).read_bytes()
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        assert len(data) < 100_000, name


def test_a_page_is_written_with_its_numbers_and_plots(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="an extra of its own: pip install -e '.[evaluate]'")
    source = tmp_path / "out" / "evaluate.json"
    source.parent.mkdir()
    loaded = json.loads(NUMBERS.read_text(encoding="utf-8"))
    loaded["about"]["data"] = "somebody's folder"
    source.write_text(json.dumps(loaded))
    for name in COPIED:
        (source.parent / name).write_bytes(b"plot")
    written = write_page(source, tmp_path / "docs" / "accuracy.md")
    assert (tmp_path / "docs" / "accuracy.md").read_bytes() == (DOCS / "accuracy.md").read_bytes()
    assert (tmp_path / "docs" / "accuracy" / "evaluate.json").read_bytes() == NUMBERS.read_bytes()
    assert {path.name for path in written} == {
        *(file.name for file in (DOCS / "accuracy").iterdir()),
        "accuracy.md",
    }


def test_a_plot_of_the_run_that_is_missing_is_named(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="an extra of its own: pip install -e '.[evaluate]'")
    (tmp_path / "evaluate.json").write_bytes(NUMBERS.read_bytes())
    with pytest.raises(InputError, match=r"verification-det\.png: expected the plot of this run"):
        write_page(tmp_path / "evaluate.json", tmp_path / "accuracy.md")
    assert [path.name for path in tmp_path.iterdir()] == ["evaluate.json"]


@pytest.mark.parametrize("section", SECTIONS)
def test_a_run_that_left_a_part_out_makes_no_page(
    section: str, numbers: dict[str, Any], tmp_path: Path
) -> None:
    numbers[section] = {}
    (tmp_path / "evaluate.json").write_text(json.dumps(numbers))
    with pytest.raises(InputError, match=f"expected a whole run, but {section} is missing"):
        read_numbers(tmp_path / "evaluate.json")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "expected the JSON of `porter evaluate`"),
        ("[]", "expected an object, found list"),
        (
            '{"about": {"partial": true}}',
            "verification, identification, detection, degraded, galleries is missing",
        ),
    ],
)
def test_what_is_no_evaluation_is_refused_with_the_file_named(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="an extra of its own: pip install -e '.[evaluate]'")
    file = tmp_path / "numbers.json"
    file.write_text(text)
    assert accuracy_page.main([str(file), str(tmp_path / "page.md")]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: {file}: ")
    assert said in told
    assert "hint: `make accuracy" in told


def test_a_partial_run_and_one_with_unreadable_pictures_make_no_page(
    numbers: dict[str, Any], tmp_path: Path
) -> None:
    for key, value, said in (
        ("partial", True, "a partial one"),
        ("unreadable", ["x: gone"], "expected none, found 1"),
    ):
        changed = copy.deepcopy(numbers)
        changed["about"][key] = value
        (tmp_path / "evaluate.json").write_text(json.dumps(changed))
        with pytest.raises(InputError, match=said):
            read_numbers(tmp_path / "evaluate.json")


def test_the_target_at_40_px_is_judged_by_the_number() -> None:
    assert "is met." in target_line("width", [point(40, fnir=0.02)])
    assert "is **not met**." in target_line("width", [point(40, fnir=0.03, not_found=2)])


def test_limits_are_the_last_good_level_and_the_first_from_which_all_are_refused() -> None:
    points = [
        point(80, fnir=0.0),
        point(60, fnir=0.02, let_in=50),
        point(40, fnir=0.1, let_in=4),
        point(20, fnir=0.01, let_in=0),  # good again, but beyond a bad level
    ]
    assert limits_of(points) == ("60", "40", "yes")
    assert limits_of([point(80, fnir=0.5, missed=50)]) == ("none", "none measured", "no")


def test_a_level_that_is_let_through_and_missed_is_named_and_one_that_is_refused_is_not() -> None:
    curves = {"motion": [point(0.1, fnir=0.02, missed=2), point(0.2, fnir=0.03, missed=3)]}
    text = "\n".join(gap_lines(curves))
    assert "| motion | 0.2 | 100 of 100 | 3.00 % (1.03-8.45) | 0 | 1.00 % (0.18-5.45) |" in text
    assert "| motion | 0.1 |" not in text
    few = {"motion": [point(0.3, fnir=0.9, let_in=5, missed=5)]}
    assert gap_lines(few) == [
        "At no measured level are more than 5 % let through of whom more than 2 % are missed."
    ]


def test_wrong_names_are_summed_and_the_worst_fpir_is_told_with_its_condition() -> None:
    curves = {
        "jpeg": [point(10, fnir=0.0, accepted_mistaken=3)],
        "worn": [point(0, fnir=0.0, let_in=50), point(1, fnir=1.0, let_in=0)],
    }
    text = mistakes_line(curves)
    assert "3 of 150 searches" in text
    assert "2.00 % (0.35-10.50), 1 of 50 (worn 0)" in text


def test_tables_and_shares_are_written_as_markdown() -> None:
    assert md_table(("a", "b"), [(1, "x")]) == "| a | b |\n| --- | --- |\n| 1 | x |"
    assert rate(None, (0.0, 1.0)) == "-"
    assert counted(0.5, 10) == "50.00 % (23.66-76.34)"
    assert max(map(len, wrapped("word " * 100).splitlines())) <= 120
