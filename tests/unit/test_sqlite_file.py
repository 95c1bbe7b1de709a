# SPDX-License-Identifier: Apache-2.0
"""How much of a shared database is checked as it is opened; the rest of it is tested through the outbox."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from device.adapters.outbox_sqlite import SqliteOutbox
from device.outbox_file import SCHEMA
from device.sqlite_file import SqliteFile
from tests.events import make_event

if TYPE_CHECKING:
    from pathlib import Path


def damaged_in_the_middle(path: Path) -> None:
    outbox = SqliteOutbox(path)
    outbox.append([make_event(number) for number in range(100)])
    outbox.close()
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 2048] = bytes(2048)
    path.write_bytes(content)


@pytest.mark.parametrize("large", [False, True])
def test_a_large_file_is_not_read_whole_before_the_service_begins(
    tmp_path: Path, large: bool, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "outbox.sqlite"
    damaged_in_the_middle(path)
    limit = path.stat().st_size - large
    with caplog.at_level(logging.INFO, "porter.sqlite"):
        file = SqliteFile(path, replace(SCHEMA, checked_bytes=limit))
    assert (file.set_aside is None) is large
    assert ("database_unchecked" in caplog.text) is large
    # What was not looked at is found as it is read, and ends the same way.
    file.run(lambda db: db.execute("SELECT body FROM event ORDER BY boot, seq").fetchall())
    assert file.set_aside is not None
    file.close()
