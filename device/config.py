# SPDX-License-Identifier: Apache-2.0
"""`porter.yaml` to a `Config`: the whole of it or an error that lists everything wrong with it.

Options are declared in `options.py`; what one option may be depending on another is in `option_rules.py`. Nothing here
looks at the file system beyond the file itself, so a configuration can be checked on another machine. What may
surprise: a section that is there but empty means its defaults, and a path may not begin with `~` or with `name:`. An
option under its old name (config_migrations.py) is read as if it had the new one; the file is not touched.
"""

from __future__ import annotations

import difflib
import math
import re
import unicodedata
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import msgspec

from device import config_moves, yaml_text
from device.config_migrations import MIGRATIONS
from device.errors import ConfigError
from device.option_docs import OptionDoc, SectionDoc, expected, options_table, sections_table
from device.option_rules import rules, value_of
from device.options import Config
from device.yaml_text import Node, Problems

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from device.config_migrations import Migration
    from device.config_moves import Move

MAX_BYTES = 256 * 1024


def load(path: Path) -> Config:
    """The configuration in `path`. Raises ConfigError with every problem found."""
    return parse(read(path), str(path))


def parse(text: bytes | str, file: str) -> Config:
    """The configuration in `text`; `file` names it in errors. Raises ConfigError with every problem found."""
    return examine(text, file)[0]


def examine(
    text: bytes | str, file: str, migrations: Sequence[Migration] = MIGRATIONS
) -> tuple[Config, list[Move]]:
    """The configuration in `text`, and which options it calls by old names. Raises as `parse` does."""
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    problems = Problems(file)
    if len(data) > MAX_BYTES:
        raise _too_large(file)
    root = yaml_text.read(data, problems)
    moves = [] if root is None else config_moves.apply(root, migrations, problems)
    values = {} if root is None else _sections(root, problems)
    problems.raise_any()
    config = msgspec.convert(values, Config)
    for path, what, hint in rules(config):
        problems.add(_line_of(path, root), path, what, hint)
    problems.raise_any()
    return config, moves


def changed_restart_options(old: Config, new: Config) -> list[str]:
    """Paths of the options that differ and cannot change under a running service."""
    return [
        option.path
        for option in options_table()
        if option.restart and value_of(old, option.path) != value_of(new, option.path)
    ]


