# SPDX-License-Identifier: Apache-2.0
"""The page on the screen: what is on it, what is never on it, and what becomes of nonsense."""

from __future__ import annotations

import argparse
import os
import pty
import subprocess
import sys
import termios
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from device.adapters.clock import ManualClock
from device.adapters.host_linux import LinuxHost, run_tool
from device.commands.console import Source, add_arguments, drawing
from device.console_page import Facts, Service, page
from device.payloads import (
    CameraInfo,
    Person,
    Presence,
    Present,
    ServiceState,
    Trouble,
    VisionFigures,
    VisionInfo,
)
from device.screen_desk import ScreenDesk, ScreenState, screen_state
from device.shared_record import MAX_BYTES, SharedRecord

SINCE = "2026-11-27T15:20:11.000Z"
LOST = Trouble("camera_lost", "no frame for 10 s", "check the ribbon at both ends", SINCE)
SCREEN = ScreenState(
    boot_ns=0,
    device="front-door",
    broker="mqtt.lan:8883",
    connection="connected",
    vision="looking",
    camera="picamera2",
    fps=14.6,
    subjects=3,
    troubles=[],
)
FACTS = Facts(
    hostname="door",
    version="0.1.0",
    when="2026-11-27 16:20 CET",
    synced=True,
    image="0.1.0+gabcdef12",
    slot="a",
    addresses=["192.168.1.20", "fd00::20"],
    services={"vision": Service("active"), "forward": Service("active", "mqtt.lan:8883: connected")},
    screen=SCREEN,
)

WELL = """\
PORTER     front-door

name       door.local
address    192.168.1.20, fd00::20
version    0.1.0, image 0.1.0+gabcdef12, slot a
clock      2026-11-27 16:20 CET, set

camera     looks, picamera2, 14.6 frames a second
broker     mqtt.lan:8883, connected
subjects   3 enrolled

no trouble

More: ssh admin@door.local, then `porter doctor`
"""

ILL = """\
PORTER     front-door

name       door.local
address    none: no network
version    0.1.0
clock      2026-11-27 16:20 CET, NOT set

camera     the service does not run (failed): gallery.sqlite: the key from
           elsewhere does not open it; it was left as it is
broker     mqtt.lan:8883, no connection: no route
subjects   not known

1 trouble
  !        camera_lost: no frame for 10 s, since 2026-11-27T15:20:11.000Z
           check the ribbon at both ends

More: ssh admin@door.local, then `porter doctor`
"""


def test_a_device_that_is_well() -> None:
    assert page(FACTS, 80, 25) == WELL


def test_a_device_that_is_not() -> None:
    why = "gallery.sqlite: the key from elsewhere does not open it; it was left as it is"
    ill = replace(
        FACTS,
        synced=False,
        image="",
        slot="",
        addresses=[],
        services={"vision": Service("failed", why), "forward": Service("active")},
        screen=msgspec.structs.replace(
            SCREEN, vision="silent", connection="no connection: no route", troubles=[LOST]
        ),
    )
    assert page(ill, 80, 25) == ILL


def test_a_device_of_which_nothing_is_known_still_has_a_name() -> None:
    text = page(Facts("porter", "0.1.0", "1970-01-01 00:00 UTC", synced=False), 80, 25)
    assert "porter.local" in text
    assert "camera     not known\nbroker     not known\nsubjects   not known" in text


def test_a_forwarder_that_hangs_is_told_from_one_that_does_not_run() -> None:
    hangs = page(replace(FACTS, screen=None), 80, 25)
    assert "broker     not known: the service runs, and the forwarder says nothing" in hangs
    dead = replace(
        FACTS, screen=None, services={"forward": Service("failed", "porter.yaml:3: no such option")}
    )
    assert "broker     the service does not run (failed): porter.yaml:3: no such option" in page(dead, 80, 25)


@pytest.mark.parametrize(("width", "height"), [(0, 0), (40, 10), (80, 25), (240, 67)])
def test_it_fits_every_screen(width: int, height: int) -> None:
    many = [Trouble(f"code_{n}", "long words " * 20, "do this " * 20, SINCE) for n in range(40)]
    text = page(replace(FACTS, screen=msgspec.structs.replace(SCREEN, troubles=many)), width, height)
    lines = text.splitlines()
    assert len(lines) <= max(height, 10)
    assert max(map(len, lines)) <= max(min(width, 100), 40)
    assert lines[-1].startswith("More: ssh")
    assert "..." in lines


