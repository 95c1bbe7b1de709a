# SPDX-License-Identifier: Apache-2.0
"""What a subscriber hears of Porter's devices: gaps and repeats found, and each message in a line. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from device.payloads import Alert, CommandResult, Event, Health, Info, Presence, rfc3339

if TYPE_CHECKING:
    from device.contract import Judged
    from device.mqtt_messages import Received
    from device.records import Stamp

REMEMBERED = 100_000


class HeardMessage(msgspec.Struct, frozen=True):
    """One message: its channel (empty: none of the contract's), and what was noticed."""

    topic: str
    channel: str
    retained: bool
    problems: list[str]
    notes: list[str]
    body: Any
    properties: dict[str, str]


class Listener:
    """Remembers each device's newest event a boot, and the ids of the last REMEMBERED events."""

    def __init__(self) -> None:
        self.messages = 0
        self.events = 0
        self.gaps = 0
        self.repeats = 0
        self.problems = 0
        self._newest: dict[tuple[str, str], int] = {}
        self._missing: dict[tuple[str, str], set[int]] = {}
        self._ids: dict[str, None] = {}

    def hear(self, message: Received, judged: Judged) -> HeardMessage:
        """Counts the message and says what is to be said of it."""
        self.messages += 1
        self.problems += bool(judged.problems)
        notes = self._event(judged.body) if isinstance(judged.body, Event) else []
        body: Any = judged.body
        if body is None:
            body = message.payload.decode("utf-8", "replace")[:2000]
        return HeardMessage(
            message.topic,
            judged.channel.name if judged.channel else "",
            message.retained,
            list(judged.problems),
            notes,
            body,
            dict(message.properties),
        )

    def summary(self) -> str:
        """The end of it, in a line."""
        return (
            f"{self.messages} messages, {self.events} events; {self.repeats} repeats, {self.gaps} events missing, "
            f"{self.problems} messages against the contract"
        )

    def _event(self, event: Event) -> list[str]:
        """Repeats and gaps. Events of a boot come in the order of `seq`; one that comes again may be late."""
        if event.id in self._ids:
            self.repeats += 1
            return ["a repeat: drop it by its id"]
        self.events += 1
        self._ids[event.id] = None
        if len(self._ids) > REMEMBERED:
            del self._ids[next(iter(self._ids))]
        key = (event.device, event.boot)
        newest, missing = self._newest.get(key), self._missing.setdefault(key, set())
        if event.seq in missing:
            missing.discard(event.seq)
            self.gaps -= 1
            return [f"seq {event.seq} came after all"]
        if newest is not None and event.seq <= newest:
            return [f"seq {event.seq} after {newest}"]
        self._newest[key] = event.seq
        if newest is None or event.seq == newest + 1:
            return []
        lost = range(newest + 1, event.seq)
        self.gaps += len(lost)
        missing.update(lost[-1000:])
        return [f"seq {lost[0]} to {lost[-1]} missing" if len(lost) > 1 else f"seq {lost[0]} missing"]


def line_of(heard: HeardMessage, now: Stamp) -> str:
    """One message as a line, and a line more for each problem and note."""
    marks = "".join(f"\n    ! {problem}" for problem in heard.problems)
    marks += "".join(f"\n    . {note}" for note in heard.notes)
    kept = " (retained)" if heard.retained else ""
    return f"{rfc3339(now.utc_ns)[11:19]} {heard.topic}{kept}: {words(heard.body)}{marks}"


def words(body: Any) -> str:
    """The gist of a body."""
    match body:
        case Event():
            who = body.person.label if isinstance(body.person.label, str) else body.person.ref
            score = f"score {body.score:.2f} of {body.threshold:.2f}"
            return f"{body.phase} of {who}, {score}, {body.delivery}, seq {body.seq}"
        case Presence():
            return f"{len(body.present)} present: {', '.join(one.person.ref for one in body.present) or 'nobody'}"
        case Info():
            return f"firmware {body.firmware}, {body.subjects} enrolled{', paused' if body.paused else ''}"
        case Alert():
            return f"since {body.ts}: {body.text}"
        case Health():
            fps = f"{body.vision.fps} fps" if body.vision else "vision silent"
            return f"{fps}, {body.outbox.depth} waiting, {body.outbox.dropped} dropped"
        case CommandResult():
            return "done" if body.ok else f"refused, {body.error}: {body.text}"
    return str(body) if body else "(empty)"
