# SPDX-License-Identifier: Apache-2.0
"""What somebody at the device sees: its LED and its screen, from inside the real sandboxes."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import termios
import time
from pathlib import Path

from tests.appliance.tools import (
    DROP_INS,
    PORTER,
    drop_in,
    no_drop_in,
    probed,
    refused,
    run,
    shown,
    wait_until,
)

PLATFORM, CLASS = Path("/sys/devices/platform"), Path("/sys/class")
RULE = Path("/etc/udev/rules.d/70-porter-led.rules")


def identify_reaches_the_led_through_the_sandbox() -> str:
    """Stand-in files where a Raspberry Pi has its LED; make image-test has the kernel's real ones, in a real /sys."""
    run("udevadm", "verify", str(RULE))
    for folder in (PLATFORM, CLASS):
        run("mount", "-t", "tmpfs", "-o", "mode=755", "leds", str(folder))
    act = PLATFORM / "leds" / "leds" / "ACT"
    act.mkdir(parents=True)
    (CLASS / "leds").mkdir()
    (CLASS / "leds" / "ACT").symlink_to("../../devices/platform/leds/leds/ACT")
    for name, text in {"trigger": "none [mmc0] timer heartbeat\n", "brightness": "0\n"}.items():
        (act / name).write_text(text)
    # As the rule does it.
    for command in re.findall(r'RUN\+="([^"]+)"', RULE.read_text()):
        run(*command.replace("%p", "/devices/platform/leds/leds/ACT").split())
    try:
        run("systemctl", "restart", "porter-forward")
        found = probed("porter-forward")
        assert (found["the LED's trigger"], found["the LED's brightness"]) == ("ok", "EACCES"), found
        answer = "porter/v1/lobby-01/cmd/identify/result"
        login = ("-u", "lobby-01", "-P", "secret")
        wait_until(
            lambda: "connected" in shown("porter-forward", "StatusText")["StatusText"], "the connection"
        )
        run("mosquitto_pub", *login, "-t", answer.removesuffix("/result"), "-n", "-q", "1")
        wait_until(lambda: (act / "trigger").read_text() == "timer", "the LED to blink")
        seconds = wait_until(lambda: (act / "trigger").read_text() == "mmc0", "the LED to end", 30)
    finally:
        for folder in (CLASS, PLATFORM):
            run("umount", "--lazy", str(folder))
        run("systemctl", "restart", "porter-forward")
    return f"blinks for {seconds:.0f} s"


class Screen:
    """A terminal in the place of HDMI, and what is drawn on it."""

    def __init__(self) -> None:
        self._terminal, self._slave = pty.openpty()
        termios.tcsetwinsize(self._slave, (30, 90))
        self.path = os.ttyname(self._slave)
        self._seen = ""

    def page(self) -> str:
        """The page drawn last."""
        while select.select([self._terminal], [], [], 0)[0]:
            self._seen += os.read(self._terminal, 65536).decode("ascii")
        # Between the cursor's way home and the end of the screen: whole pages alone.
        pages = re.findall(r"\x1b\[H(.*?)\x1b\[J", self._seen, re.S)
        return pages[-1].replace("\x1b[K", "").replace("\r", "") if pages else ""

    def wait(self, *words: str, seconds: float = 40) -> str:
        """The first page with all of these words."""
        try:
            wait_until(lambda: all(word in self.page() for word in words), str(words), seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.page()}") from None
        return self.page()

    def unplug(self) -> None:
        os.close(self._slave)
        os.close(self._terminal)


def the_screen_shows_the_device_and_nobody() -> str:
    screen = Screen()
    drop_in("porter-console", f"[Unit]\nConditionPathExists=\n[Service]\nTTYPath={screen.path}\n")
    run("ip", "address", "add", "192.0.2.7/32", "dev", "lo")
    run("systemctl", "restart", "porter-console")
    page = screen.wait("looks, files (simulated)", "connected", "1 enrolled", "address    192.0.2.7\n")
    name = run("hostname").strip()
    assert page.startswith("PORTER     lobby-01\n"), page
    assert f"{name}.local" in page
    assert "clock " in page
    # Somebody stands before the camera all the while: the picture of the enrolled person.
    assert "1 at the door" in run(PORTER, "status")
    ref = re.search(r"p_[0-9a-f]+", run(PORTER, "subjects"))
    assert ref is not None
    assert ref[0] not in page
    assert not re.search(r"\btest\b|at the door|present", page), page
    run(PORTER, "pause")
    screen.wait("paused: nobody is looked at")
    run(PORTER, "resume")
    screen.wait("looks, files")
    run("systemctl", "stop", "porter-vision")
    screen.wait("the service does not run (inactive)")
    run("systemctl", "start", "porter-vision")
    screen.wait("looks, files")
    cost = costs(shown("porter-console", "MainPID")["MainPID"])
    said = run("journalctl", "-b", "-u", "porter-console", "-o", "cat", "--no-pager")
    assert "tool_failed" not in said, said
    screen.unplug()
    run(PORTER, "pause")  # there is something new to draw
    wait_until(
        lambda: shown("porter-console", "SubState")["SubState"] == "auto-restart", "it to notice that", 40
    )
    assert int(shown("porter-console", "NRestarts")["NRestarts"]) == 0
    run(PORTER, "resume")
    run("systemctl", "stop", "porter-console")
    no_drop_in("porter-console")
    return cost


def costs(pid: str) -> str:
    """Memory and time of a process, and its children's time, since it began."""
    resident = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = os.sysconf("SC_CLK_TCK")
    busy_s, up_s = sum(map(int, fields[11:15])) / ticks, time.clock_gettime(time.CLOCK_BOOTTIME)
    up_s -= int(fields[19]) / ticks
    assert resident is not None
    return f"{int(resident[1]) / 1000:.0f} MB, {busy_s:.1f} s of a core in its first {up_s:.0f} s"


def without_a_screen_there_is_no_page_and_no_failure() -> str:
    assert not Path("/dev/tty1").exists()
    run("systemctl", "start", "porter-console")
    found = shown("porter-console", "ActiveState", "ConditionResult", "NRestarts")
    assert found == {"ActiveState": "inactive", "ConditionResult": "no", "NRestarts": "0"}, found
    assert "PORTER " in run(PORTER, "console", "--once")
    return str(found)


def the_screens_process_finds_one_folder_of_porter() -> str:
    found = probed("porter-console")
    refused(found, "inet", "inet6", "packet", "gallery", "device key", "control socket", "bell", "camera")
    refused(
        found, "broker secrets", "kernel messages", "state board", "forwarder's record", "write and execute"
    )
    refused(found, *(name for name in found if name.startswith("write /")))
    assert (found["state folders"], found["run folders"]) == ([], ["public"]), found
    assert (found["core"], found["capabilities"], found["others' processes"]) == (0, "0" * 16, False), found
    assert found["user"] != 0
    shutil.rmtree(DROP_INS / "porter-console.service.d", ignore_errors=True)
    return f"inet {found['inet']}, state board {found['state board']}"
