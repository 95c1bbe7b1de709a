# SPDX-License-Identifier: Apache-2.0
"""What the forwarder says of itself: systemd's status line and the record that `porter status` reads."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import msgspec
import pytest

from device.adapters.clock import ManualClock, SystemClock
from device.adapters.notify_systemd import RecordingNotifier
from device.commands import status
from device.control import ServiceUnavailable
from device.payloads import ForwarderState, Trouble
from device.shared_record import MemoryRecord, SharedRecord
from device.status_desk import StatusDesk, is_silent
from device.troubles import Troubles

if TYPE_CHECKING:
    from pathlib import Path


def desk(record: object) -> tuple[StatusDesk, RecordingNotifier, ManualClock, Troubles]:
    notifier, clock = RecordingNotifier(), ManualClock()
    return StatusDesk(record, notifier), notifier, clock, Troubles(clock)  # type: ignore[arg-type]


def test_the_status_line_is_sent_when_it_changes() -> None:
    one, notifier, clock, troubles = desk(MemoryRecord[ForwarderState]())
    for connection in ("connecting", "connecting", "connected"):
        one.show("broker.lan:8883", connection, troubles, clock.now())
    assert notifier.states == ["STATUS=broker.lan:8883: connecting", "STATUS=broker.lan:8883: connected"]


def test_the_network_cannot_speak_to_systemd_through_a_reason() -> None:
    one, notifier, clock, troubles = desk(MemoryRecord[ForwarderState]())
    one.show("b:1", "no connection: gone\nWATCHDOG=1\nMAINPID=1", troubles, clock.now())
    assert notifier.states == ["STATUS=b:1: no connection: gone?WATCHDOG=1?MAINPID=1"]


def test_the_record_is_new_at_once_when_something_changed_and_every_few_seconds_else() -> None:
    record = MemoryRecord[ForwarderState]()
    one, _, clock, troubles = desk(record)
    stamps = []
    for _ in range(12):
        one.show("b:1", "connected", troubles, clock.now())
        found = record.read()
        assert found is not None
        stamps.append(found.boot_ns)
        clock.advance(1)
    assert len(set(stamps)) == 3
    troubles.raise_("disk_low", "text")
    one.show("b:1", "connected", troubles, clock.now())
    found = record.read()
    assert found is not None
    assert [trouble.code for trouble in found.troubles] == ["disk_low"]
    assert not is_silent(found, clock.now())
    clock.advance(21)
    assert is_silent(found, clock.now())


def test_a_record_that_cannot_be_written_is_said_once_and_ends_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    one, notifier, clock, troubles = desk(MemoryRecord[ForwarderState](full=True))
    for _ in range(3):
        one.show("b:1", "connected", troubles, clock.now())
    assert caplog.text.count("status_not_shown") == 1
    assert notifier.states == ["STATUS=b:1: connected"]


def lines(folder: Path) -> str:
    """What `porter status` says of the forwarder."""
    config = folder / "porter.yaml"
    config.write_text(f"device: {{id: lobby-01, state_dir: {folder}, run_dir: {folder}}}\n")
    return "\n".join(status.forwarder_lines(argparse.Namespace(config=config, socket=None)))


def test_porter_status_shows_it_and_a_line_from_the_network_cannot_draw_on_the_terminal(
    tmp_path: Path,
) -> None:
    (tmp_path / "forward").mkdir()
    assert "does not run" in lines(tmp_path)
    trouble = Trouble(code="broker_lost", text="no connection: \x1b[2Jgone", hint="mend it", since="2026")
    state = ForwarderState(SystemClock().now().boot_ns, "b:1", "no connection: gone", [trouble])
    SharedRecord(tmp_path / "forward" / "state.json", ForwarderState).show(state)
    assert lines(tmp_path).splitlines() == [
        "broker    b:1, no connection: gone",
        "trouble   broker_lost: no connection: ?[2Jgone, since 2026",
        "          mend it",
    ]
    old = msgspec.structs.replace(state, boot_ns=0)
    SharedRecord(tmp_path / "forward" / "state.json", ForwarderState).show(old)
    assert "silent" in lines(tmp_path)
    (tmp_path / "forward" / "state.json").write_text("{")
    assert "silent" in lines(tmp_path)


def test_without_the_vision_service_the_forwarder_is_shown_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "porter.yaml"
    config.write_text(f"device: {{id: lobby-01, state_dir: {tmp_path}, run_dir: {tmp_path}}}\n")
    with pytest.raises(ServiceUnavailable):
        status.run(argparse.Namespace(config=config, socket=None, json=False))
    assert "does not run" in capsys.readouterr().out
