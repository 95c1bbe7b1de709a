# SPDX-License-Identifier: Apache-2.0
"""Workers, the slot between them, signals, and the watchdog. Threads here wait for events, never for time."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from device.adapters.notify_systemd import RecordingNotifier
from device.errors import HardwareError
from device.supervisor import LatestSlot, Supervisor, Worker, signals

SOON_S = 10.0  # how long a thread may take before the test gives up on it


class Step:
    """A worker's step that says when it ran and then waits until it may go on."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.ran = threading.Event()
        self.go_on = threading.Event()
        self.failure = failure
        self.threads: set[str] = set()

    def __call__(self) -> None:
        self.threads.add(threading.current_thread().name)
        self.ran.set()
        self.go_on.wait(SOON_S)
        if self.failure is not None:
            raise self.failure


def idle() -> None:
    """A step that does nothing for a moment."""
    threading.Event().wait(0.001)


def test_a_worker_steps_and_cleans_up_on_its_own_named_thread() -> None:
    step, cleaned = Step(), list[str]()
    worker = Worker("capture", step, cleanup=lambda: cleaned.append(threading.current_thread().name))
    worker.start()
    assert step.ran.wait(SOON_S)
    assert worker.alive
    worker.stop()
    step.go_on.set()
    assert worker.join(SOON_S)
    assert step.threads == set(cleaned) == {"capture"}
    assert worker.failure is None


def test_what_a_step_raises_ends_the_worker_and_is_kept_and_cleanup_still_runs() -> None:
    failure, cleaned = HardwareError("gone"), threading.Event()
    step = Step(failure)
    step.go_on.set()
    worker = Worker("recognise", step, cleanup=cleaned.set)
    worker.start()
    assert worker.join(SOON_S)
    assert worker.failure is failure
    assert cleaned.is_set()


def test_what_cleanup_raises_is_kept_but_never_hides_the_first_failure() -> None:
    def cleanup() -> None:
        raise OSError("cleanup")

    for failure in (None, HardwareError("step")):
        step = Step(failure)
        step.go_on.set()
        worker = Worker("recognise", step, cleanup=cleanup)
        worker.start()
        worker.stop()
        assert worker.join(SOON_S)
        assert str(worker.failure) == ("cleanup" if failure is None else "step")


def test_a_step_that_hangs_is_a_heartbeat_that_goes_stale() -> None:
    step = Step()
    worker = Worker("recognise", step, patience_s=0.0)
    worker.start()
    assert step.ran.wait(SOON_S)
    assert not worker.fresh()
    worker.patience_s = SOON_S
    assert worker.fresh()
    assert not worker.join(0.0)
    worker.stop()
    step.go_on.set()
    assert worker.join(SOON_S)


def test_a_worker_that_never_started_is_joined_at_once() -> None:
    assert Worker("capture", idle).join(0.0)


def test_the_slot_gives_the_newest_once_and_counts_the_replaced() -> None:
    slot: LatestSlot[str] = LatestSlot()
    assert slot.take(0.0) is None
    for item in ("one", "two", "three"):
        slot.put(item)
    assert slot.take(0.0) == "three"
    assert slot.take(0.0) is None
    assert slot.replaced == 2


def test_a_taker_wakes_up_for_what_is_put() -> None:
    slot: LatestSlot[str] = LatestSlot()
    taken = list[str | None]()
    taker = threading.Thread(target=lambda: taken.append(slot.take(SOON_S)))
    taker.start()
    slot.put("frame")
    taker.join(SOON_S)
    assert taken == ["frame"]


def test_signals_arrive_in_order_and_none_is_lost() -> None:
    with signals(signal.SIGHUP, signal.SIGTERM) as wait:
        assert wait(0.0) is None
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGHUP):
            os.kill(os.getpid(), number)
        assert [wait(SOON_S) for _ in range(3)] == [signal.SIGHUP, signal.SIGTERM, signal.SIGHUP]


def test_a_signal_wakes_the_waiting_main_thread_at_once() -> None:
    with signals(signal.SIGHUP) as wait:
        sender = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGHUP))
        sender.start()
        began = time.monotonic()
        assert wait(SOON_S) is signal.SIGHUP
        assert time.monotonic() - began < SOON_S / 2
        sender.join()


