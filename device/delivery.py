# SPDX-License-Identifier: Apache-2.0
"""Which event goes out next, on which topic, and when it may leave the outbox. No connection and no waiting here.

Late is not live: an event goes to `match` only in the boot that captured it and while a second at least is left of
`live_max_age`, both by boot time, which nobody can set. Everything else goes to `match/late`. The second is for the way
to the subscriber, and because MQTT expires by whole seconds: a shorter rest could only be sent as one too long.

What may surprise:

- An event leaves the outbox only by `delivered`. A new connection begins at the oldest again.
- Refused events (reason code from 0x80) come again after a while, oldest first, once nothing is in flight any more.
- By UTC alone nothing is given up before UTC has been steady for a day (`steady_utc.py`).
- An outbox that cannot be written makes no event come twice: what was delivered is remembered until it is gone.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from device.announcements import JSON
from device.errors import StorageError
from device.mqtt_messages import Message
from device.payloads import utc_ns_of
from device.steady_utc import SteadyUtc

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from device.announcements import Names
    from device.payloads import Event
    from device.ports import Clock, Outbox
    from device.records import Stamp
    from device.troubles import Troubles

log = logging.getLogger("porter.delivery")

NS = 1_000_000_000
LATE_EXPIRY_S = 7 * 24 * 3600
RETRY_MAX_S = 60.0
STORAGE_RETRY_NS = NS
DAY_NS = 24 * 3600 * NS
GATHER_NS = (
    NS // 20
)  # acknowledgements of so long leave the outbox in one commit: the medium wears by commits
NO_SUBSCRIBER = 0x10


@dataclass(slots=True)
class Counters:
    """What became of the events since the service began."""

    live: int = 0
    late: int = 0
    no_subscriber: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Parcel:
    """An event ready to go. left_ns: how long it stays live; None: it is late."""

    event: Event
    message: Message
    left_ns: int | None


class Delivery:
    """The outbox's side of the forwarder."""

    def __init__(
        self,
        outbox: Outbox,
        clock: Clock,
        troubles: Troubles,
        uniform: Callable[[float, float], float],
        *,
        max_age_days: int = 30,
    ) -> None:
        self.counters = Counters()
        self.max_age_days = max_age_days
        self._outbox = outbox
        self._clock = clock
        self._troubles = troubles
        self._uniform = uniform
        self._cursor: tuple[str, int] | None = None
        self._more = True
        self._rewind = False
        self._resume_ns = 0
        self._refusals = 0
        self._delivered: set[str] = set()
        self._read_ns = 0
        self._settle_ns = 0
        self._utc = SteadyUtc()

    @property
    def unsettled(self) -> bool:
        """Whether something delivered is still in the outbox."""
        return bool(self._delivered)

    def begin(self) -> None:
        """A new connection: from the oldest."""
        self._cursor, self._more, self._rewind, self._resume_ns = None, True, False, 0

    def next(self, limit: int, in_flight: int, now: Stamp) -> Sequence[Event]:
        """Up to `limit` events to publish; `in_flight` of them are still unanswered. Never raises."""
        if now.boot_ns < max(self._resume_ns, self._read_ns) or (self._rewind and in_flight):
            return []
        if self._rewind:
            self.begin()
        try:
            return self._read(limit)
        except StorageError as error:
            self._read_ns = self._storage_trouble(error, now)
            return []

    def parcel(self, event: Event, names: Names, live_max_age_s: int, now: Stamp) -> Parcel:
        """The event as it goes out at this moment."""
        age_ns = now.boot_ns - event.mono_ms * 1_000_000
        left_ns = live_max_age_s * NS - age_ns
        live = event.boot == self._clock.boot_id and age_ns >= 0 and left_ns >= NS
        body = msgspec.structs.replace(event, delivery="live" if live else "late")
        message = Message(
            names.topic(event.camera, "match") if live else names.topic(event.camera, "match", "late"),
            msgspec.json.encode(body),
            expiry_s=left_ns // NS if live else LATE_EXPIRY_S,
            content_type=JSON,
            properties=cloud_event(event, names),
        )
        return Parcel(event, message, left_ns if live else None)

    def delivered(self, parcel: Parcel, reason_code: int) -> None:
        """PUBACK: the event may leave the outbox, which `settle` does."""
        self._refusals = 0
        self._troubles.clear("delivery_refused")
        self.counters.no_subscriber += reason_code == NO_SUBSCRIBER
        if parcel.left_ns is None:
            self.counters.late += 1
        else:
            self.counters.live += 1
        self._delivered.add(parcel.event.id)

    def refused(self, reason_code: int, now: Stamp) -> None:
        """The broker said no: keep it, wait, begin again at the oldest."""
        self.counters.refused += 1
        if self._rewind:
            return  # of the same window: one refusal of many events is one reason to wait, not many
        self._rewind = True
        self._refusals += 1
        delay_s = self._uniform(1.0, min(RETRY_MAX_S, 2.0 ** min(self._refusals, 10)))
        self._resume_ns = now.boot_ns + round(delay_s * NS)
        self._troubles.raise_(
            "delivery_refused",
            f"the broker refuses events with reason code 0x{reason_code:02x}; the outbox keeps them",
            "0x87: may this user write below the device's topic? 0x97: the broker's quota is used up",
        )

    def settle(self, now: Stamp, *, at_once: bool = False) -> None:
        """Takes what was delivered out of the outbox, again later where the disk refuses. at_once: gathers no more."""
        self._utc.seen(now)
        if not self._delivered:
            self._settle_ns = max(self._settle_ns, now.boot_ns + GATHER_NS)
            return
        if now.boot_ns < self._settle_ns and not at_once:
            return
        try:
            self._outbox.acknowledge(sorted(self._delivered))
        except StorageError as error:  # delivery goes on: a full disk can still be read
            self._settle_ns = self._storage_trouble(error, now)
        else:
            self._delivered.clear()
            self._troubles.clear("outbox_failed")

    def close(self) -> None:
        """Closes the outbox."""
        self._outbox.close()

    def _read(self, limit: int) -> list[Event]:
        self._more = self._outbox.changed() or self._more
        found: list[Event] = []
        while self._more and len(found) < limit:
            events = self._outbox.peek(limit - len(found), after=self._cursor)
            self._more = bool(events)
            if events:
                self._cursor = (events[-1].boot, events[-1].seq)
                found += self._worth_sending([event for event in events if event.id not in self._delivered])
        if not self._delivered:  # else it is `settle` that knows whether the outbox is well
            self._troubles.clear("outbox_failed")
        return found

    def _worth_sending(self, events: list[Event]) -> list[Event]:
        """Gives up what is older than anybody wants to hear of."""
        now = self._clock.now()
        now = replace(now, synced=self._utc.believed(now))
        old = [event.id for event in events if age_days(event, self._clock.boot_id, now) > self.max_age_days]
        if not old:
            return events
        try:
            self._outbox.drop(old)
        except StorageError as error:  # they are passed over now, and dropped when there is room again
            log.warning("events_dropped count=%d written=no error=%r", len(old), error.message)
        else:
            log.warning("events_dropped count=%d text='older than events.outbox_keep_days'", len(old))
        return [event for event in events if event.id not in old]

    def _storage_trouble(self, error: StorageError, now: Stamp) -> int:
        """Raises the alert; returns when to try again (boot time, ns)."""
        self._troubles.raise_("outbox_failed", error.message, error.hint)
        return now.boot_ns + STORAGE_RETRY_NS


def age_days(event: Event, boot_id: str, now: Stamp) -> float:
    """How old an event is by what can be trusted: boot time within a boot, else UTC where both ends were synchronised.

    0 where nobody can tell: it is kept, and the size of the outbox bounds how much of that there can be.
    """
    if event.boot == boot_id:
        return (now.boot_ns - event.mono_ms * 1_000_000) / DAY_NS
    if event.clock != "synced" or not now.synced:
        return 0.0
    try:
        return (now.utc_ns - utc_ns_of(event.ts)) / DAY_NS
    except (ValueError, OverflowError):
        return 0.0


def cloud_event(event: Event, names: Names) -> tuple[tuple[str, str], ...]:
    """CloudEvents 1.0, binary mode of its MQTT binding: the attributes are user properties, the body is the data."""
    return (
        ("specversion", "1.0"),
        ("id", event.id),
        ("source", f"/{names.topic(event.camera)}"),
        ("type", f"porter.match.{event.phase}.v1"),
        ("time", event.ts),
    )
