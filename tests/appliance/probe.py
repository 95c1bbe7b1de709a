# SPDX-License-Identifier: Apache-2.0
"""Runs in the place of a service, in its unit's sandbox, and tries what it must and must not do; prints JSON."""

from __future__ import annotations

import errno
import json
import mmap
import os
import resource
import socket
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def tried(what: Callable[[], object]) -> str:
    """`ok`, or the name of the error."""
    try:
        what()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return "ok"


def connected(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def names(folder: str) -> list[str]:
    return sorted(entry.name for entry in Path(folder).iterdir())


def rung(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ringer:
        ringer.sendto(b"", path)


def written(folder: str) -> None:
    probe = Path(folder) / "probe"
    probe.write_text("")
    probe.unlink()


def opened(name: str) -> None:
    os.close(os.open(f"/sys/class/leds/ACT/{name}", os.O_WRONLY))


def main() -> None:
    """All of it."""
    found: dict[str, object] = {
        "inet": tried(lambda: socket.socket(socket.AF_INET).close()),
        "inet6": tried(lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).close()),
        "packet": tried(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()),
        "unix": tried(lambda: socket.socket(socket.AF_UNIX).close()),
        "gallery": tried(lambda: Path("/var/lib/porter/gallery.sqlite").read_bytes()),
        "device key": tried(lambda: Path("/var/lib/porter/device.key").read_bytes()),
        "control socket": tried(lambda: connected("/run/porter/control.sock")),
        "bell": tried(lambda: rung("/run/porter/forward/bell")),
        "state board": tried(lambda: Path("/run/porter/shared/state.json").read_bytes()),
        "forwarder's record": tried(lambda: Path("/run/porter/forward/state.json").read_bytes()),
        "the LED's trigger": tried(lambda: opened("trigger")),
        "the LED's brightness": tried(lambda: opened("brightness")),
        "broker secrets": tried(lambda: names("/etc/porter/forward")),
        "camera": tried(lambda: os.close(os.open("/dev/video0", os.O_RDWR))),
        "kernel messages": tried(lambda: os.close(os.open("/dev/kmsg", os.O_RDONLY))),
        "write and execute": tried(
            lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()
        ),
        "core": resource.getrlimit(resource.RLIMIT_CORE)[1],
        "user": os.getuid(),
        "others' processes": len([name for name in names("/proc") if name.isdigit()]) > 5,
        "capabilities": next(
            line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "CapEff" in line
        ),
        "state folders": names("/var/lib/porter"),
        "run folders": names("/run/porter"),
    }
    for folder in (
        "/var/lib/porter/shared",
        "/run/porter/shared",
        "/run/porter/forward",
        "/etc/porter",
        "/usr",
        "/root",
    ):
        found[f"write {folder}"] = tried(lambda folder=folder: written(folder))  # type: ignore[misc]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
