# SPDX-License-Identifier: Apache-2.0
"""What every consent ledger promises (`ports.Ledger`), over the file and the one in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from device.adapters.ledger_file import FileLedger
from device.adapters.ledger_memory import MemoryLedger
from device.ledger import START, LedgerEntry, digest_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from device.ports import Ledger


def entry(subject: str = "s1") -> LedgerEntry:
    return LedgerEntry(
        seq=1,
        at="2026-11-23T04:20:00.000Z",
        clock="synced",
        boot="b0070001",
        kind="withdrawn",
        subject=subject,
        ref="p_1234abcd",
        references=5,
        reason="",
        terms=None,
        prev="0" * 64,
        sha256="0" * 64,
    )


@pytest.fixture(params=["file", "memory"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    made: Ledger = FileLedger(tmp_path / "ledger.jsonl") if request.param == "file" else MemoryLedger()
    yield made
    made.close()


def test_a_new_ledger_is_empty(ledger: Ledger) -> None:
    assert list(ledger.entries) == []


def test_entries_are_numbered_and_chained_as_they_come(ledger: Ledger) -> None:
    added = [ledger.append(entry(f"s{number}")) for number in range(3)]
    assert list(ledger.entries) == added
    assert [one.seq for one in added] == [1, 2, 3]
    assert [one.prev for one in added] == [START.sha256, added[0].sha256, added[1].sha256]
    assert all(one.sha256 == digest_of(one) for one in added)


def test_what_was_read_does_not_change_by_what_comes_later(ledger: Ledger) -> None:
    before = ledger.entries
    ledger.append(entry())
    assert len(before) == 0


def test_closing_twice_is_harmless(ledger: Ledger) -> None:
    ledger.close()
    ledger.close()
