# SPDX-License-Identifier: Apache-2.0
"""Shared by all tests: hypothesis without a clock, because a busy machine is no defect.

Hypothesis takes its own `ci` profile where CI is set (the same examples every time); elsewhere it looks for new ones.
"""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("porter", settings.default, deadline=None)
settings.load_profile("porter")
