# SPDX-License-Identifier: Apache-2.0
"""Threads, and nothing else that runs: `Worker`, `LatestSlot`, and the main thread's `Supervisor`.

Every thread of Porter is a `Worker`. A worker calls its step again and again; each call is a heartbeat. The main
thread feeds systemd's watchdog only while every heartbeat is fresh, so a step that hangs gets the service restarted.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from device.ports import Notifier

log = logging.getLogger("porter.supervisor")
T = TypeVar("T")


class Worker:
    """A named thread that calls `step` until it is told to stop; `cleanup` runs in the same thread at the end.

    `step` must return within `patience_s`, sooner is better: it waits with a timeout for whatever it waits for.
    An exception in `step` ends the worker and is kept in `failure`: the main thread then ends the service, and
    systemd starts it again. A worker never swallows what it did not expect.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], None],
        *,
        cleanup: Callable[[], None] = lambda: None,
        patience_s: float = 10.0,
    ) -> None:
        self.name = name
        self.patience_s = patience_s
        self.failure: BaseException | None = None
        self._step = step
        self._cleanup = cleanup
        self._stop = threading.Event()
        self._beat = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._beat = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """Asks the worker to end after its present step."""
        self._stop.set()

    def join(self, timeout_s: float) -> bool:
        """Waits for the end; False where the thread still runs."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def fresh(self) -> bool:
        """Whether the last heartbeat is younger than `patience_s`."""
        return time.monotonic() - self._beat < self.patience_s

    def _run(self) -> None:
        for work in (self._steps, self._cleanup):
            try:
                work()
            except BaseException as error:  # noqa: BLE001  kept for the main thread, which ends the service
                self.failure = self.failure or error

    def _steps(self) -> None:
        while not self._stop.is_set():
            self._beat = time.monotonic()
            self._step()


class LatestSlot(Generic[T]):
    """One place between two threads: a new item replaces one that nobody took, and the replaced are counted."""

    def __init__(self) -> None:
        self._ready = threading.Condition()
        self._item: T | None = None
        self.replaced = 0

    def put(self, item: T) -> None:
        """Leaves `item` for the taker; never waits."""
        with self._ready:
            if self._item is not None:
                self.replaced += 1
            self._item = item
            self._ready.notify()

    def take(self, timeout_s: float) -> T | None:
        """The newest item, or None when there was none for `timeout_s`."""
        with self._ready:
            if self._item is None:
                self._ready.wait(timeout_s)
            item, self._item = self._item, None
            return item


@contextmanager
def signals(*wanted: signal.Signals) -> Iterator[Callable[[float], signal.Signals | None]]:
    """Routes signals to the main loop: yields `wait(timeout_s)`, which returns the next signal or None.

    Python runs handlers in the main thread, even in the middle of a wait there. `SimpleQueue.put` may interrupt its
    own `get`; an Event or a Queue, whose locks are not reentrant, could lock up for good.
    """
    arrived: SimpleQueue[signal.Signals] = SimpleQueue()

    def handler(number: int, _frame: object) -> None:
        arrived.put(signal.Signals(number))

    def wait(timeout_s: float) -> signal.Signals | None:
        try:
            return arrived.get(timeout=timeout_s)
        except Empty:
            return None

    before = {number: signal.signal(number, handler) for number in wanted}
    try:
        yield wait
    finally:
        for number, old in before.items():
            signal.signal(number, old)


class Supervisor:
    """The main thread's loop: runs until SIGTERM or SIGINT, reloads on SIGHUP, feeds the watchdog.

    `tick` is called about once a second on the main thread. `finished` lets a service end by itself.
    """

    def __init__(self, notifier: Notifier, workers: list[Worker]) -> None:
        self._notifier = notifier
        self.workers = workers

    def run(
        self,
        *,
        ready: Callable[[], None],
        reload: Callable[[], None],
        tick: Callable[[], None],
        finished: Callable[[], bool] = lambda: False,
        period_s: float = 0.5,
    ) -> None:
        """Starts the workers and returns when it is time to stop; raises what a worker raised."""
        with signals(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as wait:
            try:
                for worker in self.workers:
                    worker.start()
                ready()
                self._notifier.notify("READY=1")
                while not finished():
                    arrived = wait(period_s)
                    if arrived in (signal.SIGTERM, signal.SIGINT):
                        log.info("stopping signal=%s", arrived.name)
                        return
                    if arrived is signal.SIGHUP:
                        self._notifier.notify("RELOADING=1")
                        reload()
                        self._notifier.notify("READY=1")
                    self._check_workers()
                    tick()
            finally:
                self._notifier.notify("STOPPING=1")
                self.stop()

    def stop(self) -> None:
        """Ends the workers, last started first, so that what feeds a queue outlives nobody who drains it."""
        for worker in reversed(self.workers):
            worker.stop()
        for worker in reversed(self.workers):
            if not worker.join(worker.patience_s):
                log.error("worker_stuck name=%s", worker.name)
            elif worker.failure is not None:
                log.error("worker_failed name=%s error=%r", worker.name, worker.failure)

    def _check_workers(self) -> None:
        for worker in self.workers:
            if worker.failure is not None:
                raise worker.failure
        if all(worker.fresh() for worker in self.workers):
            self._notifier.notify("WATCHDOG=1")
        else:
            log.error("heartbeat_stale workers=%s", ",".join(w.name for w in self.workers if not w.fresh()))
