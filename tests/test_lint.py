# SPDX-License-Identifier: Apache-2.0
"""Linters as tests: what a reviewer should not have to look for. `make lint` runs these alone.

The tools are those of the environment that runs the tests. Files are the ones git knows or would take, so a new file
is checked before it is committed.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.required import need

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
MAX_LINES = {"device": 330, "tests": 500}  # a test file is a list of sentences: longer ones stay readable
SPDX = "# SPDX-License-Identifier: Apache-2.0"
INSTALLED = "/opt/porter/.venv/bin/porter"
SHELL = re.compile(r"#!.*\b(sh|bash|dash)\b")
# Somebody's own folders: they are right on one machine only.
MACHINE_PATH = re.compile(r"(?<![\w.~$}*])/(home|Users|root|work|mnt|media)/[\w.-]+")


def repository_files() -> list[Path]:
    """Every file of the repository, new ones included."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in sorted(set(listed.split("\0"))) if name and (ROOT / name).is_file()]


def python_files() -> list[Path]:
    """Every Python file of the repository."""
    return [file for file in repository_files() if file.suffix == ".py"]


def shell_scripts() -> list[Path]:
    """Every file that a shell runs, whatever its name."""
    return [file for file in repository_files() if file.suffix == ".sh" or SHELL.match(first_line(file))]


def first_line(file: Path) -> str:
    """The file's first line; of a binary file, something harmless."""
    with file.open("rb") as opened:
        return opened.readline(200).decode("utf-8", "replace").rstrip()


def relative(file: Path) -> str:
    """The path as a reviewer would write it."""
    return str(file.relative_to(ROOT))


def check(*command: str | Path) -> None:
    """Runs a tool in the repository; what it printed is the failure."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.fail(f"{Path(command[0]).name} says:\n{done.stdout}{done.stderr}", pytrace=False)


def test_ruff_finds_nothing() -> None:
    check(BIN / "ruff", "check", "--no-cache", ".")


def test_the_code_is_formatted() -> None:
    check(BIN / "ruff", "format", "--check", "--no-cache", ".")


def test_mypy_finds_nothing() -> None:
    check(BIN / "mypy", "--strict")


def test_the_import_contracts_hold() -> None:
    check(BIN / "lint-imports")


def test_codespell_finds_nothing() -> None:
    check(BIN / "codespell", *(relative(file) for file in repository_files()))


def test_shellcheck_finds_nothing() -> None:
    scripts = shell_scripts()
    assert scripts, "no shell script found: has the search gone blind?"
    check(BIN / "shellcheck", *scripts)


def test_systemd_finds_nothing_in_the_units(tmp_path: Path) -> None:
    """It exits with 0 even when it complains, so any output is a failure. Our `porter` stands for the installed one."""
    analyze = need("systemd-analyze", "systemd")
    shipped = [file for file in repository_files() if relative(file).startswith("systemd/")]
    units = [file for file in shipped if file.suffix in {".service", ".socket", ".target"}]
    assert units, "no unit found: has the search gone blind?"
    for unit in units:
        text = unit.read_text("utf-8").replace(INSTALLED, str(BIN / "porter"))
        (tmp_path / unit.name).write_text(text, "utf-8")
    command = [analyze, "verify", *(str(tmp_path / unit.name) for unit in units)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_generated_files_are_up_to_date() -> None:
    check(sys.executable, "-m", "device.generate", "--check")


def test_every_python_file_opens_with_its_licence_and_says_what_it_is_for() -> None:
    bare = []
    for file in python_files():
        if file.stat().st_size == 0:
            continue  # an empty __init__.py has nothing to license or to explain
        if first_line(file) != SPDX:
            bare.append(f"{relative(file)}: expected `{SPDX}` as its first line")
        if not ast.get_docstring(ast.parse(file.read_bytes())):
            bare.append(f"{relative(file)}: expected a docstring that says what the module is for")
    assert not bare, "\n".join(bare)


def test_no_file_is_too_long_to_read_in_one_sitting() -> None:
    code = [file for file in python_files() if file.relative_to(ROOT).parts[0] in MAX_LINES]
    lengths = {relative(file): len(file.read_text(encoding="utf-8").splitlines()) for file in code}
    long = [
        f"{name}: {lines} lines" for name, lines in lengths.items() if lines > MAX_LINES[name.split("/")[0]]
    ]
    assert not long, "\n".join(long)


def test_no_path_of_one_machine_is_written_down() -> None:
    found = []
    for file in repository_files():
        data = file.read_bytes()
        if b"\0" in data:
            continue
        for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
            if match := MACHINE_PATH.search(line):
                found.append(f"{relative(file)}:{number}: {match.group()}")
    assert not found, "\n".join(found)
