# SPDX-License-Identifier: Apache-2.0
"""Options under their old names, in memory and in the text of a file.

`apply` moves them in the tree that was read; `step` makes the same move in the text, where they stand: comments, order
and the rest of the file stay as their writer left them. What may surprise: the comment lines right above an option go
with it, up to a blank line or an option that is commented out; an option in braces can be renamed but not moved.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from device.errors import InputError
from device.option_docs import value_text
from device.yaml_text import Node, Problems, printable, python_value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from device.config_migrations import Migration

# YAML's line breaks, which are more than Python's universal newlines.
LINE = re.compile("[^\r\n\x85\u2028\u2029]*(?:\r\n|[\r\n\x85\u2028\u2029])|[^\r\n\x85\u2028\u2029]+$")
ENDS = "\r\n\x85\u2028\u2029"
COMMENTED_OUT = re.compile(r"\s*#[a-z0-9_]+:")
INDENT = "  "


@dataclass(frozen=True, slots=True)
class Move:
    """An option that a file names by its old name, in this line (from 1)."""

    line: int
    migration: Migration

    def __str__(self) -> str:
        old, new, since = self.migration.old, self.migration.new, self.migration.since
        return f"line {self.line}: {old} is now {new} (since {since}: {self.migration.doc})"


def apply(root: Node, migrations: Sequence[Migration], problems: Problems) -> list[Move]:
    """Moves the options of the tree, noting what cannot be; a section that lost its last option goes."""
    moves = []
    for migration in migrations:
        (section, name), (new_section, new_name) = _parts(migration.old), _parts(migration.new)
        found = _option(root, migration.old)
        if found is None or not isinstance(root.value, dict):
            continue
        other = _option(root, migration.new)
        if other is not None:
            hint = f"{migration.old} is the old name: remove that line"
            problems.add(
                found.line, migration.old, f"given as {migration.new}, too, in line {other.line}", hint
            )
            continue
        home = root.value.setdefault(new_section, Node(found.line, {}))
        if home.value is None and not home.refused:  # a section with nothing in it
            home = root.value[new_section] = replace(home, value={})
        if not isinstance(home.value, dict):
            continue  # config.py says what is wrong with that section
        leaving = root.value[section]
        assert isinstance(leaving.value, dict)  # noqa: S101  the option was found in it
        del leaving.value[name]
        if not leaving.value and section != new_section:
            del root.value[section]
        home.value[new_name] = _converted(found, migration, problems)
        moves.append(Move(found.line, migration))
    return moves


def step(text: str, root: Node, migration: Migration) -> str:
    """The text with one option moved that is there. root: the tree of the text as it is. Raises InputError."""
    lines = LINE.findall(text)
    node = _option(root, migration.old)
    if node is None:
        return text
    (section, _), (new_section, new_name) = _parts(migration.old), _parts(migration.new)
    first, last = node.key.line, node.at.end_line
    block = _renamed(lines[first : last + 1], node, new_name, migration)
    if section == new_section:
        return "".join([*lines[:first], block, *lines[last + 1 :]])
    assert isinstance(root.value, dict)  # noqa: S101  the option was found in it
    leaving, home = root.value[section], root.value.get(new_section)
    _check_block(root, leaving, home, lines, node, migration)
    above = _comments_above(lines, first, node.key.column)
    moved = [*lines[first - above : first], *LINE.findall(block)]
    entries = home.value if home is not None and isinstance(home.value, dict) else {}
    column = min((each.key.column for each in entries.values()), default=len(INDENT))
    moved = [_shifted(line, node.key.column, column) for line in moved]
    gone = set(range(first - above, last + 1))
    end = _ending(lines)
    if isinstance(leaving.value, dict) and len(leaving.value) == 1:
        # The section goes with its last option; what somebody wrote beside its name stays.
        comment = lines[leaving.key.line][leaving.key.end_column :].lstrip().removeprefix(":").lstrip(" ")
        if comment.startswith("#"):
            lines[leaving.key.line] = comment
        else:
            gone.add(leaving.key.line)
    if home is None:
        place, moved = len(lines), [end, f"{new_section}:{end}", *moved]
    else:
        place = max((each.at.end_line for each in entries.values()), default=home.key.line) + 1
    whole = [_ended(line, end) for line in lines]
    kept = ["" if at in gone else line for at, line in enumerate(whole)]
    return "".join([*kept[:place], *(_ended(line, end) for line in moved), *kept[place:]])


def _parts(path: str) -> tuple[str, str]:
    section, _, name = path.partition(".")
    return section, name


def _option(root: Node, path: str) -> Node | None:
    section, name = _parts(path)
    there = root.value.get(section) if isinstance(root.value, dict) else None
    return there.value.get(name) if there is not None and isinstance(there.value, dict) else None


def _converted(node: Node, migration: Migration, problems: Problems) -> Node:
    """The node with its new value; as it is where there is nothing to convert, or nothing that could be."""
    if migration.value is None or node.refused or node.value is None or isinstance(node.value, list | dict):
        return node
    try:
        value = migration.value(node.value)
    except (ValueError, TypeError) as error:
        what = f"expected {error}, got {printable(node.raw)}"
        problems.add(node.line, migration.old, what, f"it is now {migration.new}: {migration.doc}")
        return replace(node, refused=True)
    raw = value if isinstance(value, str) else value_text(value)
    return replace(node, value=value, raw=raw, quoted=isinstance(value, str))


def _renamed(lines: Sequence[str], node: Node, name: str, migration: Migration) -> str:
    """The option's own lines under its new name, and with its new value."""
    text, starts = "".join(lines), [0]
    for line in lines:
        starts.append(starts[-1] + len(line))

    def offset(line: int, column: int) -> int:
        return starts[line - node.key.line] + column

    # A byte order mark is not counted by YAML.
    mark = 1 if node.key.line == 0 and text.startswith("\ufeff") else 0
    fresh = _converted(node, migration, Problems(""))
    if fresh is not node:
        begin, end = offset(node.at.line, node.at.column), offset(node.at.end_line, node.at.end_column)
        text = text[: begin + mark] + value_text(python_value(fresh)) + text[end + mark :]
    begin, end = offset(node.key.line, node.key.column), offset(node.key.end_line, node.key.end_column)
    return text[: begin + mark] + name + text[end + mark :]


