# SPDX-License-Identifier: Apache-2.0
"""The privileged helper on a tree of /sys's form: it switches an Edge TPU and nothing else, once a minute at most."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from device.adapters.port_reset import PATIENCE_NS, SocketReset
from device.commands.usb_reset import BACK_S, reset, take_turn
from device.errors import HardwareError, InputError

CORAL, FRESH, STORAGE = ("18d1", "9302"), ("1a6e", "089a"), ("0781", "5581")


class Bus:
    """A fake /sys with USB devices; what is written to `authorized` is looked at whenever the helper waits."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.devices = root / "bus/usb/devices"
        self.devices.mkdir(parents=True)
        self.seen: list[dict[str, str]] = []

    def plug(self, name: str, identifiers: tuple[str, str]) -> Path:
        real = self.root / "devices" / name
        real.mkdir(parents=True)
        for file, text in zip(("idVendor", "idProduct"), identifiers, strict=True):
            (real / file).write_text(text + "\n")
        (real / "authorized").write_text("1\n")
        (real / "bConfigurationValue").write_text("1\n")
        (self.devices / name).symlink_to(real)
        return real

    def authorized(self) -> dict[str, str]:
        return {each.name: (each / "authorized").read_text().strip() for each in self.devices.iterdir()}

    def on_wait(self, _seconds: float) -> None:
        self.seen.append(self.authorized())


@pytest.fixture
def bus(tmp_path: Path) -> Bus:
    return Bus(tmp_path / "sys")


@pytest.mark.parametrize("identifiers", [CORAL, FRESH])
def test_an_edge_tpu_is_switched_off_and_on_and_named(bus: Bus, identifiers: tuple[str, str]) -> None:
    bus.plug("2-1", identifiers)
    assert reset(bus.root, bus.on_wait) == f"2-1 {':'.join(identifiers)}"
    assert bus.seen == [{"2-1": "0"}]
    assert bus.authorized() == {"2-1": "1"}


def test_nothing_else_is_touched(bus: Bus) -> None:
    bus.plug("1-1.4", CORAL)
    bus.plug("usb1", CORAL)
    bus.plug("1-1.4:1.0", CORAL)
    bus.plug("1-2", STORAGE)
    bus.plug("1-3", ("18d1", "4ee1"))
    bus.plug("1-4", ("1a6e", "9302"))
    reset(bus.root, bus.on_wait)
    (off,) = bus.seen
    assert {name for name, value in off.items() if value == "0"} == {"1-1.4"}


def test_it_waits_for_a_device_that_comes_back_with_its_firmware(bus: Bus) -> None:
    real = bus.plug("2-1", FRESH)
    waits = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 1:
            (real / "bConfigurationValue").write_text("\n")
        if len(waits) == 4:
            (real / "idVendor").write_text("18d1\n")
            (real / "idProduct").write_text("9302\n")
            (real / "bConfigurationValue").write_text("1\n")

    assert reset(bus.root, wait) == "2-1 18d1:9302"
    assert len(waits) == 4


def test_one_that_does_not_come_back_is_said_so_in_time(bus: Bus) -> None:
    real = bus.plug("2-1", CORAL)
    waited = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        (real / "bConfigurationValue").write_text("\n")

    with pytest.raises(HardwareError, match="not back after 10 s"):
        reset(bus.root, wait)
    assert sum(waited) < BACK_S + 2
    assert bus.authorized() == {"2-1": "1"}


def test_one_that_cannot_be_switched_is_named(bus: Bus) -> None:
    (bus.plug("2-1", CORAL) / "authorized").unlink()
    with pytest.raises(HardwareError, match="2-1: cannot be switched: No such file"):
        reset(bus.root, bus.on_wait)
    assert not (bus.devices / "2-1" / "authorized").exists(), "it makes no files"


def test_without_one_there_is_nothing_to_do(bus: Bus, tmp_path: Path) -> None:
    bus.plug("1-2", STORAGE)
    for root in (bus.root, tmp_path / "no-usb-here"):
        with pytest.raises(HardwareError, match="no Coral Edge TPU is on the USB"):
            reset(root, bus.on_wait)
    assert bus.authorized() == {"1-2": "1"}


def test_a_second_reset_within_the_minute_is_refused(tmp_path: Path) -> None:
    take_turn(tmp_path, 1000.0)
    with pytest.raises(HardwareError, match="the last reset was 59 s ago"):
        take_turn(tmp_path, 1059.0)
    take_turn(tmp_path, 1061.0)
    with pytest.raises(HardwareError):
        take_turn(tmp_path, 1062.0)


@pytest.mark.parametrize("content", ["", "nonsense", "1e9", "99999999"])
def test_what_is_noted_wrongly_or_in_another_boot_does_not_lock_it_out(tmp_path: Path, content: str) -> None:
    (tmp_path / "last").write_text(content)
    take_turn(tmp_path, 1000.0)


def test_a_state_folder_that_is_missing_is_a_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none: No such file"):
        take_turn(tmp_path / "none", 1.0)


def asked(bus: Bus, state: Path, sent: bytes = b"") -> tuple[int, str]:
    """Runs it as systemd does: its standard output is a connection. What it answered there."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        if sent:
            ours.sendall(sent)
        command = [sys.executable, "-m", "device", "usb-reset", "--sys", str(bus.root), "--state", str(state)]
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=theirs.fileno(),
            stderr=subprocess.PIPE,
            timeout=30,
            check=False,
        )
        theirs.close()
        assert done.stderr == b""
        return done.returncode, ours.recv(1000).decode()


def test_as_a_program_it_answers_one_line_and_hears_nothing(bus: Bus, tmp_path: Path) -> None:
    bus.plug("2-1", CORAL)
    bus.plug("1-2", STORAGE)
    assert asked(bus, tmp_path, b"--sys /etc 1-2 0781:5581\n") == (0, "ok: reset 2-1 18d1:9302\n")
    code, said = asked(bus, tmp_path)
    assert (code, said.startswith("no: the last reset was ")) == (1, True)
    assert bus.authorized() == {"2-1": "1", "1-2": "1"}


def polled(client: SocketReset, now_ns: int = 0) -> str:
    while (said := client.poll(now_ns)) is None:
        pass
    return said


def test_the_vision_services_end_gets_the_line(tmp_path: Path) -> None:
    path = tmp_path / "reset.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(path))
        listener.listen()
        client = SocketReset(path)
        client.begin(0)
        assert client.poll(0) is None
        server, _ = listener.accept()
        server.sendall(b"ok: reset 2-1 ")
        assert client.poll(0) is None
        server.sendall(b"18d1:9302\n\x1b")
        server.close()
        assert polled(client) == "ok: reset 2-1 18d1:9302\n\x1b".replace("\n", "?").replace("\x1b", "?")


def test_a_helper_that_is_not_there_or_silent_is_no_reason_to_wait_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "reset.sock"
    client = SocketReset(path)
    client.begin(0)
    assert "no helper: " in polled(client)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(path))
        listener.listen()
        client.begin(0)
        assert client.poll(PATIENCE_NS - 1) is None
        assert polled(client, PATIENCE_NS) == "the helper did not answer within 20 s"
        client.begin(0)
        server, _ = listener.accept()  # the one that was given up
        server.close()
        server, _ = listener.accept()
        server.close()
        assert polled(client) == "the helper said nothing"
