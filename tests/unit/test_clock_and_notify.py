# SPDX-License-Identifier: Apache-2.0
"""The clocks and the service manager's ear."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import pytest

from device.adapters.clock import ManualClock, SystemClock
from device.adapters.notify_systemd import RecordingNotifier, SystemdNotifier
from device.errors import InputError
from device.records import Stamp

if TYPE_CHECKING:
    from pathlib import Path

    from device.ports import Clock, Notifier


@pytest.mark.parametrize("clock", [SystemClock(), ManualClock()], ids=["system", "manual"])
def test_every_clock_names_its_boot_and_never_runs_backwards(clock: Clock) -> None:
    assert len(clock.boot_id) == 8
    int(clock.boot_id, 16)
    assert clock.now().boot_ns <= clock.now().boot_ns


def test_the_system_clock_agrees_with_the_kernel() -> None:
    before = time.time_ns()
    now = SystemClock().now()
    assert before <= now.utc_ns <= time.time_ns()
    assert now.boot_ns >= time.monotonic_ns() - 1_000_000_000
    assert now.synced in (True, False)


@pytest.mark.parametrize("content", [None, "", "not-a-boot-id"])
def test_a_missing_boot_identifier_is_an_error_with_a_hint(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "boot_id"
    if content is not None:
        file.write_text(content)
    with pytest.raises(InputError, match="boot_id") as caught:
        SystemClock(file)
    assert "/proc" in caught.value.hint


def test_a_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock(boot_ns=5, utc_ns=7, synced=False)
    assert clock.now() == clock.now() == Stamp(5, 7, synced=False)
    clock.advance(1e-9)
    assert clock.now() == Stamp(6, 8, synced=False)
    clock.jump_utc(-3e-9)
    assert clock.now() == Stamp(6, 5, synced=False)
    clock.reboot("b0070002", down_s=1e-9)
    assert (clock.boot_id, clock.now()) == ("b0070002", Stamp(0, 6, synced=False))


@pytest.mark.parametrize("abstract", [False, True], ids=["path", "abstract"])
def test_the_service_manager_hears_every_state(tmp_path: Path, *, abstract: bool) -> None:
    name = f"@porter-test-{tmp_path}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name[1:] if abstract else name)
        notifier = SystemdNotifier(name)
        notifier.notify("READY=1")
        notifier.notify("RELOADING=1")
        assert manager.recv(100) == b"READY=1"
        assert manager.recv(100).startswith(b"RELOADING=1\nMONOTONIC_USEC=")


def test_a_service_manager_that_is_gone_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    notifier = SystemdNotifier(str(tmp_path / "nobody"))
    notifier.notify("READY=1")
    notifier.notify("WATCHDOG=1")
    assert len(caplog.records) == 1


def test_the_stand_in_records_and_without_a_socket_there_is_silence() -> None:
    recording = RecordingNotifier()
    listeners: list[Notifier] = [recording, SystemdNotifier(None)]
    for notifier in listeners:
        notifier.notify("READY=1")
    assert recording.states == ["READY=1"]