def test_a_storm_of_signals_neither_locks_up_the_main_thread_nor_loses_one() -> None:
    # A handler interrupts the very lock that its own wait holds, sooner or later, unless that lock is reentrant.
    storm, arrived, handled = 500, 0, LatestSlot[str]()

    def send() -> None:
        for _ in range(storm):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGHUP)
            handled.take(SOON_S)

    with signals(signal.SIGHUP) as wait:
        sender = threading.Thread(target=send)
        sender.start()
        # One that comes in just before the wait begins is noticed at its end, as any signal is.
        while arrived < storm and sender.is_alive():
            if wait(0.002) is not None:
                arrived += 1
                handled.put("one")
        sender.join(SOON_S)
    assert arrived == storm


def test_handlers_are_given_back() -> None:
    before = signal.getsignal(signal.SIGHUP)
    with signals(signal.SIGHUP):
        assert signal.getsignal(signal.SIGHUP) is not before
    assert signal.getsignal(signal.SIGHUP) is before


def kill_self(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


def run(
    supervisor: Supervisor, *, ticks: int, reloads: list[str] | None = None, signal_at: int | None = None
) -> int:
    """Runs until so many ticks, or until SIGTERM at one of them; returns how many there were."""
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        if done == signal_at:
            kill_self(signal.SIGTERM)

    supervisor.run(
        ready=lambda: None,
        reload=lambda: (reloads if reloads is not None else []).append("reload"),
        tick=tick,
        finished=lambda: done >= ticks,
        period_s=0.0,
    )
    return done


def test_the_service_manager_hears_ready_watchdog_and_stopping() -> None:
    notifier, worker = RecordingNotifier(), Worker("capture", idle)
    assert run(Supervisor(notifier, [worker]), ticks=2) == 2
    assert notifier.states == ["READY=1", "WATCHDOG=1", "WATCHDOG=1", "STOPPING=1"]
    assert not worker.alive


def test_sigterm_stops_the_service() -> None:
    worker = Worker("capture", idle)
    assert run(Supervisor(RecordingNotifier(), [worker]), ticks=1000, signal_at=3) == 3
    assert not worker.alive


def test_sighup_reloads_between_reloading_and_ready() -> None:
    notifier, reloads = RecordingNotifier(), list[str]()
    kill_at_start = Worker("control", idle)
    supervisor = Supervisor(notifier, [kill_at_start])
    supervisor.run(
        ready=lambda: kill_self(signal.SIGHUP),
        reload=lambda: reloads.append(notifier.states[-1]),
        tick=lambda: None,
        finished=lambda: bool(reloads),
        period_s=0.0,
    )
    assert reloads == ["RELOADING=1"]
    assert notifier.states[:3] == ["READY=1", "RELOADING=1", "READY=1"]


def test_the_watchdog_starves_while_one_heartbeat_is_stale() -> None:
    notifier, hung = RecordingNotifier(), Step()
    workers = [Worker("capture", idle), Worker("recognise", hung, patience_s=0.0)]
    supervisor = Supervisor(notifier, workers)
    run(supervisor, ticks=3)
    assert "WATCHDOG=1" not in notifier.states
    hung.go_on.set()
    assert workers[1].join(SOON_S)


def test_a_workers_failure_ends_the_service_with_it_and_stops_the_others() -> None:
    failure = HardwareError("camera gone")
    failing, other = Step(failure), Worker("recognise", idle)
    failing.go_on.set()
    worker = Worker("capture", failing)
    supervisor = Supervisor(RecordingNotifier(), [other, worker])
    with pytest.raises(HardwareError, match="camera gone"):
        supervisor.run(
            ready=lambda: None,
            reload=lambda: None,
            tick=lambda: None,
            finished=lambda: False,
            period_s=0.001,
        )
    assert not other.alive


def test_a_service_that_does_not_get_ready_stops_its_workers() -> None:
    def ready() -> None:
        raise OSError("no")

    worker, notifier = Worker("capture", idle), RecordingNotifier()
    with pytest.raises(OSError, match="no"):
        Supervisor(notifier, [worker]).run(ready=ready, reload=lambda: None, tick=lambda: None)
    assert not worker.alive
    assert notifier.states == ["STOPPING=1"]


def test_a_failure_while_stopping_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def cleanup() -> None:
        raise OSError("disk gone")

    run(Supervisor(RecordingNotifier(), [Worker("recognise", idle, cleanup=cleanup)]), ticks=1)
    assert "worker_failed name=recognise" in caplog.text
    assert "disk gone" in caplog.text
