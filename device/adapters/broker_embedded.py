# SPDX-License-Identifier: Apache-2.0
"""A real MQTT 5 (or 3.1.1) broker without a system package: iotcore's rumqttd, in a child process on a free port.

For the demo and the tests, never for a device: it keeps nothing on disk, knows no users, and listens on loopback only.
A rumqttd listener speaks one version: it hangs up on the other. `stop` is a kill, so `start` afterwards is a broker
restart as clients see it, on the same port and with all retained messages gone. The child ends by itself when its
parent goes away.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from device.errors import InputError
from device.loopback import TRIES, free_ports

if TYPE_CHECKING:
    from types import TracebackType

    import iotcore

TOML = """\
id = 0
[router]
id = 0
max_connections = 100
max_outgoing_packet_count = 200
max_segment_size = 1048576
max_segment_count = 10
[{version}.1]
name = "{version}"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 1
[{version}.1.connections]
connection_timeout_ms = 60000
max_payload_size = 262144
max_inflight_count = 100
dynamic_filters = true
"""


class EmbeddedBroker:
    """`with EmbeddedBroker() as broker: ... broker.port ...`; `stop` and `start` restart it on the same port."""

    host = "127.0.0.1"

    def __init__(self, *, protocol: Literal["5", "3.1.1"] = "5", port: int | None = None) -> None:
        self._version = "v5" if protocol == "5" else "v4"
        self._wanted = port
        self._broker: iotcore.Broker | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="porter-broker-")
        self.port = 0

    def start(self) -> Self:
        """Starts it, or starts it again where it listened before; returns when it accepts connections.

        Raises InputError where iotcore is not installed or the port is taken.
        """
        if self._broker is not None and not self._broker.is_running:
            self._broker.start()
            return self
        for candidate in free_ports() if self._wanted is None else [self._wanted]:
            try:
                self._broker = self._make(candidate).start()
            except (OSError, RuntimeError):  # somebody was quicker
                continue
            self.port = candidate
            return self
        raise InputError(
            f"no port to listen on: tried {self._wanted or TRIES}",
            hint="is another broker running there? stop it",
        )

    def stop(self) -> None:
        """Ends it at once, as a crash would; harmless when it does not run."""
        if self._broker is not None:
            self._broker.stop()

    def close(self) -> None:
        """Ends it for good."""
        self.stop()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _make(self, port: int) -> iotcore.Broker:
        try:
            from iotcore import Broker
        except ImportError as error:
            raise InputError(
                "the embedded broker is not installed", hint="pip install 'porter-camera[demo]'"
            ) from error
        config = Path(self._folder.name) / "rumqttd.toml"
        config.write_text(TOML.format(version=self._version, port=port))
        return Broker(config_path=str(config))
