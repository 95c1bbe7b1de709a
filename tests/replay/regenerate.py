# SPDX-License-Identifier: Apache-2.0
"""Writes the golden files again: `python -m tests.replay.regenerate`. Read the difference before it is committed."""

from __future__ import annotations

from tests.replay.play import CASES, write

if __name__ == "__main__":
    for name in CASES:
        print(write(name))
