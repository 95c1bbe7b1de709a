# SPDX-License-Identifier: Apache-2.0
"""Options of `porter.yaml` that have another name or place now: declared here, once, and never taken away again.

A file that says the old name works as it is: it is read as if it said the new one (config_moves.py), and stays as it is
until an update was kept (docs/decisions/0029-migrations.md). The names here are in order: a later one may move on what
an earlier one moved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

Value = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Migration:
    """One option that moved. old, new: `section.name`; since: the version that knows the new name; doc: why, one line.

    value: makes the new value of the old one, where its unit or meaning changed; may raise ValueError or TypeError
    with what it expected. A list is moved as it is.
    """

    old: str
    new: str
    since: str
    doc: str
    value: Callable[[Value], Value] | None = None


# None yet: every name of the first release is still good.
MIGRATIONS: tuple[Migration, ...] = ()
