# SPDX-License-Identifier: Apache-2.0
"""A simulated door with all of Porter: the vision service, a forwarder and a mosquitto between it and the tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.service.harness import ServiceDoor
from tests.system.services import Child

if TYPE_CHECKING:
    from pathlib import Path

    from device.adapters.broker_mosquitto import Mosquitto


class WholeDoor(ServiceDoor):
    """`ServiceDoor` and a forwarder, which the test starts; whatever happens in it, neither is left running."""

    def __init__(self, folder: Path, scenes: Path, broker: Mosquitto, **sections: dict[str, Any]) -> None:
        super().__init__(folder, scenes)
        self.broker = broker
        self.configure(mqtt={"host": "127.0.0.1", "port": broker.port, "tls": False}, **sections)
        arguments = ("device", "forward", "--config", str(self.config_file))
        self.forwarder = Child(folder / "forward.log", *arguments)

    def __exit__(self, *arguments: object) -> None:
        if self.forwarder.process is not None:
            self.forwarder.end()
        super().__exit__(*arguments)
