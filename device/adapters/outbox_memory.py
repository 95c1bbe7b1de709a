# SPDX-License-Identifier: Apache-2.0
"""An outbox that lives as long as its process: for tests and replays.

Two views of one outbox, as two processes would have, come from `view()`: what one commits, the other's `changed` sees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET

from device.errors import StorageError
from device.payloads import without_label

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from device.payloads import Event


class MemoryOutbox:
    """Failures are asked for in the constructor.

    full_after: appends beyond so many events fail; unreadable: every peek fails; stuck: every acknowledge fails.
    holds: beyond so many events the oldest are dropped, as by a file of bounded size.
    waits: called in every acknowledge, for a test's clock to move as if somebody else held the lock.
    """

    def __init__(
        self,
        *,
        full_after: int | None = None,
        unreadable: bool = False,
        stuck: bool = False,
        holds: int | None = None,
        waits: Callable[[], None] | None = None,
    ) -> None:
        self.full_after = full_after
        self.unreadable = unreadable
        self.stuck = stuck
        self.holds = holds
        self._dropped = [0]
        self.waits = waits
        self._events: list[Event] = []
        self._last_seq: dict[str, int] = {}
        self._commits: dict[int, int] = {}
        self._seen = 0

    def view(self) -> MemoryOutbox:
        """The same outbox as another process has it open."""
        other = MemoryOutbox(
            full_after=self.full_after,
            unreadable=self.unreadable,
            stuck=self.stuck,
            holds=self.holds,
            waits=self.waits,
        )
        other._dropped = self._dropped
        other._events, other._last_seq, other._commits = self._events, self._last_seq, self._commits
        return other

    def append(self, events: Sequence[Event]) -> Sequence[Event]:
        """Keeps the events, all or none."""
        if self.full_after is not None and len(self._events) + len(events) > self.full_after:
            raise StorageError("outbox: database or disk is full", hint="a failure asked for by a test")
        committed = []
        for event in events:
            seq = self._last_seq.get(event.boot, 0) + 1
            self._last_seq[event.boot] = seq
            committed.append(msgspec.structs.replace(event, seq=seq))
        self._events.extend(committed)
        if self.holds is not None and len(self._events) > self.holds:
            self._dropped[0] += len(self._events) - self.holds
            self._events[:] = self._events[-self.holds :]
        self._commit()
        return committed

    def peek(self, limit: int, *, after: tuple[str, int] | None = None) -> Sequence[Event]:
        """The oldest events, boots in the order in which they first appeared."""
        if self.unreadable:
            raise StorageError("outbox: disk I/O error", hint="a failure asked for by a test")
        order = {boot: number for number, boot in enumerate(self._last_seq)}
        events = sorted(self._events, key=lambda event: (order[event.boot], event.seq))
        if after is not None:
            boot, seq = order.get(after[0], -1), after[1]
            events = [event for event in events if (order[event.boot], event.seq) > (boot, seq)]
        return events[:limit]

    def acknowledge(self, ids: Iterable[str]) -> None:
        """Forgets these events."""
        if self.waits is not None:
            self.waits()
        if self.stuck:
            raise StorageError("outbox: database or disk is full", hint="a failure asked for by a test")
        gone = set(ids)
        left = [event for event in self._events if event.id not in gone]
        if len(left) < len(self._events):
            self._events[:] = left
            self._commit()

    def forget_label(self, ref: str) -> int:
        """Takes the label out of all waiting events about `ref`; returns of how many."""
        if self.stuck:
            raise StorageError("outbox: database or disk is full", hint="a failure asked for by a test")
        named = [e.id for e in self._events if e.person.ref == ref and e.person.label is not UNSET]
        self._events[:] = [without_label(e) if e.id in named else e for e in self._events]
        if named:
            self._commit()
        return len(named)

    def drop(self, ids: Iterable[str]) -> None:
        """Forgets these events and counts them."""
        before = len(self._events)
        self.acknowledge(ids)
        self._dropped[0] += before - len(self._events)

    def dropped(self) -> int:
        """How many were given up."""
        return self._dropped[0]

    def depth(self) -> int:
        """How many events wait."""
        return len(self._events)

    def changed(self) -> bool:
        """Whether another view committed since the last call; True the first time."""
        others = 1 + sum(count for view, count in self._commits.items() if view != id(self))
        changed, self._seen = others != self._seen, others
        return changed

    def close(self) -> None:
        """Nothing to close."""

    def _commit(self) -> None:
        self._commits[id(self)] = self._commits.get(id(self), 0) + 1
