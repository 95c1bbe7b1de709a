# SPDX-License-Identifier: Apache-2.0
"""Whatever a file with old names looks like: its new text says the same, and whoever wrote it finds all of it again."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from device import config
from device.config_upgrade import upgraded
from device.errors import ConfigError, InputError
from tests.unit.test_config_migrations import ALL
from tests.unit.test_config_properties import LINES, MARKS, WORDS

if TYPE_CHECKING:
    from collections.abc import Callable

# A section's options in the old way, each as its lines without the indentation.
OPTIONS = {
    "camera": [
        "name: porch",
        "'report_level': debug",
        "stall_ms: 4000",
        "area: [[0, 0], [1, 0], [1, 1]]",
        "area:\n  - [0, 0]\n  # between\n  - [1, 0]\n  - - 1\n    - 1",
        "loop: false",
        "path: >-\n  a\n  b",
    ],
    "mqtt": ["server: a", 'server: "é: #b"', "tls: no", "client_id:\n  x", "base: 'p'"],
    "broker": ["port: 1883"],
    "log": [],
    "zone": ["min_face_px: 60"],
}
comments = st.sampled_from(["", "", "# one", "# two: three", "#off: 1", "\n", "# é"])
ends = st.sampled_from(["", "", "  # end"])


@st.composite
def files(draw: st.DrawFn) -> str:
    """A configuration in block style, indented in one way or another, with comments and blank lines anywhere."""
    blocks = []
    for section in draw(st.permutations(sorted(OPTIONS))):
        if draw(st.booleans()):
            continue
        indent = " " * draw(st.integers(1, 4))
        chosen = (
            draw(st.lists(st.sampled_from(OPTIONS[section]), unique_by=name_of)) if OPTIONS[section] else []
        )
        lines = [draw(comments), f"{section}:{draw(ends)}"]
        for option in chosen:
            lines += [indent + draw(comments), *(indent + line for line in option.split("\n"))]
            if not option.endswith(("b", "-")):
                lines[-1] += draw(ends)
        blocks += [*lines, draw(comments)]
    end = draw(st.sampled_from(["\n", "\r\n"]))
    return end.join(line.rstrip() for line in blocks) + draw(st.sampled_from(["", end]))


def name_of(option: str) -> str:
    return option.partition(":")[0].strip("'")


def words(text: str) -> list[str]:
    """Everything in a file that is not the name of what moved, its value where that changed, or a new section."""
    names = {part for each in ALL for path in (each.old, each.new) for part in path.split(".")}
    found = re.findall(r"[^\s:'\"]+", text)
    return sorted(word for word in found if word not in names | {"4000", "4.0"})


@given(files())
def test_the_new_text_says_the_same_and_loses_no_comment(text: str) -> None:
    try:
        meant, moves = config.examine(text, "f", ALL)
    except ConfigError:
        return
    fresh = upgraded(text.encode(), "f", ALL).decode()
    assert config.examine(fresh, "f", ()) == (meant, [])
    assert words(fresh) == words(text)
    if not moves:
        assert fresh == text


@given(st.lists(st.sampled_from([*MARKS, *WORDS, *LINES, "mqtt:", "server", "stall_ms", ": 1"]), max_size=30))
def test_any_text_is_rewritten_or_refused_and_nothing_else(bits: list[str]) -> None:
    text = "".join(bits)
    refused(lambda: upgraded(text.encode(), "f", ALL))
    refused(lambda: upgraded(f"mqtt:\n  server: {text}\n".encode(), "f", ALL))
    refused(lambda: upgraded(f"camera:\n  report_level: {text}".encode(), "f", ALL))


def refused(work: Callable[[], bytes]) -> None:
    try:
        fresh = work()
    except InputError:
        return
    config.examine(fresh, "f", ())


def test_the_property_meets_every_migration() -> None:
    """Else it would prove little."""
    assert {each.old for each in ALL} <= {
        f"{section}.{name_of(option)}" for section, options in OPTIONS.items() for option in options
    }
