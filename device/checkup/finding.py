# SPDX-License-Identifier: Apache-2.0
"""What a check says of one thing that it looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "wrong"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. what: the subject, as docs/troubleshooting.md lists them; hint: what to do.

    `note` is worth knowing, and may be as it should; only `wrong` makes the doctor's exit code 1.
    """

    what: str
    level: Level
    text: str
    hint: str = ""
