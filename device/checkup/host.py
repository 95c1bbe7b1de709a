# SPDX-License-Identifier: Apache-2.0
"""What the checks look at: the system's files below a root, the commands that say more, and who is asking.

For tests `root` is a made-up tree, and `ScriptedCommands` answers by a table.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from device.adapters.vitals_linux import word

if TYPE_CHECKING:
    from collections.abc import Mapping

VISION_USER = "porter-vision"
VISION_GROUPS = ("porter-shared", "video", "plugdev")  # SupplementaryGroups= of its unit
BUSY = ("active", "activating", "reloading", "deactivating")
COMMAND_S = 4.0  # below the checks' limit, so that a command that hangs is named


@dataclass(frozen=True, slots=True)
class Said:
    """What a command said. code None: it did not run, or not to its end, and text says why."""

    code: int | None
    text: str

    @property
    def well(self) -> bool:
        """Whether it ended with 0."""
        return self.code == 0


class Command(Protocol):
    """Runs a command that only looks."""

    def __call__(self, *words: str) -> Said:
        """Returns whatever happens; never raises."""
        ...


def run_command(*words: str) -> Said:
    """The real thing; ended after COMMAND_S."""
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=COMMAND_S,
            check=False,
            text=True,
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        return Said(None, f"{words[0]}: no answer within {COMMAND_S:g} s")
    except FileNotFoundError:
        return Said(None, f"{words[0]}: not installed")
    except OSError as error:
        return Said(None, f"{words[0]}: {error.strerror}")
    return Said(done.returncode, done.stdout.strip())


@dataclass(frozen=True, slots=True)
class Account:
    """A service's user and all groups it runs with."""

    uid: int
    gids: frozenset[int]

    def may_use(self, path: Path) -> bool:
        """Whether it may read and write that device, by owner, group and mode. Raises OSError where there is none."""
        found = path.stat()
        wanted = stat.S_IROTH | stat.S_IWOTH
        if found.st_uid == self.uid:
            wanted <<= 6
        elif found.st_gid in self.gids:
            wanted <<= 3
        return found.st_mode & wanted == wanted


def vision_account() -> Account:
    """The vision service's, as its unit has it; this user's own where no such user was made (a checkout)."""
    try:
        user = pwd.getpwnam(VISION_USER)
    except KeyError:
        return Account(os.geteuid(), frozenset((os.getegid(), *os.getgroups())))
    gids = {user.pw_gid}
    for name in VISION_GROUPS:
        try:
            gids.add(grp.getgrnam(name).gr_gid)
        except KeyError:
            continue
    return Account(user.pw_uid, frozenset(gids))


@dataclass(frozen=True, slots=True)
class Host:
    """root: where / is. root_user: whether whoever asks may see everything. vision: who the vision service is."""

    root: Path = Path("/")
    run: Command = run_command
    root_user: bool = field(default_factory=lambda: os.geteuid() == 0)
    vision: Account = field(default_factory=vision_account)

    def path(self, name: str) -> Path:
        """A file of the system, e.g. `sys/class/hwmon`; a leading slash is the root's."""
        return self.root / name.lstrip("/")

    def vision_runs(self) -> bool:
        """Whether systemd has the vision service up, or on its way up or down; False also where there is no systemd."""
        return self.run("systemctl", "is-active", "porter-vision").text.strip() in BUSY

    def word(self, name: str) -> str | None:
        """The text of a small file of /sys or /proc; None where it cannot be read."""
        return word(self.path(name))


class ScriptedCommands:
    """Commands that answer by a table of their words; others are not installed. `asked` is what was run."""

    def __init__(self, answers: Mapping[str, Said | str]) -> None:
        self._answers = dict(answers)
        self.asked: list[str] = []

    def __call__(self, *words: str) -> Said:
        """The answer to the longest beginning that the table has."""
        line = " ".join(words)
        self.asked.append(line)
        fitting = [key for key in self._answers if line.startswith(key)]
        if not fitting:
            return Said(None, f"{words[0]}: not installed")
        answer = self._answers[max(fitting, key=len)]
        return Said(0, answer) if isinstance(answer, str) else answer
