# SPDX-License-Identifier: Apache-2.0
"""The log's two forms."""

from __future__ import annotations

import logging

from device.logs import JournalFormatter


def record(level: int) -> logging.LogRecord:
    failure = (ValueError, ValueError("torn"), None)
    return logging.LogRecord("porter.outbox", level, "", 0, "event_lost count=%d", (3,), failure)


def test_every_line_for_the_journal_carries_its_priority() -> None:
    lines = JournalFormatter("%(name)s: %(message)s").format(record(logging.ERROR)).splitlines()
    assert lines[0] == "<3>porter.outbox: event_lost count=3"
    assert all(line.startswith("<3>") for line in lines)
    assert lines[-1] == "<3>ValueError: torn"
