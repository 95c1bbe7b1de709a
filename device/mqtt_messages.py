# SPDX-License-Identifier: Apache-2.0
"""What passes between a broker adapter and the forwarder: messages out, signals in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Message:
    """One MQTT publication. `expiry_s`, `properties` (user properties) and `correlation` exist on MQTT 5 only."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False
    expiry_s: int | None = None
    content_type: str = ""
    properties: tuple[tuple[str, str], ...] = ()
    correlation: bytes = b""


@dataclass(frozen=True, slots=True)
class Connected:
    """The broker accepted us. `protocol` is "5" or "3.1.1"; `receive_maximum` bounds what may be in flight.

    certificate_ends_ns: when the broker's certificate ends (UTC); None where it was not asked for one.
    """

    protocol: str
    receive_maximum: int = 65535
    certificate_ends_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection is gone, or was refused; nothing in flight will be acknowledged any more."""

    reason: str


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """PUBACK for the publication with this handle. `reason_code` >= 0x80 means refused; 0x10 nobody subscribed."""

    handle: int
    reason_code: int = 0


@dataclass(frozen=True, slots=True)
class Received:
    """A message on a topic we subscribed to. All but the first three exist on MQTT 5 only; expiry_s: what is left."""

    topic: str
    payload: bytes
    retained: bool = False
    properties: Mapping[str, str] = field(default_factory=dict)
    expiry_s: int | None = None
    correlation: bytes = b""
    response_topic: str = ""


@dataclass(frozen=True, slots=True)
class SubscriptionRefused:
    """The broker does not let us hear `topic_filter`; the connection stands."""

    topic_filter: str
    reason_code: int


BrokerSignal = Connected | Disconnected | Acknowledged | Received | SubscriptionRefused
