# SPDX-License-Identifier: Apache-2.0
"""A real mosquitto as a child process, on loopback: for measurements and tests, never for a device."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Self

from device.errors import HardwareError, InputError
from device.loopback import free_ports

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE_S = 10.0
LOOK_S = 0.02


def executable(name: str, package: str) -> str:
    """Where this program is. Raises InputError: install it."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if found is None:
        raise InputError(f"{name} is missing", hint=f"apt install {package}")
    return found


class Mosquitto:
    """`with Mosquitto(folder) as broker`; `stop` and `start` restart it on the same port.

    options: further lines of mosquitto.conf, after `listener`. Persistent sessions survive `stop`, not `kill`.
    """

    host = "127.0.0.1"

    def __init__(
        self, folder: Path, *options: str, anonymous: bool = True, config: str = "", port: int = 0
    ) -> None:
        """config: all of mosquitto.conf; `port` is then one of its listeners. Raises InputError: not installed."""
        self._executable = executable("mosquitto", "mosquitto")
        self.port = port or free_ports()[0]
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "mosquitto.log"
        self._config = folder / "mosquitto.conf"
        listener = [
            f"listener {self.port} {self.host}",
            f"allow_anonymous {'true' if anonymous else 'false'}",
            "persistence true",
            "max_queued_messages 0",
        ]
        lines = [config] if config else listener
        lines += [f"persistence_location {folder}/", *(["user root"] if os.geteuid() == 0 else []), *options]
        self._config.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The child's, for /proc. Raises RuntimeError where it does not run."""
        if self._process is None:
            raise RuntimeError("mosquitto does not run")
        return self._process.pid

    def start(self) -> Self:
        """Starts it; returns when it accepts connections. Raises HardwareError with its log where it does not."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._executable, "-c", str(self._config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + PATIENCE_S
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = self.log.read_text(encoding="utf-8", errors="replace")
                raise HardwareError(f"mosquitto did not start: {said[-2000:]}")
            time.sleep(LOOK_S)
        return self

    def stop(self) -> None:
        """SIGTERM: it saves its sessions."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: what it has not handed on is gone, whatever it acknowledged."""
        self._end(signal.SIGKILL)

    def reload(self) -> None:
        """SIGHUP: it reads passwords, access rules and certificates again."""
        os.kill(self.pid, signal.SIGHUP)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(PATIENCE_S)
            self._process = None

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((self.host, self.port)) == 0
