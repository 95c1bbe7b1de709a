# SPDX-License-Identifier: Apache-2.0
"""What the demo is played on: a broker, both services as real processes, a subscriber, and what the camera sees.

The services are started exactly as a person would start them, with a configuration file that the demo writes, and
they know nothing of being in a demo.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import msgspec
from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from device.demo_scenes import write_scene
from device.errors import PorterError
from device.payloads import Alert, Event, Presence

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from device.adapters.broker_embedded import EmbeddedBroker
    from device.demo_scenes import Person

SCENES: dict[str, Person | None] = {"nobody": None, "subject": "astronaut", "stranger": "hopper"}
POLL_S = 0.05


class DemoFailed(PorterError):  # noqa: N818  an outcome, told like one
    """Something that Porter promises did not happen."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One message that the subscriber got."""

    topic: str
    payload: bytes

    @property
    def kind(self) -> str:
        """The topic's end: `status`, `presence`, `match`, `match/late` ..."""
        levels = self.topic.split("/")
        return "/".join(levels[-2:]) if levels[-1] == "late" else levels[-1]

    def event(self) -> Event:
        """The body of a match."""
        return msgspec.json.decode(self.payload, type=Event)

    def alert(self) -> Alert:
        """The body of an alert."""
        return msgspec.json.decode(self.payload, type=Alert)

    def presence(self) -> Presence:
        """The body of a presence."""
        return msgspec.json.decode(self.payload, type=Presence)


class Subscriber:
    """An ordinary MQTT subscriber to everything of Porter; comes back by itself when the broker does."""

    def __init__(self, host: str, port: int, tell: Callable[[Heard], None]) -> None:
        self.heard: list[Heard] = []
        self._address = (host, port)
        self._tell = tell
        self._client = self._fresh()
        self._next_try = 0.0
        self.subscribed = False

    def poll(self) -> None:
        """Does the network work there is; takes at most `POLL_S`."""
        if self._client.is_connected() or self._client.socket() is not None:
            self._client.loop(timeout=POLL_S)
            return
        time.sleep(POLL_S)
        if time.monotonic() >= self._next_try:
            self._next_try = time.monotonic() + 0.5
            self._client = self._fresh()
            try:
                self._client.connect(*self._address, keepalive=20)
            except OSError:
                return  # the broker is down; that is part of the play

    def _fresh(self) -> Client:
        client = Client(CallbackAPIVersion.VERSION2, client_id="porter-demo-subscriber", protocol=MQTTv5)
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        client.on_subscribe = self._on_subscribe
        self.subscribed = False
        return client

    @staticmethod
    def _on_connect(
        client: Client, _data: object, _flags: object, _code: ReasonCode, _properties: Properties | None
    ) -> None:
        client.subscribe("porter/v1/#", qos=1)

    def _on_subscribe(self, *_: object) -> None:
        self.subscribed = True

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        heard = Heard(message.topic, bytes(message.payload))
        self.heard.append(heard)
        self._tell(heard)


class Stage:
    """Everything that runs during a demo. `with Stage(...)`: whatever happens, nothing is left running."""

    def __init__(self, folder: Path, config: Path, broker: EmbeddedBroker, subscriber: Subscriber) -> None:
        self.config = config
        self.broker = broker
        self.subscriber = subscriber
        self._folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
        self.broker.close()

    def start(self, verb: str) -> None:
        """Starts `porter VERB` as a process; its log goes to a file."""
        with (self._folder / f"{verb}.log").open("wb") as log:
            self._processes[verb] = subprocess.Popen(
                [*porter(), verb, "--config", str(self.config)], stdin=subprocess.DEVNULL, stderr=log
            )

    def run(self, *arguments: str) -> int:
        """Runs `porter ...` in the foreground, its output to ours; returns its exit code."""
        process = subprocess.Popen([*porter(), *arguments, "--config", str(self.config)])
        while process.poll() is None:
            self.subscriber.poll()
        return process.returncode

    def show(self, scene: str) -> None:
        """From its next round on, the simulated camera sees this scene."""
        fresh = self._folder / "camera.new"
        fresh.symlink_to(self._folder / "scenes" / scene)
        fresh.replace(self._folder / "camera")

    def broker_returns(self, timeout_s: float) -> None:
        """Starts the broker again, and holds the forwarder until our subscriber is back.

        What is published while nobody is subscribed reaches nobody: MQTT's rule, and not what is played here.
        """
        forwarder = self._processes["forward"]
        forwarder.send_signal(signal.SIGSTOP)
        try:
            self.subscriber.subscribed = False
            self.broker.start()
            self.wait("the subscriber to be back", lambda: self.subscriber.subscribed, timeout_s)
        finally:
            forwarder.send_signal(signal.SIGCONT)

    def wait(self, what: str, happened: Callable[[], object], timeout_s: float) -> None:
        """Waits for something; a service that ended, or the time running out, is a DemoFailed with the log's end."""
        deadline = time.monotonic() + timeout_s
        while not happened():
            self.subscriber.poll()
            for verb, process in self._processes.items():
                if process.poll() is not None:
                    raise DemoFailed(
                        f"porter {verb} ended with code {process.returncode}", hint=self._log(verb)
                    )
            if time.monotonic() > deadline:
                logs = "".join(self._log(verb) for verb in self._processes)
                raise DemoFailed(f"waited {timeout_s:.0f} s in vain: {what}", hint=f"the logs say:\n{logs}")

    def _log(self, verb: str) -> str:
        lines = (self._folder / f"{verb}.log").read_text(errors="replace").splitlines()[-8:]
        return "".join(f"    {verb}: {line}\n" for line in lines)


def porter() -> list[str]:
    """The command line of this very Porter."""
    return [sys.executable, "-m", "device"]


def write_scenes(folder: Path) -> None:
    """Draws what the simulated camera will see, beginning with nobody."""
    for name, person in SCENES.items():
        write_scene(folder / "scenes" / name, person)
    (folder / "camera").symlink_to(folder / "scenes" / "nobody")
