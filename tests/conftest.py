# SPDX-License-Identifier: Apache-2.0
"""Shared by all tests: hypothesis without a clock, because a busy machine is no defect; no silent skip in CI.

Hypothesis takes its own `ci` profile where CI is set (the same examples every time); elsewhere it looks for new ones.
"""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

# Where CI=true any other skip is a failure: these tests are for another user, or for a runtime of their own.
ALLOWED_SKIPS = ("root may", "only root", "tflite-runtime is not tried")

settings.register_profile("porter", settings.default, deadline=None)
settings.load_profile("porter")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of single tests."""
    parser.addoption(
        "--tflite-python",
        metavar="PATH",
        help="a Python with tflite-runtime instead of LiteRT: the inference tests run there too",
    )
    parser.addoption(
        "--homeassistant-python",
        metavar="PATH",
        help="a Python with Home Assistant: its core then looks for the device",
    )
    parser.addoption(
        "--node-red", metavar="PATH", help="the node-red command: the shipped flow then runs in it"
    )
    parser.addoption(
        "--walk-seconds",
        type=float,
        default=20.0,
        metavar="S",
        help="how long the random walk over faults goes",
    )
    parser.addoption(
        "--eval", metavar="DIR", help="the evaluation data (default: ../shared/eval beside the checkout)"
    )
    parser.addoption("--seed", type=int, default=1, metavar="N", help="what the fuzz tests throw")
    parser.addoption(
        "--strangers", type=int, default=60, metavar="N", help="how many strangers pass the soak test"
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Makes a skip that CI does not allow a failure with the same words."""
    report = yield
    if os.environ.get("CI") == "true" and report.skipped and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if not reason.startswith(ALLOWED_SKIPS):
            report.outcome = "failed"
            report.longrepr = f"skipped, which CI does not allow: {reason}"
    return report


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A terminal for standard input; what is written to the returned descriptor is typed there."""
    keyboard, terminal = os.openpty()
    with open(terminal, encoding="utf-8") as stdin:  # noqa: PTH123  a descriptor, not a path
        monkeypatch.setattr(sys, "stdin", stdin)
        yield keyboard
    os.close(keyboard)


@pytest.fixture
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("yes\n"))
