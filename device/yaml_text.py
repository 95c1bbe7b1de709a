# SPDX-License-Identifier: Apache-2.0
"""YAML text to a small tree that remembers line numbers, and the list of everything wrong with it.

A reader of our own on libyaml's events, because `yaml.safe_load` keeps the last of two equal keys, forgets lines,
and reads `18:83` as 1163. It takes the part of YAML that a configuration needs: mappings, lists, scalars. Anchors,
aliases, tags and a second document are refused. `yes`, `no`, `on` and `off` are booleans, as in YAML 1.1; numbers
are plain decimals only, and everything else that is not quoted is text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import yaml

from device.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_DEPTH = 8
MAX_PROBLEMS = 25
INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,30})")
DECIMAL = re.compile(r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]{1,4})?")
NOT_FINITE = re.compile(r"[-+]?\.(inf|nan)", re.IGNORECASE)
BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}

NODE_STARTS = (yaml.ScalarEvent, yaml.SequenceStartEvent, yaml.MappingStartEvent)

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Span:
    """Where something stands in the text: lines and columns from 0, as YAML counts them, the end exclusive."""

    line: int = 0
    column: int = 0
    end_line: int = 0
    end_column: int = 0


@dataclass(frozen=True, slots=True)
class Node:
    """A value in the file. `line` counts from 1 and is the line of its key where it has one.

    `raw` is a scalar's text as written, `quoted` whether it had quotes. `refused`: a problem is noted already. at, key:
    where it and its key stand; flow: whether it is written in brackets or braces.
    """

    line: int
    value: Scalar | list[Node] | dict[str, Node]
    raw: str = ""
    quoted: bool = False
    refused: bool = False
    at: Span = Span()
    key: Span = Span()
    flow: bool = False


class Problems:
    """What is wrong with one file. `add` raises the lot when there are too many to be worth listing."""

    def __init__(self, file: str) -> None:
        self.file = file
        self._found: list[ConfigError] = []

    def __len__(self) -> int:
        return len(self._found)

    def add(self, line: int, path: str, expected: str, hint: str) -> None:
        """Notes one problem. Raises ConfigError at the 25th."""
        self._found.append(ConfigError(self.file, path, expected, hint=hint, line=line))
        if len(self._found) == MAX_PROBLEMS:
            rest = ConfigError(self.file, "", "there may be more problems", hint="mend these and check again")
            self._found.append(rest)
            self.raise_any()

    def stop(self, line: int, path: str, expected: str, hint: str) -> ConfigError:
        """For `raise`: a problem after which nothing more can be read, with those found before it."""
        found = [*self._found, ConfigError(self.file, path, expected, hint=hint, line=line)]
        return _together(found)

    def raise_any(self) -> None:
        """Raises ConfigError with everything that was noted, in the order of the file; returns where nothing was."""
        if self._found:
            raise _together(self._found)


def _together(found: list[ConfigError]) -> ConfigError:
    found = sorted(found, key=lambda problem: problem.line or 1 << 30)
    first = found[0]
    return ConfigError(
        first.file, first.path, first.expected, hint=first.hint, line=first.line, others=tuple(found[1:])
    )


def read(data: bytes, problems: Problems) -> Node | None:
    """The file's tree; None where it is empty. Notes duplicate keys, anchors, aliases and tags in `problems`.

    Raises ConfigError where the text cannot be read on: not UTF-8, a syntax error, nested too deeply.
    """
    _check_encoding(data, problems)
    try:
        return _Reader(data, problems).document()
    except yaml.reader.ReaderError as error:
        line = data.count(b"\n", 0, error.position) + 1
        raise problems.stop(
            line, "", f"YAML forbids the character {error.character:#04x}", "remove it"
        ) from error
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, data, problems) from error


def _check_encoding(data: bytes, problems: Problems) -> None:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        got = f"expected UTF-8 text, got the byte {data[error.start]:#04x}"
        raise problems.stop(line, "", got, "save the file as UTF-8") from error


def _syntax_error(error: yaml.MarkedYAMLError, data: bytes, problems: Problems) -> ConfigError:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line, mark.column) if mark else (0, 0)
    what = error.problem or error.context or "the text cannot be read"
    lines = data.decode("utf-8").splitlines()
    text = lines[line] if line < len(lines) else ""
    if "\t" in text[: len(text) - len(text.lstrip())]:
        hint = "YAML is indented with spaces: replace the tab"
    else:
        hint = "check the indentation, the quotes and the colon (`key: value`) on this line and the one before it"
    return problems.stop(line + 1, "", f"YAML syntax, column {column + 1}: {what}", hint)


class _Reader:
    """Builds the tree from libyaml's events; used once."""

    def __init__(self, data: bytes, problems: Problems) -> None:
        self._events: Iterator[yaml.Event] = iter(yaml.parse(data, Loader=yaml.CSafeLoader))
        self._problems = problems
        self._ended: yaml.Event | None = None  # the end of the list or mapping that was read last

    def document(self) -> Node | None:
        """The one document of the file."""
        root: Node | None = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    hint = "keep one document: remove the `---` and what follows"
                    raise self._problems.stop(
                        _line(event), "", "expected one YAML document, got a second", hint
                    )
                root = self._node(next(self._events), "", 0)
        return root

    def _node(self, event: yaml.Event, path: str, depth: int) -> Node:
        line = _line(event)
        refused = self._refuse_extras(event, line, path)
        if isinstance(event, yaml.ScalarEvent):
            return _scalar(event, line, refused=refused)
        if isinstance(event, yaml.AliasEvent):
            return Node(line, None, refused=True)
        if depth == MAX_DEPTH:
            hint = "the deepest option is a list in a list in a section"
            raise self._problems.stop(line, "", f"expected at most {MAX_DEPTH} levels of nesting", hint)
        sequence = isinstance(event, yaml.SequenceStartEvent)
        value = self._items(path, depth) if sequence else self._entries(path, depth)
        at = _span(event, self._ended)
        flow = bool(getattr(event, "flow_style", False))
        if not flow:
            # YAML ends a block where the next thing begins, comments later; its last part says where it ends itself.
            parts = value if isinstance(value, list) else list(value.values())
            last = max(
                ((each.at.end_line, each.at.end_column) for each in parts), default=(at.line, at.column)
            )
            at = Span(at.line, at.column, *last)
        return Node(line, value, refused=refused, at=at, flow=flow)

    def _items(self, path: str, depth: int) -> list[Node]:
        items: list[Node] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, f"{path}[{len(items)}]", depth + 1))
        self._ended = event
        return items

    def _entries(self, path: str, depth: int) -> dict[str, Node]:
        entries: dict[str, Node] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._node(event, path, depth + 1)
            place = f"{path}.{printable(key.raw)}" if path else printable(key.raw)
            value = replace(self._node(next(self._events), place, depth + 1), line=key.line, key=key.at)
            if isinstance(key.value, list | dict):
                self._problems.add(
                    key.line, path, f"expected a name as key, got {meaning(key)}", "write `name: value`"
                )
            elif key.raw in entries:
                first = entries[key.raw].line
                self._problems.add(
                    key.line, place, f"given twice, first in line {first}", "keep one of the two"
                )
            else:
                entries[key.raw] = value
        self._ended = event
        return entries

    def _refuse_extras(self, event: yaml.Event, line: int, path: str) -> bool:
        """Notes an anchor, alias or tag; True where the value must not be looked at."""
        if isinstance(event, yaml.AliasEvent):
            self._problems.add(
                line, path, f"expected a value, got the alias *{event.anchor}", "write the value out"
            )
        elif isinstance(event, NODE_STARTS) and event.anchor is not None:
            self._problems.add(
                line, path, f"anchors are not supported, got &{event.anchor}", "write the value out"
            )
        elif isinstance(event, NODE_STARTS) and event.tag is not None:
            hint = "write the plain value; a password goes into a file of its own (mqtt.password_file)"
            self._problems.add(line, path, f"tags are not supported, got {printable(event.tag)}", hint)
            return True
        return False


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 0