def test_nobody_speaks_to_the_console_through_the_page() -> None:
    evil = "\x1b[2J\x9b31m\x07\r\nfront\u202e\u00fc"
    screen = msgspec.structs.replace(
        SCREEN,
        device=evil,
        broker=evil,
        connection=evil,
        camera=evil,
        troubles=[Trouble(evil, evil, evil, evil)],
    )
    facts = Facts(evil, evil, evil, True, evil, evil, [evil], {"vision": Service(evil, evil)}, screen)
    assert all(" " <= sign <= "~" or sign == "\n" for sign in page(facts, 80, 60))


def test_a_drawing_covers_the_one_before() -> None:
    assert drawing("one\ntwo\n") == "\x1b[Hone\x1b[K\ntwo\x1b[K\n\x1b[J"


def board(clock: ManualClock, **changes: object) -> ServiceState:
    there = Presence(1, "d", "cam0", SINCE, [Present(Person("p_0123abcd", "eileen"), SINCE)])
    state = ServiceState(
        boot_ns=clock.now().boot_ns,
        stopping=False,
        info=VisionInfo([CameraInfo("cam0", "files", simulated=True)], [], 2),
        presence=[there],
        troubles=[Trouble("lookalikes", "p_0123abcd and p_9876fedc look alike", "ask p_0123abcd", SINCE)],
        figures=VisionFigures(9.5, 100, []),
    )
    return msgspec.structs.replace(state, **changes)


def test_nothing_on_the_screen_says_who_is_there_or_was() -> None:
    """Never 3 and 6: neither a label nor the opaque name, nor whether anybody is at the door."""
    clock = ManualClock()
    state = screen_state("door", "b:1", "connected", board(clock), [LOST], clock.now())
    said = msgspec.json.encode(state).decode()
    assert "eileen" not in said
    assert "p_0123" not in said
    assert [one.code for one in state.troubles] == ["camera_lost", "lookalikes"]
    assert state.troubles[1].text == "a subject and a subject look alike"
    empty = board(clock, presence=[])
    assert screen_state("door", "b:1", "connected", empty, [LOST], clock.now()) == state


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, "looking"),
        ({"paused": True}, "paused"),
        ({"stopping": True}, "stopped"),
        ({"boot_ns": -60 * 10**9}, "silent"),
    ],
)
def test_what_the_vision_service_does(changes: dict[str, object], word: str) -> None:
    clock = ManualClock()
    state = screen_state("door", "b:1", "connected", board(clock, **changes), [], clock.now())
    assert state.vision == word
    known = word in ("looking", "paused")
    assert (state.subjects, state.camera) == ((2, "files (simulated)") if known else (0, ""))


def test_without_a_board_the_vision_service_is_silent() -> None:
    assert screen_state("door", "b:1", "connected", None, [], ManualClock().now()).vision == "silent"


def test_every_user_may_read_the_record_and_a_missing_folder_stops_nothing(tmp_path: Path) -> None:
    clock = ManualClock()
    desk = ScreenDesk(SharedRecord(tmp_path / "public" / "screen.json", ScreenState, public=True))
    desk.show("door", "b:1", "connected", None, [], clock.now())
    (tmp_path / "public").mkdir()
    desk.show("door", "b:1", "connected", None, [], clock.now())
    assert not list((tmp_path / "public").iterdir()), "not again within two seconds"
    clock.advance(3)
    desk.show("door", "b:1", "connected", None, [], clock.now())
    assert (tmp_path / "public" / "screen.json").stat().st_mode & 0o777 == 0o644


HOST = {
    "ip": '[{"ifname":"lo","addr_info":[{"family":"inet","local":"127.0.0.1","scope":"host"}]},'
    '{"ifname":"eth0","addr_info":[{"family":"inet6","local":"fd00::20","scope":"global"},'
    '{"family":"inet6","local":"fe80::1","scope":"link"},'
    '{"family":"inet","local":"192.168.1.20","scope":"global"}]}]',
    "systemctl": "Id=porter-vision.service\nActiveState=failed\nStatusText=a=b: locked\n\n"
    "Id=porter-forward.service\nActiveState=active\nStatusText=\n",
}


def host(root: Path, **said: str) -> LinuxHost:
    def run(*command: str) -> str:
        if command[0] not in said:
            raise FileNotFoundError(2, "No such file or directory")
        return said[command[0]]

    return LinuxHost(run, root)


def test_addresses_and_services_are_read_from_the_tools(tmp_path: Path) -> None:
    one = host(tmp_path, **HOST)
    assert one.addresses() == ["192.168.1.20", "fd00::20"]
    assert one.services() == {"vision": ("failed", "a=b: locked"), "forward": ("active", "")}


