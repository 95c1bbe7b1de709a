# SPDX-License-Identifier: Apache-2.0
"""Commands from the broker: pause, resume, identify, restart, republish; each is answered on `cmd/{verb}/result`.

A command can make Porter look away, and look again. None can enrol, touch the gallery or change what matches: what
reaches the vision service is a `Wish` of three words (never 2). What may surprise:

- A retained command is refused: the broker would repeat it at every connection, long after anybody meant it.
- A repeat of what was done (same verb, and same correlation data or `corr`) is answered as before, and not done again.
- The answer to pause and resume comes when the vision service has done it, not when it was asked.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

from device.announcements import JSON
from device.errors import StorageError
from device.mqtt_messages import Message
from device.payloads import Command, CommandResult, Wish, rfc3339, utc_ns_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from device.announcements import Names
    from device.mqtt_messages import Received
    from device.ports import Lamp, StateBoard, Wishes
    from device.records import Stamp

log = logging.getLogger("porter.orders")

NS = 1_000_000_000
MAX_BYTES = 4096
MAX_WAITING = 16
REMEMBERED = 64
PATIENCE_NS = 5 * NS
BLINK_NS = 10 * NS
RESTART_AFTER_NS = NS
VERBS = ("pause", "resume", "identify", "restart", "republish")


@dataclass(frozen=True, slots=True)
class Order:
    """A command that was understood. verb: as in its topic. key: by which a repeat is known; empty: by nothing."""

    verb: str
    corr: str
    correlation: bytes
    key: bytes


@dataclass(frozen=True, slots=True)
class Wished:
    """An order that the vision service has yet to grant."""

    order: Order
    number: int
    deadline_ns: int


class Orders:
    """The correspondent for `cmd/+`."""

    def __init__(
        self,
        names: Names,
        *,
        board: StateBoard,
        wishes: Wishes,
        lamp: Lamp,
        republish: Callable[[], None],
        restart: Callable[[], None],
    ) -> None:
        self._names = names
        self._prefix = names.topic("cmd") + "/"
        self._board = board
        self._wishes = wishes
        self._lamp = lamp
        self._republish = republish
        self._restart = restart
        self._results: deque[Message] = deque()
        self._wished: list[Wished] = []
        self._done: OrderedDict[bytes, Message] = OrderedDict()
        self._lamp_until_ns: int | None = None
        self._restart_ns: int | None = None

    @property
    def filters(self) -> Sequence[str]:
        """One level only: results are not commands."""
        return (self._prefix + "+",)

    def connected(self, now: Stamp) -> None:  # noqa: ARG002
        """A reload may have put us in the place of somebody who let the lamp blink."""
        if self._lamp_until_ns is None:
            self._lamp.switch(on=False)

    def received(self, message: Received, now: Stamp) -> None:
        """Carries the command out, or refuses it; the result waits for `due`."""
        if not message.topic.startswith(self._prefix):
            return
        verb = message.topic.removeprefix(self._prefix)
        if len(self._results) + len(self._wished) >= MAX_WAITING:
            log.warning("command_dropped verb=%r text='too many wait for their answers'", verb[:40])
            return
        command, error, text = understood(verb, message, now)
        mark = message.correlation or command.corr.encode()
        key = verb.encode() + b"/" + mark if mark else b""
        order = Order(verb, command.corr, message.correlation, key)
        if key and key in self._done:
            self._results.append(self._done[key])
            return
        if any(key and key == wished.order.key for wished in self._wished):
            return  # its answer is on its way
        if error:
            self._answer(order, now, error, text)
        else:
            log.info("command verb=%s", verb)
            self._carry_out(order, command, now)

    def due(self, limit: int, now: Stamp) -> Sequence[Message]:
        """The results that are ready."""
        self._look_at_wishes(now)
        if self._lamp_until_ns is not None and now.boot_ns >= self._lamp_until_ns:
            self._lamp_until_ns = None
            self._lamp.switch(on=False)
        if self._restart_ns is not None and now.boot_ns >= self._restart_ns and not self._results:
            self._restart_ns = None
            self._restart()
        return [self._results.popleft() for _ in range(min(limit, len(self._results)))]

    def _carry_out(self, order: Order, command: Command, now: Stamp) -> None:
        if order.verb == "republish":
            self._republish()
            self._answer(order, now, "", "what is retained is sent again")
        elif order.verb == "identify":
            if self._lamp.switch(on=True):
                self._lamp_until_ns = now.boot_ns + BLINK_NS
                self._answer(order, now, "", f"the board's LED blinks for {BLINK_NS // NS} s")
            else:
                self._answer(order, now, "unavailable", "no LED that may be used")
        else:
            verb = "resume" if order.verb == "pause" and not command.on else order.verb
            self._wish(order, verb, now)  # type: ignore[arg-type]  # one of VERBS, and not the two above

    def _wish(self, order: Order, verb: Literal["pause", "resume", "restart"], now: Stamp) -> None:
        before = self._wishes.read()
        number = before.number + 1 if before else 1
        try:
            self._wishes.show(Wish(number=number, verb=verb))
        except StorageError as error:
            self._answer(order, now, "unavailable", error.message)
            return
        if verb == "restart":  # it ends before it could say that it heard
            self._restart_ns = now.boot_ns + RESTART_AFTER_NS
            self._answer(order, now, "", "both services start again")
        else:
            self._wished.append(Wished(order, number, now.boot_ns + PATIENCE_NS))

    def _look_at_wishes(self, now: Stamp) -> None:
        if not self._wished:
            return
        state = self._board.read()
        waiting, self._wished = self._wished, []
        for wished in waiting:
            if state is not None and state.wish >= wished.number:
                text = "nobody is looked at" if state.paused else "Porter looks"
                self._answer(wished.order, now, "", text)
            elif now.boot_ns >= wished.deadline_ns:
                self._answer(wished.order, now, "no_answer", "the vision service did not answer in time")
            else:
                self._wished.append(wished)

    def _answer(self, order: Order, now: Stamp, error: str, text: str) -> None:
        if error:
            log.warning("command_refused verb=%r error=%s", order.verb[:40], error)
        body = CommandResult(
            v=1,
            device=self._names.device,
            verb=order.verb[:40],
            corr=order.corr,
            ok=not error,
            error=error,  # type: ignore[arg-type]  # one of the words of the type
            text=text,
            ts=rfc3339(now.utc_ns),
        )
        topic = self._names.topic("cmd", order.verb[:40], "result")
        message = Message(topic, msgspec.json.encode(body), content_type=JSON, correlation=order.correlation)
        self._results.append(message)
        if order.key and not error:  # what was refused may be right at another moment
            self._done[order.key] = message
            while len(self._done) > REMEMBERED:
                self._done.popitem(last=False)


def understood(verb: str, message: Received, now: Stamp) -> tuple[Command, str, str]:
    """The command, and where it is refused the word for it and a sentence."""
    nothing = Command()
    if len(message.payload) > MAX_BYTES:
        return nothing, "too_large", f"expected at most {MAX_BYTES} bytes, got {len(message.payload)}"
    try:
        command = msgspec.json.decode(message.payload or b"{}", type=Command)
        until_ns = utc_ns_of(command.valid_until) if command.valid_until else None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError, OverflowError) as error:
        return nothing, "malformed", f"expected a JSON object with corr, valid_until, on: {error}"[:300]
    if message.retained:
        return (
            command,
            "retained",
            "a retained command would be repeated at every connection; publish it unretained",
        )
    if verb not in VERBS:
        return command, "unknown", f"expected one of {', '.join(VERBS)}"
    if message.expiry_s == 0 or (until_ns is not None and (not now.synced or now.utc_ns > until_ns)):
        unset = "whether its time has passed cannot be told: the clock is not set"
        return command, "expired", "its time has passed" if now.synced else unset
    return command, "", ""
