# SPDX-License-Identifier: Apache-2.0
"""What the screen's page says of the machine: name, addresses, image and slot, and what systemd says of the services.

By the tools that a Debian system has (`ip`, `systemctl`), which answer every user. A tool that is missing, hangs or
says nonsense leaves its lines empty: the page is there for the device on which something is wrong.
"""

from __future__ import annotations

import json
import logging
import re
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("porter.console")

TOOL_S = 15.0
MOST_BYTES = 64 * 1024
MOST_ADDRESSES = 6
UNITS = ("porter-vision.service", "porter-forward.service")
SLOTS = {2: "a", 3: "b"}  # by the boot partition, as the image's cards have them


def run_tool(*command: str) -> str:
    """What it printed. Raises OSError, subprocess.SubprocessError, UnicodeDecodeError."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TOOL_S, check=True, close_fds=True
    )
    return done.stdout[:MOST_BYTES].decode()


class LinuxHost:
    """run(*command) is a tool, or a test's; root: where /proc and /usr begin."""

    def __init__(self, run: Callable[..., str] = run_tool, root: Path = Path("/")) -> None:
        self._run, self._root = run, root
        self._silent: set[str] = set()

    def hostname(self) -> str:
        """Without its domain."""
        return socket.gethostname().partition(".")[0] or "porter"

    def addresses(self) -> list[str]:
        """Those by which the network may reach it, IPv4 first."""
        try:
            found: list[dict[str, Any]] = json.loads(self._asked("ip", "-json", "address") or "[]")
            every = [
                (each["family"], each["local"])
                for link in found
                for each in link["addr_info"]
                if each["scope"] == "global"
            ]
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            self._complain("ip", error)
            return []
        return [str(address) for _, address in sorted(every)][:MOST_ADDRESSES]

    def services(self) -> dict[str, tuple[str, str]]:
        """State and words of both units by their short names; empty where systemd does not answer."""
        text = self._asked("systemctl", "show", "--property=Id,ActiveState,StatusText", *UNITS)
        found = {}
        for block in text.split("\n\n"):
            values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
            name = values.get("Id", "").removeprefix("porter-").removesuffix(".service")
            if name and "ActiveState" in values:
                found[name] = (values["ActiveState"], values.get("StatusText", ""))
        return found

    def image(self) -> str:
        """The version of the image; empty where this is no image of Porter."""
        values = dict(
            re.findall(
                r'(?m)^(\w+)="?([^"\n]*)"?$', self._read("usr/lib/os-release").decode("ascii", "replace")
            )
        )
        return values.get("VERSION_ID", "") if values.get("ID") == "porter" else ""

    def slot(self) -> str:
        """`a` or `b`, by the partition that the firmware says it booted; empty where there are no slots."""
        told = self._read("proc/device-tree/chosen/bootloader/partition")
        if len(told) == 4:
            return SLOTS.get(int.from_bytes(told, "big"), "")
        line = re.search(rb"\bbootpart=(\d+)", self._read("proc/cmdline"))
        return SLOTS.get(int(line[1]), "") if line else ""

    def _read(self, name: str) -> bytes:
        try:
            with (self._root / name).open("rb") as file:
                return file.read(MOST_BYTES)
        except OSError:
            return b""

    def _asked(self, *command: str) -> str:
        try:
            text = self._run(*command)
        except (OSError, subprocess.SubprocessError, UnicodeDecodeError) as error:
            self._complain(command[0], error)
            return ""
        self._silent.discard(command[0])
        return text

    def _complain(self, tool: str, error: Exception) -> None:
        """Once, until it answers again."""
        if tool not in self._silent:
            log.warning("tool_failed name=%s error=%r", tool, str(error)[:300])
        self._silent.add(tool)