def read(path: Path) -> bytes:
    """The file as it is. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        hint = "give the path of a porter.yaml; config/porter.yaml shows every option"
        raise ConfigError(str(path), "", "there is no such file", hint=hint) from error
    except IsADirectoryError as error:
        hint = "give the file in it, e.g. porter.yaml"
        raise ConfigError(str(path), "", "expected a file, got a folder", hint=hint) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        hint = "check the path, the owner and the permissions"
        raise ConfigError(str(path), "", f"cannot be read: {reason}", hint=hint) from error
    if len(data) > MAX_BYTES:
        raise _too_large(str(path))
    return data


def _too_large(file: str) -> ConfigError:
    hint = "is this the right file? A configuration with every option has less than 20 KiB"
    return ConfigError(file, "", f"expected at most {MAX_BYTES // 1024} KiB", hint=hint)


def _sections(root: Node, problems: Problems) -> dict[str, dict[str, object]]:
    """The values of every section, those with problems noted and left out."""
    table = {section.name: section for section in sections_table()}
    values: dict[str, dict[str, object]] = {}
    for name, node in _entries(root, "", problems).items():
        if name in table:
            values[name] = _options(node, table[name], problems)
        else:
            path = yaml_text.printable(name)
            problems.add(node.line, path, "there is no such section", _meant(name, table.values(), ""))
    return values


def _options(node: Node, section: SectionDoc, problems: Problems) -> dict[str, object]:
    table = {option.name: option for option in section.options}
    values: dict[str, object] = {}
    for name, entry in _entries(node, section.name, problems).items():
        path = f"{section.name}.{yaml_text.printable(name)}"
        if name not in table:
            hint = _meant(name, sections_table(), section.name)
            problems.add(entry.line, path, "there is no such option", hint)
            continue
        _check(entry, table[name].annotation, path, table[name], problems)
        values[name] = yaml_text.python_value(entry)
    return values


def _entries(node: Node, path: str, problems: Problems) -> dict[str, Node]:
    """What is in a section; an empty one (all its options commented out) has nothing in it."""
    if isinstance(node.value, dict):
        return node.value
    if node.value is not None and not node.refused:
        hint = "write `option: value` lines, indented by two spaces, below `section:`"
        got = yaml_text.meaning(node)
        problems.add(node.line, path, f"expected {'a section' if path else 'sections'}, got {got}", hint)
    return {}


def _meant(name: str, sections: Any, inside: str) -> str:
    """The hint for an unknown name: the option or section that was probably meant, or where to look."""
    homes = {option.name: option.path for section in sections for option in section.options}
    homes |= {
        option.name: option.path
        for section in sections
        for option in section.options
        if section.name == inside
    }
    names = {section.name: section.name for section in sections} if not inside else {}
    close = difflib.get_close_matches(name[:64], [*names, *homes], n=1, cutoff=0.7)
    if not close:
        here = [section for section in sections if section.name == inside]
        known = [option.name for section in here for option in section.options] or list(names)
        return "remove it; known here: " + ", ".join(known)
    return f"did you mean `{(homes | names)[close[0]]}`?"


def _check(node: Node, annotation: Any, path: str, option: OptionDoc, problems: Problems) -> None:
    """Notes what is wrong with one value; in a list, with each of its items."""
    if node.refused:
        return
    bare = get_args(annotation)[0] if hasattr(annotation, "__metadata__") else annotation
    before = len(problems)
    if get_origin(bare) is list and isinstance(node.value, list):
        for index, item in enumerate(node.value):
            _check(item, get_args(bare)[0], f"{path}[{index}]", option, problems)
    if len(problems) == before and not _accepted(node, annotation):
        what = f"expected {expected(annotation)}, got {yaml_text.meaning(node)}"
        problems.add(node.line, path, what, _value_hint(node, bare, option))


def _accepted(node: Node, annotation: Any) -> bool:
    value = yaml_text.python_value(node)
    if isinstance(value, float) and not math.isfinite(value):
        return False
    if isinstance(value, str) and _broken_line(value):
        return False
    try:
        msgspec.convert(value, annotation)
    except msgspec.ValidationError:
        return False
    return True


def _broken_line(text: str) -> bool:
    """Whether there are line breaks or control characters in `text`; `$` in a pattern would let a last one pass."""
    return any(unicodedata.category(c) in {"Cc", "Zl", "Zp"} for c in text)


def _value_hint(node: Node, bare: Any, option: OptionDoc) -> str:
    """What to do about a wrong value: YAML's own surprises first, then what the option is for."""
    wants_text = bare is str or get_origin(bare) is Literal
    about = (
        option.doc if isinstance(option.default, list) else f"{option.doc} Default: {option.default_text}."
    )
    if node.value is None:
        return f"write a value, or remove the line for the default, {option.default_text}"
    if wants_text and not isinstance(node.value, str | list | dict):
        return f'if this text is meant, put it in quotes: "{yaml_text.printable(node.raw)}"'
    if not isinstance(node.value, str):
        return about
    if get_origin(bare) is Literal:
        close = difflib.get_close_matches(node.value[:64], get_args(bare), n=1)
        return f"did you mean `{close[0]}`?" if close else about
    if wants_text:
        return f"no line breaks or control characters. {about}" if _broken_line(node.value) else about
    if node.quoted and isinstance(yaml_text.plain_value(node.value), bool | int | float):
        return f"write it without quotes: {node.value}"
    if re.fullmatch(r"[-+0-9][-+0-9_:.,xXoOa-fA-F]*", node.value):
        return (
            f"write plain decimal digits; programs read `{yaml_text.printable(node.raw)}` in different ways"
        )
    return about


def _line_of(path: str, root: Node | None) -> int:
    """The line of an option, of its section where the option is left to its default, or 0."""
    line, node = 0, root
    for name in path.split("."):
        if node is None or not isinstance(node.value, dict) or name not in node.value:
            break
        node = node.value[name]
        line = node.line
    return line
