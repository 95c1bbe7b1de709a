# SPDX-License-Identifier: Apache-2.0
"""A real nats-server with its MQTT gateway as a child process, on loopback."""

from __future__ import annotations

import shutil
import socket
import subprocess
from typing import TYPE_CHECKING, Self

from device.loopback import free_ports
from tests.subscriber import wait_for

if TYPE_CHECKING:
    from pathlib import Path

# JetStream is what the gateway keeps sessions, retained messages and QoS 1 in; without it MQTT does not start.
CONFIG = """\
server_name: porter-test
listen: "127.0.0.1:{nats}"
jetstream {{ store_dir: "{folder}/jetstream" }}
mqtt {{ listen: "127.0.0.1:{mqtt}" }}
"""


class NatsServer:
    """`with NatsServer(folder) as server`; `stop` and `start` restart it on the same port, with what it stored."""

    def __init__(self, folder: Path) -> None:
        found = shutil.which("nats-server", path="/usr/sbin:/usr/bin:/usr/local/bin")
        assert found is not None, "nats-server is missing: apt install nats-server"
        self._executable = found
        folder.mkdir()
        self.port, nats = free_ports()[:2]
        self.log = folder / "nats.log"
        self._config = folder / "nats.conf"
        self._config.write_text(CONFIG.format(nats=nats, mqtt=self.port, folder=folder))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it; returns when it accepts MQTT connections."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._executable, "-c", str(self._config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait_for(self._listens, 15, f"nats-server; {self.log.read_text()[-2000:]}")

    def stop(self) -> None:
        """SIGTERM: an orderly end."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(15)
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
