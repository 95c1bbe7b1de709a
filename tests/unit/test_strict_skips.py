# SPDX-License-Identifier: Apache-2.0
"""In CI a skip that nobody allowed is a failure, so that a missing tool or library cannot hide a test."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("ci", "reason", "code"),
    [
        ("true", "numpy is missing", 1),
        ("true", "only root can do this", 0),
        ("false", "numpy is missing", 0),
    ],
)
def test_a_skip_counts_as_the_place_says(tmp_path: Path, ci: str, reason: str, code: int) -> None:
    file = tmp_path / "test_one.py"
    file.write_text(f"import pytest\n\n\ndef test_one():\n    pytest.skip({reason!r})\n")
    command = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "-p", "tests.conftest", str(file)]
    command += ["-p", "no:cacheprovider", f"--rootdir={tmp_path}"]
    run = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "CI": ci}, capture_output=True, text=True, check=False
    )
    assert run.returncode == code, run.stdout + run.stderr
    assert ("which CI does not allow" in run.stdout) is (code == 1)
