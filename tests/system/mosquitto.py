# SPDX-License-Identifier: Apache-2.0
"""A real mosquitto as a child process on a free port. Where it is not installed, tests fail: nothing is skipped."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from typing import TYPE_CHECKING, Self

from device.adapters.broker_embedded import free_ports
from tests.subscriber import wait_for

if TYPE_CHECKING:
    from pathlib import Path


def executable(name: str, package: str) -> str:
    """The path of a program these tests cannot do without."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if found is None:
        raise FileNotFoundError(f"{name} is missing: apt install {package}")
    return found


class Mosquitto:
    """`with Mosquitto(folder) as broker`; `stop` and `start` restart it on the same port.

    options: further lines of mosquitto.conf, after `listener`. Persistent sessions survive `stop`, not `kill`.
    """

    def __init__(
        self, folder: Path, *options: str, anonymous: bool = True, config: str = "", port: int = 0
    ) -> None:
        """config: all of mosquitto.conf; `port` is then one of its listeners."""
        self.port = port or free_ports()[0]
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "mosquitto.log"
        self._config = folder / "mosquitto.conf"
        lines = [
            f"listener {self.port} 127.0.0.1",
            f"allow_anonymous {'true' if anonymous else 'false'}",
            "persistence true",
            f"persistence_location {folder}/",
            "max_queued_messages 0",
            *(["user root"] if os.geteuid() == 0 else []),
            *options,
        ]
        if config:
            lines = [config, *lines[3:4], *lines[5:]]
        self._config.write_text("\n".join(lines) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Starts it; returns when it accepts connections."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [executable("mosquitto", "mosquitto"), "-c", str(self._config)], stdout=log, stderr=log
            )
        wait_for(self._listens, 10, f"mosquitto, see {self.log}:\n{self.log.read_text()}")
        return self

    def stop(self) -> None:
        """SIGTERM: it saves its sessions."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def kill(self) -> None:
        """SIGKILL: what it has not handed on is gone, whatever it acknowledged."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def reload(self) -> None:
        """SIGHUP: it reads passwords, access rules and certificates again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
