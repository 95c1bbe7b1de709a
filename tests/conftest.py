# SPDX-License-Identifier: Apache-2.0
"""Shared by all tests: hypothesis without a clock, because a busy machine is no defect.

Hypothesis takes its own `ci` profile where CI is set (the same examples every time); elsewhere it looks for new ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import settings

if TYPE_CHECKING:
    import pytest

settings.register_profile("porter", settings.default, deadline=None)
settings.load_profile("porter")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of single tests."""
    parser.addoption(
        "--tflite-python",
        metavar="PATH",
        help="a Python with tflite-runtime instead of LiteRT: the inference tests run there too",
    )
