# SPDX-License-Identifier: Apache-2.0
"""What to do next about an Edge TPU that fails: a ladder of remedies as a state machine, without I/O; time is given.

While it is in use and an invocation fails: try once more; then a new delegate; then leave it. Away from it, a try is:
ask in a child process whether it works, have its port reset where it does not, ask again, and take it back. Tries come
at longer and longer intervals, from at once to every half hour, and at once again after it has worked for half an hour.

- Whoever runs the models has moved on (to the CPU, or to nothing) as soon as `LEAVE` was said: no remedy that takes
  seconds is tried while somebody stands at the door and is not looked at, if the CPU may look.
- A remedy that helped is not begun with again where it fails within a minute after.
- A process that died with the Edge TPU in its hands says nothing itself: its successor is told how many did lately, and
  from the third on begins away from it. So a library that crashes is no restart loop.

In use, the methods are called by the thread that invokes; away from it, by the one that tries to return. Never by both:
`failed` hands over with LEAVE, `opened` hands back.
"""

from __future__ import annotations

from enum import Enum

NS = 1_000_000_000
MENDED_NS = 60 * NS  # what fails within so long after a remedy was not mended by it
STEADY_NS = 1800 * NS  # what worked for so long is tried again at once
PAUSES_NS = (0, 60 * NS, 120 * NS, 240 * NS, 480 * NS, 960 * NS, 1800 * NS)
DEATHS = 3  # so many processes may die with it before one begins without it
MEMORY_NS = 6 * 3600 * NS  # and for so long their deaths count


class Do(Enum):
    """The next thing to do."""

    RETRY = "the same invocation again"
    RELOAD = "a new delegate, the old one dropped first"
    LEAVE = "stop using it"
    REST = "nothing until the next try is due"
    PROBE = "ask in a child process whether it works"
    RESET = "have its USB port reset"
    OPEN = "take it back into use"
    USE = "nothing: it is in use"


class Care:
    """The state. now_ns is boot time throughout."""

    def __init__(self, now_ns: int, *, deaths: int = 0, may_reset: bool = True) -> None:
        self._may_reset = may_reset
        self._rung = 0
        self._failed_ns: int | None = None
        self._used_ns = now_ns
        self._waited = 0  # how far the pauses have grown
        self._due_ns = now_ns
        self.next = self._first = Do.PROBE
        self._was_reset = False
        if deaths >= DEATHS:
            self._waited = min(deaths - DEATHS + 1, len(PAUSES_NS) - 1)
            self._rest(now_ns)

    @property
    def trying(self) -> bool:
        """Whether a try to return is under way."""
        return self.next in (Do.PROBE, Do.RESET, Do.OPEN)

    def failed(self, now_ns: int) -> Do:
        """An invocation failed, or the new delegate that was to mend it could not be made: RETRY, RELOAD or LEAVE."""
        recent = self._failed_ns is not None and now_ns - self._failed_ns < MENDED_NS
        self._rung = self._rung + 1 if recent else 0
        self._failed_ns = now_ns
        if self._rung < 2:
            return (Do.RETRY, Do.RELOAD)[self._rung]
        self._failed_ns, self._rung = None, 0
        if now_ns - self._used_ns >= STEADY_NS:
            self._waited = 0
        # It was seen to fail: in the first try the port is reset before anything else.
        self._rest(now_ns, first=Do.RESET if self._may_reset else Do.PROBE)
        return Do.LEAVE

    def look(self, now_ns: int) -> Do:
        """What is to be done now: a try begins when its time has come."""
        if self.next is Do.REST and now_ns >= self._due_ns:
            self.next, self._was_reset = self._first, False
        return self.next

    def probed(self, now_ns: int, *, works: bool, curable: bool = True) -> None:
        """What the child process found. curable: whether a reset could help; not where a library is missing."""
        if works:
            self.next = Do.OPEN
        elif curable and self._may_reset and not self._was_reset:
            self.next = Do.RESET
        else:
            self._try_failed(now_ns)

    def was_reset(self) -> None:
        """The port was reset, or could not be: either way the probe has the word."""
        self._was_reset = True
        self.next = Do.PROBE

    def opened(self, now_ns: int, *, works: bool) -> None:
        """Whether it could be taken back into use."""
        if works:
            self.next = Do.USE
            self._used_ns = now_ns
            self._failed_ns = None
        else:
            self._try_failed(now_ns)

    def _try_failed(self, now_ns: int) -> None:
        self._waited = max(self._waited, 1)
        self._rest(now_ns)

    def _rest(self, now_ns: int, first: Do = Do.PROBE) -> None:
        self._first = first
        self.next = Do.REST
        self._due_ns = now_ns + PAUSES_NS[self._waited]
        self._waited = min(self._waited + 1, len(PAUSES_NS) - 1)
