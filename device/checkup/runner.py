# SPDX-License-Identifier: Apache-2.0
"""Runs the checks beside one another, each with its own time limit, so that nothing that hangs holds up the rest.

A check is code that waits for the world: a resolver, a card that dies, another program. A thread cannot be stopped
from outside, so one that does not come back in time is left alone (a daemon thread, which ends with the process) and
that is what its finding says. A check that fails by itself is a finding as well, never the end of the report.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from device.checkup.finding import Finding
from device.errors import PorterError
from device.supervisor import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

T = TypeVar("T")
# With the service's answer before (`service.ANSWER_S`) and Python's start this stays below 10 s.
LIMIT_S = 5.5


@dataclass(frozen=True, slots=True)
class Check:
    """One subject. look: yields its findings as it finds them."""

    what: str
    look: Callable[[], Iterable[Finding]]
    limit_s: float = LIMIT_S


def examine(checks: Sequence[Check], now: Callable[[], float] = time.monotonic) -> list[Finding]:
    """All findings, in the order of the checks; no check is waited for beyond its limit."""
    began = now()
    running = [_Running(check) for check in checks]
    return [finding for each in running for finding in each.outcome(began, now)]


class _Running:
    """A check on its way."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self._found: list[Finding] = []
        self._worker = Worker(f"check-{check.what}", self._look)
        self._worker.start()

    def outcome(self, began: float, now: Callable[[], float]) -> list[Finding]:
        """What it found until its limit, and whether that was all."""
        what, limit_s = self._check.what, self._check.limit_s
        if not self._worker.join(max(0.0, began + limit_s - now())):
            hint = "what it waits for hangs, or the board is overloaded (uptime): once more, then look at that by hand"
            return [
                *self._found,
                Finding(what, "wrong", f"this check did not come to its end within {limit_s:g} s", hint),
            ]
        if (error := self._worker.failure) is not None:
            return [*self._found, failed(what, error)]
        return self._found

    def _look(self) -> None:
        self._worker.stop()  # one step is all
        for finding in self._check.look():
            self._found.append(finding)  # one by one: what was found before it hangs is kept


def failed(what: str, error: BaseException) -> Finding:
    """A check that ended with an error, as a finding: somebody's to mend, sudo's, or ours."""
    if isinstance(error, PorterError):
        return Finding(what, "wrong", error.message, error.hint)
    if isinstance(error, PermissionError):
        return unreadable(what, error)
    hint = "that is a defect of Porter: please report it (SECURITY.md, or an issue)"
    return Finding(what, "wrong", f"this check itself failed: {type(error).__name__}: {error}", hint)


def unreadable(what: str, error: OSError) -> Finding:
    """What this user may not see is no fault of the device."""
    return Finding(
        what, "note", f"{error.filename}: may not be read by this user", "sudo porter doctor sees more"
    )


def within(seconds: float, work: Callable[[], T]) -> T:
    """`work()`, or TimeoutError after `seconds`: for calls that have no limit of their own, such as a resolver's."""
    results: list[T] = []

    def step() -> None:
        worker.stop()
        results.append(work())

    worker = Worker("check-within", step)
    worker.start()
    if not worker.join(seconds):
        raise TimeoutError(f"no answer within {seconds:g} s")
    if worker.failure is not None:
        raise worker.failure
    return results[0]
