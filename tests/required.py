# SPDX-License-Identifier: Apache-2.0
"""Tools that some tests need beyond Python: a machine without one skips them and says what to install.

In CI (`CI=true`) nothing is skipped for want of a tool: there a missing one is a failure.
"""

from __future__ import annotations

import os
import shutil

import pytest


def need(tool: str, package: str) -> str:
    """The path of `tool`; without it the test is skipped (in CI: fails), naming the Debian `package` to install."""
    found = shutil.which(tool)
    if found is not None:
        return found
    message = f"{tool} is missing: apt install {package}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)
