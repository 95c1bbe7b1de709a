# SPDX-License-Identifier: Apache-2.0
"""The evaluation data: a folder of tables (CSV) and the pictures that they name.

    lfw/pairs.csv       path1,path2,same,fold    verification; same is 1 or 0, fold a whole number
    lfw/openset_*.csv   path,identity,role       identification; role is enrol, probe or stranger
    SET/boxes.csv       path,x,y,w,h             detection; one row a face, in pixels; empty numbers: a picture without

Paths are relative to the table's folder. Further columns are ignored, and so is the order of columns. Whatever part is
missing is not measured. A table that is malformed is refused: file, line, column, what was expected.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from device.errors import InputError
from device.geometry import Box

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import TypeVar

    T = TypeVar("T")

ROLES = ("enrol", "probe", "stranger")
FORM = "`porter evaluate --help` gives the form of the tables"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two pictures and whether they show the same person."""

    first: Path
    second: Path
    same: bool
    fold: int


@dataclass(frozen=True, slots=True)
class Search:
    """One picture of an open-set table. identity means something for enrol and probe only."""

    picture: Path
    identity: str
    role: str


@dataclass(frozen=True, slots=True)
class Labelled:
    """A picture and the boxes of the faces in it."""

    picture: Path
    faces: tuple[Box, ...]


@dataclass(frozen=True, slots=True)
class DataFolder:
    """What a data folder holds; empty where it has no such table. skipped: what is missing, one line each."""

    pairs: Sequence[Pair]
    searches: Sequence[Search]
    detection: Mapping[str, Sequence[Labelled]]
    skipped: Sequence[str]


class Row:
    """One line of a table; its fields are asked for by column and type, and refuse to be anything else."""

    def __init__(self, path: Path, line: int, fields: dict[str, str]) -> None:
        self._path = path
        self._line = line
        self._fields = fields

    def text(self, column: str) -> str:
        """The field, which must not be empty."""
        return self._fields[column] or self._refuse(column, "some text")

    def picture(self, column: str) -> Path:
        """The path that the field names."""
        return self._path.parent / self.text(column)

    def number(self, column: str) -> float:
        """The field as a finite number."""
        try:
            value = float(self._fields[column])
        except ValueError:
            value = math.nan
        return value if math.isfinite(value) else float(self._refuse(column, "a number"))

    def whole(self, column: str) -> int:
        """The field as a whole number."""
        value = self.number(column)
        return int(value) if value == int(value) else int(self._refuse(column, "a whole number"))

    def one_of(self, column: str, choices: Sequence[str]) -> str:
        """The field, which must be one of `choices`."""
        value = self._fields[column]
        return value if value in choices else self._refuse(column, " or ".join(choices))

    def is_empty(self, columns: Sequence[str]) -> bool:
        """Whether all these fields are empty."""
        return not any(self._fields[column] for column in columns)

    def refuse(self, column: str, expected: str) -> InputError:
        """What is wrong here."""
        found = self._fields[column]
        return InputError(
            f"{self._path}:{self._line}: column {column}: expected {expected}, found {found!r}", hint=FORM
        )

    def _refuse(self, column: str, expected: str) -> str:
        raise self.refuse(column, expected)


def read_folder(data: Path) -> DataFolder:
    """Reads every table of `data`. Raises InputError: no folder, nothing to measure, a malformed table."""
    if not data.is_dir():
        raise InputError(f"{data}: expected a folder of evaluation data, found none", hint=FORM)
    skipped = []
    pairs_table = data / "lfw" / "pairs.csv"
    pairs = read_pairs(pairs_table) if pairs_table.is_file() else []
    if not pairs:
        skipped.append(f"verification: no {pairs_table}")
    search_tables = sorted((data / "lfw").glob("openset_*.csv"))
    if len(search_tables) > 1:
        names = ", ".join(table.name for table in search_tables)
        raise InputError(
            f"{data / 'lfw'}: expected one open-set table, found {names}", hint="keep one of them there"
        )
    searches = read_searches(search_tables[0]) if search_tables else []
    if not searches:
        skipped.append(f"identification: no {data / 'lfw' / 'openset_*.csv'}")
    detection = {table.parent.name: read_boxes(table) for table in sorted(data.glob("*/boxes.csv"))}
    if not detection:
        skipped.append(f"detection: no {data / '*' / 'boxes.csv'}")
    if not (pairs or searches or detection):
        raise InputError(f"{data}: no table to measure with: {'; '.join(skipped)}", hint=FORM)
    return DataFolder(pairs, searches, detection, skipped)


def read_pairs(path: Path) -> list[Pair]:
    """A table of pairs. Raises InputError."""
    pairs = [
        Pair(
            row.picture("path1"),
            row.picture("path2"),
            row.one_of("same", ("1", "0")) == "1",
            row.whole("fold"),
        )
        for row in read_rows(path, ("path1", "path2", "same", "fold"))
    ]
    if len({pair.fold for pair in pairs}) < 2:
        raise InputError(f"{path}: column fold: expected at least two folds", hint=FORM)
    return pairs


def read_searches(path: Path) -> list[Search]:
    """An open-set table. Raises InputError, also where a probe's identity has nobody enrolled."""
    rows = list(read_rows(path, ("path", "identity", "role")))
    searches = [Search(row.picture("path"), row.text("identity"), row.one_of("role", ROLES)) for row in rows]
    enrolled = {search.identity for search in searches if search.role == "enrol"}
    for row, search in zip(rows, searches, strict=True):
        if (search.role == "probe") != (search.identity in enrolled) and search.role != "enrol":
            expected = "an identity with role enrol" if search.role == "probe" else "nobody with role enrol"
            raise row.refuse("identity", expected)
    missing = [role for role in ROLES if not any(search.role == role for search in searches)]
    if missing:
        raise InputError(
            f"{path}: column role: expected rows for {', '.join(missing)}, found none", hint=FORM
        )
    return searches


def read_boxes(path: Path) -> list[Labelled]:
    """A table of face boxes, by picture in the order they come. Raises InputError."""
    numbers = ("x", "y", "w", "h")
    faces: dict[Path, list[Box]] = {}
    for row in read_rows(path, ("path", *numbers)):
        boxes = faces.setdefault(row.picture("path"), [])
        if row.is_empty(numbers):
            continue
        box = Box(*(row.number(column) for column in numbers))
        for column, value in (("w", box.w), ("h", box.h)):
            if value <= 0:
                raise row.refuse(column, "more than 0 pixels")
        boxes.append(box)
    return [Labelled(picture, tuple(boxes)) for picture, boxes in faces.items()]


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """The rows of a CSV file with a header that has these columns. Raises InputError."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            header = reader.fieldnames or ()
            missing = [column for column in columns if column not in header]
            if missing:
                expected, found = ",".join(columns), ",".join(header) or "an empty file"
                raise InputError(f"{path}:1: expected the columns {expected}, found {found}", hint=FORM)
            rows = 0
            for fields in reader:
                rows += 1
                if None in fields or None in fields.values():
                    expected = f"{path}:{reader.line_num}: expected {len(header)} fields as in the header"
                    raise InputError(f"{expected}, found another number", hint=FORM)
                yield Row(path, reader.line_num, fields)
            if rows == 0:
                raise InputError(f"{path}: expected rows below the header, found none", hint=FORM)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV file in UTF-8: {error}", hint=FORM) from error


def spread(items: Sequence[T], limit: int | None) -> Sequence[T]:
    """At most `limit` of `items`, evenly spread over all of them; None: all."""
    if limit is None or len(items) <= limit:
        return items
    return [items[index * len(items) // limit] for index in range(limit)]
