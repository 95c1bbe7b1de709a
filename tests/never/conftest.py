# SPDX-License-Identifier: Apache-2.0
"""The real service for those promises that only the whole process can keep or break."""

from __future__ import annotations

from tests.service.conftest import door, scenes

__all__ = ["door", "scenes"]
