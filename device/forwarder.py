# SPDX-License-Identifier: Apache-2.0
"""The forwarder: a connection to the broker, what is in flight on it, and what this device shows. No I/O but by ports.

What may surprise:

- What is in flight when a connection ends is forgotten. It comes again from the outbox, with the same id, and by then
  it may be late (`delivery.py`).
- A connection on which a publication stays unanswered is aborted; a live event waits only as long as it stays live.
  What a stalled link still holds could otherwise reach a door controller minutes later.
- All that is retained is sent again on every connection, before any event (`announcements.py`).
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from device.announcements import (
    KNOWN_ALERTS,
    Announcement,
    Names,
    announcements,
    nobody,
    status,
)
from device.broker_advice import advice
from device.delivery import NS, RETRY_MAX_S, Delivery, Parcel
from device.errors import BrokerUnavailable
from device.mqtt_messages import Acknowledged, Connected, Disconnected, Message, Received, SubscriptionRefused
from device.vigil import Vigil

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from device.correspondence import Correspondent
    from device.mqtt_messages import BrokerSignal
    from device.ports import Broker, Clock, Outbox, StateBoard
    from device.records import Stamp
    from device.troubles import Troubles

log = logging.getLogger("porter.forwarder")

POLL_S = 0.02
WINDOW = 32  # what is shown after connecting, alerts to clear included, leaves room for an event
WILL_DELAY_S = 5
ANSWER_NS = 20 * NS
LOOK_NS = NS // 4
STATE_RETRY_NS = 10 * NS
GOODBYE_S = 2.0
REFUSED = 0x80
# Up to so long until the next try, after one failure, two, ...: a broker that restarts is found again within 5 s.
RETRY_S = (2.0, 3.0, 3.0, 8.0, 16.0, 32.0, RETRY_MAX_S)


@dataclass(frozen=True, slots=True)
class InFlight:
    """A publication without PUBACK yet, and until when one is waited for (boot time)."""

    what: Parcel | Announcement | Message
    deadline_ns: int


class Forwarder:
    """The step of the forward worker. Everything but `ask` belongs to its thread."""

    def __init__(
        self,
        *,
        names: Names,
        live_max_age_s: int,
        outbox: Outbox,
        board: StateBoard,
        broker: Broker,
        clock: Clock,
        troubles: Troubles,
        uniform: Callable[[float, float], float],
        correspondents: Sequence[Correspondent] = (),
        idle_s: float = POLL_S,
    ) -> None:
        """idle_s: how long a step may wait when nothing is under way; more where commits end the broker's wait."""
        self.delivery = Delivery(outbox, clock, troubles, uniform)
        self._idle_s = idle_s
        self.connects = 0
        self._names = names
        self._live_max_age_s = live_max_age_s
        self._board = board
        self._broker = broker
        self._clock = clock
        self._troubles = troubles
        self._uniform = uniform
        self._correspondents = correspondents
        self._asked: deque[tuple[Names, int, Broker | None, Sequence[Correspondent]]] = deque()
        self._connecting = False
        self._window = 0
        self._in_flight: dict[int, InFlight] = {}
        self._failures = 0
        self._retry_ns = 0
        self._last_reason = ""
        self._codes = set(KNOWN_ALERTS)
        self._shown: dict[str, tuple[object, int]] = {}
        self._refused: set[str] = set()
        self._look_ns = 0
        self.vigil = Vigil(troubles, clock.now())
        self.certificate_ends_ns: int | None = None  # the broker's, as the last connection showed it

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted us."""
        return self._window > 0

    def ask(
        self,
        names: Names,
        live_max_age_s: int,
        broker: Broker | None,
        correspondents: Sequence[Correspondent] = (),
    ) -> None:
        """From any thread: what a reload brought. A new broker (None: keep it) is connected to after a goodbye."""
        self._asked.append((names, live_max_age_s, broker, correspondents))

    def republish(self) -> None:
        """On the worker's thread: all that is retained is sent once more."""
        self._shown.clear()
        self._look_ns = 0
        for correspondent in self._correspondents:
            correspondent.connected(self._clock.now())

    def step(self) -> None:
        """One turn: network, outbox, board. Takes `idle_s` when there is nothing to do."""
        while self._asked:
            self._adopt(*self._asked.popleft())
        if not self.connected and not self._connecting and self._clock.now().boot_ns >= self._retry_ns:
            self._connect()
        for signal in self._broker.poll(POLL_S if self.delivery.unsettled else self._idle_s):
            self._take(signal)
        now = self._clock.now()
        self.vigil.look_at_broker(now)
        self.delivery.settle(now)
        # A lock on the outbox, or a slow disk, may have taken seconds of a live event's life.
        now = self._clock.now()
        if self.connected and any(item.deadline_ns < now.boot_ns for item in self._in_flight.values()):
            self._broker.abort()
            self._lost("no acknowledgement in time")
        if self.connected and self._show(now):
            self._send_events(now)
            self._correspond(now)

    def close(self) -> None:
        """The worker's cleanup: says goodbye and closes the outbox."""
        self._goodbye()
        self.delivery.close()

    def _adopt(
        self,
        names: Names,
        live_max_age_s: int,
        broker: Broker | None,
        correspondents: Sequence[Correspondent],
    ) -> None:
        if broker is not None:
            self._goodbye()
            self._broker, self._retry_ns, self._failures = broker, 0, 0
        self._names, self._live_max_age_s, self._correspondents = names, live_max_age_s, correspondents
        if self.connected:
            self._introduce()

    def _connect(self) -> None:
        self._connecting = True
        try:
            self._broker.connect(status(self._names, "offline"), WILL_DELAY_S)
        except BrokerUnavailable as error:
            self._lost(error.message)

    def _take(self, signal: BrokerSignal) -> None:
        if isinstance(signal, Connected):
            log.info("connected protocol=%s window=%d", signal.protocol, signal.receive_maximum)
            self._connecting, self._window = False, min(WINDOW, signal.receive_maximum)
            self._last_reason = ""
            self.certificate_ends_ns = signal.certificate_ends_ns
            self.vigil.connected(self._clock.now())
            self.connects += 1
            self._shown.clear()
            self._refused.clear()
            self._look_ns = 0
            self.delivery.begin()
            self._introduce()
        elif isinstance(signal, Received):
            for correspondent in self._correspondents:
                correspondent.received(signal, self._clock.now())
        elif isinstance(signal, SubscriptionRefused):
            log.error("subscription_refused filter=%s code=0x%02x", signal.topic_filter, signal.reason_code)
        elif isinstance(signal, Disconnected):
            self._lost(signal.reason)
        elif isinstance(signal, Acknowledged):
            item = self._in_flight.pop(signal.handle, None)
            if item is not None:
                self._answered(item.what, signal.reason_code)

    def _introduce(self) -> None:
        """A new connection, or new correspondents: subscribes to what they want to hear."""
        filters = sorted({name for each in self._correspondents for name in each.filters})
        try:
            if filters:
                self._broker.subscribe(filters)
        except BrokerUnavailable as error:
            self._lost(error.message)
            return
        for correspondent in self._correspondents:
            correspondent.connected(self._clock.now())

    def _correspond(self, now: Stamp) -> None:
        """What is due beside events and retained state, after them: it never takes an event's place."""
        for correspondent in self._correspondents:
            for message in correspondent.due(self._room(), now):
                if self.connected:
                    self._send(message, now)

    def _lost(self, reason: str) -> None:
        """Forgets the connection; the next try comes after 1 s at least, 60 s at most."""
        if not self.connected and not self._connecting:
            return  # known already: a failed publication is reported by the next poll as well
        self._in_flight.clear()
        self._connecting, self._window = False, 0
        self._failures += 1
        delay_s = self._uniform(1.0, RETRY_S[min(self._failures, len(RETRY_S)) - 1])
        self._retry_ns = self._clock.now().boot_ns + round(delay_s * NS)
        level = logging.DEBUG if reason == self._last_reason else logging.WARNING
        log.log(level, "disconnected reason=%r retry_s=%.1f hint=%r", reason, delay_s, advice(reason))
        self.vigil.lost(reason, self._clock.now())
        self._last_reason = reason

    def _answered(self, what: Parcel | Announcement | Message, reason_code: int) -> None:
        if isinstance(what, Message):
            if reason_code >= REFUSED:
                log.warning("message_refused topic=%s reason_code=0x%02x", what.topic, reason_code)
            return
        if reason_code >= REFUSED:
            if isinstance(what, Parcel):
                self.delivery.refused(reason_code, self._clock.now())
            else:
                self._state_refused(what.message.topic, reason_code)
            return
        self._failures = 0
        if isinstance(what, Parcel):
            self.delivery.delivered(what, reason_code)
        elif not what.message.payload:  # the broker has nothing left to clear there
            self._codes.discard(what.message.topic.rpartition("/")[2])

    def _state_refused(self, topic: str, reason_code: int) -> None:
        """Tries this topic, and with it all that is due, again in a while."""
        if topic not in self._refused:
            log.warning("state_refused topic=%s reason_code=0x%02x", topic, reason_code)
        self._refused.add(topic)
        self._shown.pop(topic, None)
        self._look_ns = self._clock.now().boot_ns + STATE_RETRY_NS

    def _goodbye(self) -> None:
        """Nobody is present, we are offline, and what is in flight gets a last chance to be acknowledged."""
        if not self.connected:
            self._broker.abort()
            self._connecting = False
            return
        now = self._clock.now()
        last_words = [*nobody(self._names, now), Announcement(status(self._names, "offline"), "offline")]
        for _ in range(round(GOODBYE_S / POLL_S)):
            while last_words and self._room():
                self._send(last_words.pop(0), self._clock.now())
            if not self._in_flight or self._clock.now().boot_ns - now.boot_ns > GOODBYE_S * NS:
                break
            for signal in self._broker.poll(POLL_S):
                self._take(signal)
        self.delivery.settle(self._clock.now(), at_once=True)
        if last_words or self._in_flight:
            self._broker.abort()  # they may not have arrived: let the broker publish the will
        else:
            self._broker.disconnect()
        self._in_flight.clear()
        self._window = 0

    def _room(self) -> int:
        return max(0, self._window - len(self._in_flight))

    def _send(self, what: Parcel | Announcement | Message, now: Stamp) -> None:
        message = what if isinstance(what, Message) else what.message
        left_ns = what.left_ns if isinstance(what, Parcel) else None
        wait_ns = ANSWER_NS if left_ns is None else min(ANSWER_NS, max(NS, left_ns))
        try:
            handle = self._broker.publish(message)
        except BrokerUnavailable as error:
            self._lost(error.message)
            return
        if message.qos:
            self._in_flight[handle] = InFlight(what, now.boot_ns + wait_ns)

    def _send_events(self, now: Stamp) -> None:
        if not self._room():
            return
        in_flight = sum(isinstance(item.what, Parcel) for item in self._in_flight.values())
        for event in self.delivery.next(self._room(), in_flight, now):
            if self.connected:
                now = self._clock.now()  # reading may have taken its time, too
                self._send(self.delivery.parcel(event, self._names, self._live_max_age_s, now), now)

    def _show(self, now: Stamp) -> bool:
        """Publishes what is not shown yet or is to be repeated. False where the window did not take all of it."""
        if now.boot_ns < self._look_ns:
            return True
        state = self._board.read()
        self.vigil.look(state, now)
        for due in announcements(self._names, state, self._troubles.standing(), self._codes, now):
            content, sent_ns = self._shown.get(due.message.topic, (self, 0))
            stale = due.repeat_s and now.boot_ns - sent_ns >= due.repeat_s * NS
            if content == due.content and not stale:
                continue
            if not self._room():
                return False
            self._shown[due.message.topic] = (due.content, now.boot_ns)
            self._send(due, now)
        self._look_ns = now.boot_ns + LOOK_NS
        return True
