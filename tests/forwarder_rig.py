# SPDX-License-Identifier: Apache-2.0
"""A forwarder with fakes all around it, for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from device.adapters.broker_memory import Exchange, MemoryBroker
from device.adapters.clock import ManualClock
from device.adapters.outbox_memory import MemoryOutbox
from device.adapters.state_file import MemoryStateBoard
from device.announcements import Names
from device.contract import judge
from device.forwarder import Forwarder
from device.payloads import CameraInfo, Event, Presence, Present, ServiceState, Trouble, VisionInfo
from device.troubles import Troubles
from tests.events import BOOT, make_event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from device.correspondence import Correspondent
    from device.mqtt_messages import Message

TIME = "2026-11-23T04:20:00.000Z"
ROOT = "porter/v1/lobby-01"


class CheckedExchange(Exchange):
    """Takes nothing that is not in the contract."""

    def accept(self, message: Message) -> None:
        """Checks, then takes it."""
        if message.topic.startswith("porter/v1/"):
            judged = judge("porter", message.topic, message.payload, retained=False)
            assert not judged.problems, f"{message.topic}: {judged.problems}"
            assert judged.channel is not None
            assert (message.qos, message.retain) == (judged.channel.qos, judged.channel.retained), (
                message.topic
            )
        super().accept(message)


class Rig:
    """A forwarder with fakes all around; the writer is the vision process's view of the outbox."""

    def __init__(
        self,
        *,
        live_max_age_s: int = 30,
        outbox: MemoryOutbox | None = None,
        correspondents: Sequence[Correspondent] = (),
        exchange: Exchange | None = None,
        **broker: Any,
    ) -> None:
        self.clock = ManualClock(boot_id=BOOT)
        self.writer = MemoryOutbox() if outbox is None else outbox
        self.reader = self.writer.view()
        self.board = MemoryStateBoard()
        self.exchange = exchange or CheckedExchange()
        self.broker = MemoryBroker(self.exchange, **broker)
        self.troubles = Troubles(self.clock)
        self.correspondents = correspondents
        self.present: list[Present] = []
        self.alerts: list[Trouble] = []
        self.forwarder = self.make(live_max_age_s)
        self.alive()

    def make(self, live_max_age_s: int = 30) -> Forwarder:
        return Forwarder(
            names=self.names(),
            live_max_age_s=live_max_age_s,
            outbox=self.reader,
            board=self.board,
            broker=self.broker,
            clock=self.clock,
            troubles=self.troubles,
            uniform=lambda _low, high: high,
            correspondents=self.correspondents,
        )

    def names(self, **changes: Any) -> Names:
        fields = {
            "base": "porter",
            "device": "lobby-01",
            "cameras": ("cam0",),
            "firmware": "0.1.0",
            "boot": BOOT,
        }
        return Names(**(fields | changes))

    def alive(self, **changes: Any) -> None:
        """The vision service shows itself."""
        presence = Presence(v=1, device="lobby-01", camera="cam0", ts=TIME, present=self.present)
        state = ServiceState(
            boot_ns=self.clock.now().boot_ns,
            stopping=False,
            info=VisionInfo(
                cameras=[CameraInfo(name="cam0", source="files", simulated=True)], models=[], subjects=2
            ),
            presence=[presence],
            troubles=self.alerts,
        )
        self.board.show(msgspec.structs.replace(state, **changes))

    def steps(self, count: int = 8, *, seconds: float = 0.25) -> None:
        """Turns of the worker, with time passing between them while the vision service is well."""
        for _ in range(count):
            self.forwarder.step()
            self.clock.advance(seconds)

    def event(self, number: int, **changes: Any) -> Event:
        """An event captured now."""
        mono_ms = self.clock.now().boot_ns // 1_000_000
        return make_event(number, **({"mono_ms": mono_ms, "boot": self.clock.boot_id} | changes))

    def bodies(self, suffix: str) -> list[Event]:
        return [msgspec.json.decode(message.payload, type=Event) for message in self.exchange.on(suffix)]

    def numbers(self, suffix: str) -> list[str]:
        return [event.id for event in self.bodies(suffix)]


def presence_on(rig: Rig) -> list[Presence]:
    return [
        msgspec.json.decode(message.payload, type=Presence) for message in rig.exchange.on("cam0/presence")
    ]
