# SPDX-License-Identifier: Apache-2.0
"""A missing tool is a skip that names its package on a person's machine, and a failure in CI."""

from __future__ import annotations

import pytest

from tests.required import need

ABSENT = "porter-no-such-tool"


def test_a_present_tool_is_found() -> None:
    assert need("sh", "dash").endswith("/sh")


def test_a_missing_tool_skips_and_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=f"{ABSENT} is missing: apt install gcc"):
        need(ABSENT, "gcc")


def test_a_missing_tool_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt install gcc"):
        need(ABSENT, "gcc")
