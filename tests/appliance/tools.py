# SPDX-License-Identifier: Apache-2.0
"""What the checks of this folder share: commands, systemd's view of a unit, drop-ins, a probe in a unit's sandbox."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

UNITS = Path("/etc/systemd/system")
DROP_INS = Path("/run/systemd/system")
CREDENTIALS = Path("/etc/credstore.encrypted")
SOCKET = "/run/porter/control.sock"
PORTER = "/opt/porter/.venv/bin/porter"
SERVICES = ("porter-vision", "porter-forward")


def run(*command: str, good: bool = True, given: str = "") -> str:
    """What a command printed; it must succeed unless told otherwise."""
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=120, check=False)
    if good and done.returncode:
        raise AssertionError(f"{' '.join(command)}: {done.returncode}: {done.stderr.strip()[-400:]}")
    return done.stdout


def shown(service: str, *names: str) -> dict[str, str]:
    """Properties of a service."""
    text = run("systemctl", "show", service, *(f"--property={name}" for name in names))
    return dict(line.split("=", 1) for line in text.splitlines())


def wait_until(done: Callable[[], object], what: str, seconds: float = 30.0) -> float:
    """Seconds until it was so."""
    began = time.monotonic()
    while not done():
        assert time.monotonic() - began < seconds, f"waited {seconds:g} s in vain for {what}"
        time.sleep(0.1)
    return time.monotonic() - began


def active(service: str) -> bool:
    return shown(service, "ActiveState")["ActiveState"] == "active"


def status_line(service: str) -> str:
    return shown(service, "StatusText")["StatusText"]


def drop_in(service: str, text: str) -> None:
    """For as long as this system runs."""
    folder = DROP_INS / f"{service}.service.d"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "test.conf").write_text(text)
    run("systemctl", "daemon-reload")


def no_drop_in(service: str) -> None:
    (DROP_INS / f"{service}.service.d" / "test.conf").unlink()
    run("systemctl", "daemon-reload")
    run("systemctl", "reset-failed", good=False)


def probed(service: str, program: str = "probe") -> dict[str, Any]:
    """What a program of this folder finds in the sandbox of a shipped unit: the same unit, with that in it."""
    text = (UNITS / f"{service}.service").read_text()
    own = "Type|Restart|WatchdogSec|ExecReload|PartOf|Conflicts|Condition|Standard|TTY"
    text = re.sub(rf"(?m)^({own}).*\n", "", text)
    text = text.replace("[Service]\n", "[Service]\nType=oneshot\nStandardOutput=file:/run/probe.json\n")
    text = re.sub(
        r"(?m)^ExecStart=.*$",
        f"ExecStart=/opt/porter/.venv/bin/python -m tests.appliance.{program}\nWorkingDirectory=/opt/porter",
        text,
    )
    (DROP_INS / "probe.service").write_text(text)
    Path("/run/probe.json").write_text("")
    run("systemctl", "daemon-reload")
    run("systemctl", "start", "probe.service")
    found: dict[str, Any] = json.loads(Path("/run/probe.json").read_text())
    return found


def refused(found: dict[str, Any], *names: str) -> None:
    allowed = [name for name in names if found[name] == "ok"]
    assert not allowed, f"it can: {', '.join(allowed)}"
