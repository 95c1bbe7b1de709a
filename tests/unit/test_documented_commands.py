# SPDX-License-Identifier: Apache-2.0
"""What the documents tell people to type and to write is what the programs take: verbs, their options, the YAML's."""

from __future__ import annotations

import argparse
import functools
import importlib
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from device import config
from device.cli import VERBS
from device.option_docs import options_table, sections_table
from tests.unit.test_documents import CODE, ROOT, pages

BLOCK = re.compile(r"(?ms)^```(\w*)\n(.*?)^```$")
# Said of in the documents, and not yet in this tree; checked like the others once they are.
COMING = {"update"}
FILES = {"device.key"}  # looks like an option
# Whose options are in the YAML blocks of these pages.
CONFIGURED = ("docs/install.md", "docs/broker.md")


def commands(page: Path) -> list[list[str]]:
    """Every call of porter on a page, in blocks and in the text, in words, up to a pipe or a comment."""
    text = page.read_text("utf-8")
    lines = [line for _, block in BLOCK.findall(text) for line in block.replace("\\\n", " ").splitlines()]
    lines += [" ".join(span.split()) for span in CODE.findall(BLOCK.sub("", text))]
    found = []
    for line in lines:
        for call in re.findall(r"(?:^|[\s/;&|])porter ([a-z][^|;&#>]*)", re.sub(r"https?://\S+", "", line)):
            try:
                found.append(shlex.split(call))
            except ValueError:
                continue  # half of a quotation: prose, not a command
    return [words for words in found if words]


@functools.cache
def options_of(verb: str) -> frozenset[str]:
    """The options of a verb, as `--help` has them."""
    parser = argparse.ArgumentParser()
    importlib.import_module(VERBS[verb].module).add_arguments(parser)
    actions = list(parser._actions)
    for action in actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                actions += inner._actions
    return frozenset(option for action in actions for option in action.option_strings)


def test_every_command_in_the_documents_is_one() -> None:
    wrong, seen = [], set()
    for page in pages():
        if page.name == "CHANGELOG.md" or "decisions" in page.parts:
            continue  # they tell of the past
        for verb, *rest in commands(page):
            name = f"{page.relative_to(ROOT)}: porter {verb}"
            if verb not in VERBS:
                if verb not in COMING:
                    wrong.append(f"{name}: there is no such verb")
                continue
            seen.add(verb)
            given = {word.partition("=")[0] for word in rest if re.match(r"--[a-z]", word)}
            wrong += [f"{name}: there is no {option}" for option in sorted(given - options_of(verb))]
    assert len(seen) > 15, "hardly a command was found: has the search gone blind?"
    assert not wrong, "\n".join(wrong)


def test_every_option_that_the_documents_name_is_one() -> None:
    known = {option.path for option in options_table()}
    assert "zone.min_face_px" in known
    sections = "|".join(section.name for section in sections_table())
    wrong = []
    for page in pages():
        if page.name in {"ARCHITECTURE.md", "CHANGELOG.md"} or "decisions" in page.parts:
            continue  # they tell of modules, and of the past
        for span in CODE.findall(BLOCK.sub("", page.read_text("utf-8"))):
            named = re.match(rf"((?:{sections})\.[a-z_]+)(?![\w./])", span)
            if named and named[1] not in known | FILES:
                wrong.append(f"{page.relative_to(ROOT)}: {named[1]}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", CONFIGURED)
def test_the_configuration_on_a_page_is_accepted(name: str) -> None:
    blocks = [
        text for language, text in BLOCK.findall((ROOT / name).read_text("utf-8")) if language == "yaml"
    ]
    assert blocks, "no block was found: has the search gone blind?"
    for text in blocks:
        config.parse(text, name)  # raises ConfigError


def test_every_option_of_flash_sh_in_the_documents_is_one() -> None:
    helps: dict[str, str] = {}
    wrong = []
    for page in pages():
        for _, block in BLOCK.findall(page.read_text("utf-8")):
            for line in block.replace("\\\n", " ").splitlines():
                for verb, rest in re.findall(r"\./flash\.sh ([a-z]+)([^#]*)", line):
                    if verb not in helps:
                        done = subprocess.run(
                            [ROOT / "flash.sh", verb, "--help"], capture_output=True, text=True, check=False
                        )
                        helps[verb] = done.stdout if done.returncode == 0 else ""
                    given = re.findall(r"--[a-z-]+", rest)
                    # Empty: a command of another's making that is not in this tree yet.
                    wrong += [f"{page.name}: flash.sh {verb} {option}" for option in given
                              if helps[verb] and option not in helps[verb]]  # fmt: skip
    assert "build" in helps, "no command was found: has the search gone blind?"
    assert helps["build"]
    assert not wrong, "\n".join(wrong)