def _check_block(
    root: Node, leaving: Node, home: Node | None, lines: Sequence[str], node: Node, migration: Migration
) -> None:
    """Raises InputError where the option does not have its lines to itself, or its new section none to put it in."""
    braces = [each for each in (root, leaving, home) if each is not None and each.flow]
    alone = not lines[node.key.line][: node.key.column].strip("\ufeff ")
    if braces or not alone:
        raise InputError(
            f"line {node.line}: {migration.old} is written in braces: it cannot be moved to {migration.new} by itself",
            hint="move it by hand; the file works as it is meanwhile",
        )


def _comments_above(lines: Sequence[str], first: int, column: int) -> int:
    """How many lines right above are comments of this option: as far in as it is, and no option commented out."""
    count = 0
    while count < first:
        line = lines[first - count - 1]
        bare = line.lstrip(" ")
        if len(line) - len(bare) != column or not bare.startswith("#") or COMMENTED_OUT.match(line):
            break
        count += 1
    return count


def _shifted(line: str, old: int, new: int) -> str:
    bare = line.lstrip(" ")
    depth = len(line) - len(bare)
    return " " * max(depth - old + new, 0) + bare if bare.strip(ENDS) else line


def _ending(lines: Sequence[str]) -> str:
    """The line break that this file uses."""
    first = lines[0] if lines else ""
    return first[len(first.rstrip(ENDS)) :] or "\n"


def _ended(line: str, end: str) -> str:
    return line if line[-1:] in ENDS else line + end
