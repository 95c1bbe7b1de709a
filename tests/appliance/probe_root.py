# SPDX-License-Identifier: Apache-2.0
"""Runs in the place of `porter usb-reset`, in its unit's sandbox, tries what root must not do there; prints JSON."""

from __future__ import annotations

import errno
import json
import mmap
import os
import socket
import subprocess
from pathlib import Path

from tests.appliance.probe import tried


def written(folder: str) -> None:
    probe = Path(folder) / "probe"
    probe.write_text("")
    probe.unlink()


def opened(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY))


def mounted() -> None:
    done = subprocess.run(["mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False)
    if done.returncode:
        raise OSError(errno.EPERM, "mount")


def main() -> None:
    """All of it. /sys/devices/.../uevent is a file of root's that may be written, but for the mount."""
    uevent = next(Path("/sys/devices").rglob("uevent"), Path("/sys/devices/none"))
    found: dict[str, object] = {
        "inet": tried(lambda: socket.socket(socket.AF_INET).close()),
        "unix": tried(lambda: socket.socket(socket.AF_UNIX).close()),
        "gallery": tried(lambda: Path("/var/lib/porter/gallery.sqlite").read_bytes()),
        "configuration": tried(lambda: Path("/etc/porter/porter.yaml").read_bytes()),
        "another user's file": tried(lambda: Path("/var/lib/mosquitto/probe").write_bytes(b"")),
        "mount": tried(mounted),
        "write and execute": tried(
            lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()
        ),
        "write state": tried(lambda: written("/run/porter-usb-reset")),
        "write /sys/devices": tried(lambda: opened(str(uevent))),
        "write /sys/kernel": tried(lambda: opened("/sys/kernel/mm/transparent_hugepage/enabled")),
        "capabilities": next(
            line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "CapEff" in line
        ),
    }
    for folder in ("/usr", "/root", "/run"):
        found[f"write {folder}"] = tried(lambda folder=folder: written(folder))  # type: ignore[misc]
    print(json.dumps(found))


main()
