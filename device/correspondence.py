# SPDX-License-Identifier: Apache-2.0
"""What the forwarder carries beside events and retained state: commands, health, discovery.

Each is a `Correspondent`: it names what it wants to hear, and hands over what is due. It never waits, never does I/O
of its own on the connection, and belongs to the forwarder's thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from device.mqtt_messages import Message, Received
    from device.records import Stamp


class Correspondent(Protocol):
    """One exchange of messages with a purpose of its own."""

    @property
    def filters(self) -> Sequence[str]:
        """The topic filters it wants to hear; subscribed to on every connection."""
        ...

    def connected(self, now: Stamp) -> None:
        """A connection stands, a reload put this correspondent in place, or all is to be said again."""
        ...

    def received(self, message: Received, now: Stamp) -> None:
        """Something arrived on some filter, perhaps another's; whatever it is, it raises nothing."""
        ...

    def due(self, limit: int, now: Stamp) -> Sequence[Message]:
        """Up to `limit` messages to publish now. Each is handed over once: a lost connection loses it."""
        ...
