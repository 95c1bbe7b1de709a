# SPDX-License-Identifier: Apache-2.0
"""What systemd says: whether it has given up on a service, and whether it is going down for a reboot."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PROPERTIES = ("ActiveState", "SubState", "Result", "ExecMainCode", "ExecMainStatus", "StatusText")
EXITED = "1"  # CLD_EXITED; 2 and 3 are signals
PATIENCE_S = 20.0


def run_systemctl(*arguments: str) -> str:
    """What it prints; nothing where it fails or is not there: a decision does not hang on it."""
    try:
        done = subprocess.run(
            ["systemctl", "--no-pager", *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


@dataclass(frozen=True, slots=True)
class UnitState:
    """One unit, in systemd's words (org.freedesktop.systemd1(5))."""

    name: str
    active: str = ""
    sub: str = ""
    result: str = ""
    code: str = ""
    status: str = ""
    text: str = ""

    @property
    def given_up(self) -> bool:
        """Whether it failed and will not be started again.

        Both words: since systemd 254 a unit that will be restarted passes through failed/failed-before-auto-restart.
        """
        return (self.active, self.sub) == ("failed", "failed")

    @property
    def reason(self) -> str:
        """For people: how it ended."""
        how = f"exit code {self.status}" if self.code == EXITED else f"signal {self.status}"
        ended = "" if self.code in ("", "0") else f", {how}"
        said = f", last said: {self.text}" if self.text else ""
        return f"{self.name} failed and is not started again ({self.result}{ended}{said})"


class SystemdUnits:
    """run(*arguments) is systemctl, or a test's."""

    def __init__(self, run: Callable[..., str] = run_systemctl) -> None:
        self._run = run

    def state(self, name: str) -> UnitState:
        """Empty words where systemd says nothing."""
        lines = self._run("show", f"--property={','.join(PROPERTIES)}", name).splitlines()
        said = dict(line.split("=", 1) for line in lines if "=" in line)
        return UnitState(name, *(said.get(each, "").strip() for each in PROPERTIES))

    def rebooting(self) -> bool:
        """Whether a reboot is under way, rather than a power-off or nothing at all."""
        jobs = self._run("list-jobs", "--plain", "--no-legend", "reboot.target")
        return any("reboot.target" in line and " start " in f"{line} " for line in jobs.splitlines())