def _scalar(event: yaml.ScalarEvent, line: int, *, refused: bool) -> Node:
    quoted = not event.implicit[0]
    value = event.value if quoted else plain_value(event.value)
    return Node(line, value, raw=event.value, quoted=quoted, refused=refused, at=_span(event, event))


def _span(first: yaml.Event, last: yaml.Event | None) -> Span:
    begin, end = first.start_mark, last.end_mark if last else None
    return Span(begin.line, begin.column, end.line, end.column) if begin and end else Span()


def plain_value(text: str) -> Scalar:
    """What an unquoted scalar means here. Numbers that YAML versions read differently stay text."""
    if text in {"", "~", "null", "Null", "NULL"}:
        return None
    if text in {text.lower(), text.upper(), text.capitalize()} and text.lower() in BOOLEANS:
        return BOOLEANS[text.lower()]
    if INTEGER.fullmatch(text):
        return int(text)
    if DECIMAL.fullmatch(text):
        return float(text)
    if NOT_FINITE.fullmatch(text):
        return float(text.lower().replace(".", ""))
    return text


def python_value(node: Node) -> object:
    """The tree as plain Python objects."""
    if isinstance(node.value, dict):
        return {key: python_value(entry) for key, entry in node.value.items()}
    if isinstance(node.value, list):
        return [python_value(item) for item in node.value]
    return node.value


def printable(text: str) -> str:
    """`text` fit for one line of a message: no control characters, not too long."""
    shown = "".join(c if c.isprintable() else "?" for c in text[:61])
    return shown if len(text) <= 60 else shown[:57] + "..."


def meaning(node: Node) -> str:
    """What was found, for an error message: the text as written, and how it was read where that surprises."""
    if isinstance(node.value, dict):
        return "a section"
    if isinstance(node.value, list):
        return f"a list of {len(node.value)}"
    raw = printable(node.raw)
    if node.value is None:
        return "nothing" if not raw else f"{raw} (no value)"
    if isinstance(node.value, bool):
        return raw if raw in {"true", "false"} else f"{raw} (which YAML reads as {str(node.value).lower()})"
    if isinstance(node.value, str):
        return f'the text "{raw}"'
    return f"the number {raw}"