@pytest.mark.parametrize(
    "said", [{}, {"ip": "", "systemctl": ""}, {"ip": "{}[", "systemctl": "\n\n=\nId=\n"}]
)
def test_tools_that_fail_leave_their_lines_empty(tmp_path: Path, said: dict[str, str]) -> None:
    one = host(tmp_path, **said)
    assert (one.addresses(), one.services()) == ([], {})


@pytest.mark.parametrize(
    "said", ["[1]", '[{"addr_info":7}]', '[{"addr_info":[{}]}]', "[" * 100_000, "null", "{}"]
)
def test_nonsense_of_ip_is_no_address(tmp_path: Path, said: str) -> None:
    assert host(tmp_path, ip=said).addresses() == []


def test_a_real_tool_that_fails_is_an_error_of_the_tool() -> None:
    assert run_tool("echo", "here") == "here\n"
    with pytest.raises(subprocess.CalledProcessError):
        run_tool("false")


@pytest.mark.parametrize(
    ("files", "image", "slot"),
    [
        ({}, "", ""),
        ({"usr/lib/os-release": b'NAME="Debian"\nID=debian\nVERSION_ID="13"\n'}, "", ""),
        (
            {
                "usr/lib/os-release": b'ID=porter\nVERSION_ID="0.1.0+g1"\n',
                "proc/cmdline": b"quiet bootpart=3 x",
            },
            "0.1.0+g1",
            "b",
        ),
        (
            {"proc/device-tree/chosen/bootloader/partition": b"\0\0\0\2", "proc/cmdline": b"bootpart=3"},
            "",
            "a",
        ),
        ({"proc/device-tree/chosen/bootloader/partition": b"\0\0\0\1"}, "", ""),
        ({"proc/cmdline": b"bootpart=99999999999999"}, "", ""),
        ({"usr/lib/os-release": b"\xff\xfe" * 500}, "", ""),
    ],
)
def test_image_and_slot(tmp_path: Path, files: dict[str, bytes], image: str, slot: str) -> None:
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    one = LinuxHost(root=tmp_path)
    assert (one.image(), one.slot()) == (image, slot)


def source(tmp_path: Path) -> Source:
    return Source(host(tmp_path, **HOST), SharedRecord(tmp_path / "screen.json", ScreenState))


@pytest.mark.parametrize(
    "content",
    [None, b"", b"{", b'{"boot_ns": 1}', b"x" * (MAX_BYTES + 1), b"[" * 100_000, b'{"label": "eileen"}'],
)
def test_a_record_that_is_missing_torn_or_huge_is_none(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "screen.json").write_bytes(content)
    facts = source(tmp_path).facts(ManualClock().now())
    assert facts.screen is None
    assert "eileen" not in page(facts, 80, 25)


def test_a_record_that_is_not_renewed_is_none(tmp_path: Path) -> None:
    clock = ManualClock()
    SharedRecord(tmp_path / "screen.json", ScreenState).show(
        msgspec.structs.replace(SCREEN, boot_ns=clock.now().boot_ns)
    )
    one = source(tmp_path)
    assert one.facts(clock.now()).screen is not None
    clock.advance(25)
    assert one.facts(clock.now()).screen is None


def test_once_prints_the_page_and_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "device", "console", "--once", "--record", str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, timeout=30, check=True)
    assert done.stdout.startswith(b"PORTER")
    assert b"\x1b" not in done.stdout


def test_on_a_terminal_it_draws_until_it_is_told_to_end(tmp_path: Path) -> None:
    terminal, screen = pty.openpty()
    termios.tcsetwinsize(screen, (30, 60))
    command = [sys.executable, "-m", "device", "console", "--record", str(tmp_path / "none")]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=screen, stderr=subprocess.DEVNULL)
    os.close(screen)
    seen = b""
    while b"porter doctor`" not in seen:
        seen += os.read(terminal, 4096)
    process.terminate()
    assert process.wait(20) == 0
    assert seen.startswith(b"\x1b[?25l\x1b[2J\x1b[HPORTER")
    assert max(len(line) for line in seen.split(b"\r\n")) <= 60 + 20
    os.close(terminal)


def test_a_screen_that_is_gone_is_an_error_and_no_loop(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "device", "console", "--record", str(tmp_path / "none")]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.DEVNULL, timeout=30, check=False)
    os.close(writing)
    assert done.returncode == 1


def test_it_asks_nothing_of_the_configuration() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert vars(parser.parse_args([])) == {"once": False, "record": Path("/run/porter/public/screen.json")}
