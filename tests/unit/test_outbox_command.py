# SPDX-License-Identifier: Apache-2.0
"""`porter outbox`: what it prints, and that it names nobody."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING

from device.adapters.outbox_sqlite import SqliteOutbox
from device.cli import main
from device.payloads import Person
from tests.events import BOOT, event_id, make_event

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_it_says_what_waits_and_what_was_dropped_and_names_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "outbox.sqlite"
    with closing(SqliteOutbox(path)) as outbox:
        outbox.append([make_event(number, person=Person("p_7f3a", "anna")) for number in (1, 2, 3)])
        outbox.drop([event_id(1)])
    (tmp_path / "outbox.sqlite.corrupt-20261123T000000Z").touch()
    assert main(["outbox", "--file", str(path)]) == 0
    said = capsys.readouterr().out
    assert "2 events wait, the oldest of 2026-11-23T04:20:00.000Z" in said
    assert f"boot {BOOT}: 2 wait (seq 2 to 3), newest seq 3, 1 dropped" in said
    assert "damaged, set aside: outbox.sqlite.corrupt-20261123T000000Z" in said
    assert "anna" not in said
    assert "p_7f3a" not in said
    assert main(["outbox", "--file", str(path), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["depth"], report["dropped"], report["dead"]) == (2, 1, 0)


def test_an_empty_outbox_and_one_that_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "outbox.sqlite"
    assert main(["outbox", "--file", str(path)]) == 2
    assert "there is no outbox" in capsys.readouterr().err
    SqliteOutbox(path).close()
    assert main(["outbox", "--file", str(path)]) == 0
    assert "nothing waits" in capsys.readouterr().out
