# SPDX-License-Identifier: Apache-2.0
"""Evaluation tables: what is read, and that what is wrong is named: file, line, column, what was expected."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from device.errors import InputError
from device.geometry import Box
from device.measure.dataset import read_boxes, read_folder, read_pairs, read_searches, spread

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PAIRS = "path1,path2,same,fold\na.jpg,b.jpg,1,1\na.jpg,c.jpg,0,2\n"
SEARCHES = "path,identity,role\na.jpg,Ann,enrol\nb.jpg,Ann,probe\nc.jpg,Bob,stranger\n"
BOXES = "path,x,y,w,h\na.jpg,1,2.5,30,40\na.jpg,50,2,30,40\nwall.jpg,,,,\n"


def written(folder: Path, text: str, name: str = "table.csv") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_pairs_are_read_with_their_paths_beside_the_table(tmp_path: Path) -> None:
    first, second = read_pairs(written(tmp_path, PAIRS))
    assert (first.first, first.second, first.same, first.fold) == (
        tmp_path / "a.jpg",
        tmp_path / "b.jpg",
        True,
        1,
    )
    assert (second.same, second.fold) == (False, 2)


def test_columns_may_come_in_any_order_with_others_among_them(tmp_path: Path) -> None:
    text = "\ufefffold,note,same,path2,path1\n3,x,0,b.jpg,a.jpg\n4,y,1,d.jpg,c.jpg\n"
    pair = read_pairs(written(tmp_path, text))[0]
    assert (pair.first.name, pair.second.name, pair.same, pair.fold) == ("a.jpg", "b.jpg", False, 3)


def test_roles_are_read(tmp_path: Path) -> None:
    roles = [(search.identity, search.role) for search in read_searches(written(tmp_path, SEARCHES))]
    assert roles == [("Ann", "enrol"), ("Ann", "probe"), ("Bob", "stranger")]


def test_boxes_are_gathered_by_picture_and_a_picture_may_have_none(tmp_path: Path) -> None:
    one, wall = read_boxes(written(tmp_path, BOXES))
    assert one.faces == (Box(1, 2.5, 30, 40), Box(50, 2, 30, 40))
    assert (wall.picture, wall.faces) == (tmp_path / "wall.jpg", ())


@pytest.mark.parametrize(
    ("read", "text", "said"),
    [
        (read_pairs, "", ":1: expected the columns path1,path2,same,fold, found an empty file"),
        (read_pairs, "path1,path2,same\n", "found path1,path2,same"),
        (read_pairs, "path1,path2,same,fold\n", "expected rows below the header"),
        (read_pairs, PAIRS + "a.jpg,b.jpg,yes,1\n", ":4: column same: expected 1 or 0, found 'yes'"),
        (read_pairs, PAIRS + "a.jpg,b.jpg,1,1.5\n", ":4: column fold: expected a whole number, found '1.5'"),
        (read_pairs, PAIRS + ",b.jpg,1,1\n", ":4: column path1: expected some text, found ''"),
        (read_pairs, PAIRS + "a.jpg,b.jpg,1\n", ":4: expected 4 fields as in the header"),
        (read_pairs, PAIRS + "a.jpg,b.jpg,1,1,9\n", ":4: expected 4 fields as in the header"),
        (read_pairs, PAIRS.replace(",2\n", ",1\n"), "column fold: expected at least two folds"),
        (read_pairs, PAIRS + '"a.jpg\n', "not a CSV file"),
        (read_searches, SEARCHES + "d.jpg,Cid,guest\n", "column role: expected enrol or probe or stranger"),
        (
            read_searches,
            SEARCHES + "d.jpg,Cid,probe\n",
            ":5: column identity: expected an identity with role enrol",
        ),
        (
            read_searches,
            SEARCHES + "d.jpg,Ann,stranger\n",
            ":5: column identity: expected nobody with role enrol",
        ),
        (read_searches, SEARCHES.replace("stranger", "enrol"), "expected rows for stranger"),
        (read_boxes, BOXES + "b.jpg,1,2,three,4\n", ":5: column w: expected a number, found 'three'"),
        (read_boxes, BOXES + "b.jpg,1,nan,3,4\n", ":5: column y: expected a number, found 'nan'"),
        (read_boxes, BOXES + "b.jpg,1,2,3,0\n", ":5: column h: expected more than 0 pixels, found '0'"),
        (read_boxes, BOXES + "b.jpg,1,2,,4\n", ":5: column w: expected a number, found ''"),
    ],
)
def test_a_malformed_table_is_refused_with_file_line_column_and_what_was_expected(
    tmp_path: Path, read: Callable[[Path], object], text: str, said: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(path) in caught.value.message
    assert said in caught.value.message


def test_a_picture_is_no_table(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(InputError, match="not a CSV file in UTF-8"):
        read_pairs(path)


def test_parts_that_are_missing_are_named_and_the_others_read(tmp_path: Path) -> None:
    written(tmp_path, BOXES, "street/boxes.csv")
    folder = read_folder(tmp_path)
    assert list(folder.detection) == ["street"]
    assert [line.split(":")[0] for line in folder.skipped] == ["verification", "identification"]


def test_a_folder_without_any_table_or_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no table to measure with"):
        read_folder(tmp_path)
    with pytest.raises(InputError, match="expected a folder"):
        read_folder(tmp_path / "nothing")


def test_two_open_set_tables_are_one_too_many(tmp_path: Path) -> None:
    for name in ("dev", "test"):
        written(tmp_path, SEARCHES, f"lfw/openset_{name}.csv")
    with pytest.raises(InputError, match=r"openset_dev\.csv, openset_test\.csv"):
        read_folder(tmp_path)


def test_a_limit_takes_from_everywhere() -> None:
    assert spread(range(10), 4) == [0, 2, 5, 7]
    assert list(spread(range(3), 4)) == [0, 1, 2]
    assert list(spread(range(3), None)) == [0, 1, 2]
