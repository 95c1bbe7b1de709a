# SPDX-License-Identifier: Apache-2.0
"""A consent ledger that ends with the process: for tests. `MemoryLedger(fail_after=2)` takes two entries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from device.errors import StorageError
from device.ledger import START, LedgerEntry, chained

if TYPE_CHECKING:
    from collections.abc import Sequence


class MemoryLedger:
    """`ports.Ledger` in memory."""

    def __init__(self, entries: Sequence[LedgerEntry] = (), *, fail_after: int | None = None) -> None:
        self._entries = list(entries)
        self._writes_left = fail_after

    @property
    def entries(self) -> Sequence[LedgerEntry]:
        """All entries, oldest first."""
        return tuple(self._entries)

    def append(self, entry: LedgerEntry) -> LedgerEntry:
        """Adds an entry. Raises StorageError."""
        if self._writes_left == 0:
            raise StorageError("ledger: no space left", hint="free some space")
        if self._writes_left is not None:
            self._writes_left -= 1
        self._entries.append(chained(entry, self._entries[-1].head if self._entries else START))
        return self._entries[-1]

    def close(self) -> None:
        """Nothing to give back."""
