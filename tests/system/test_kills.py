# SPDX-License-Identifier: Apache-2.0
"""kill -9 of the forwarder, of who commits (the vision service's stand-in), and of both, in every state of delivery.

A state is a context: inside it the forwarder is certainly there, and stays there until the kill.
"""

from __future__ import annotations

import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.subscriber import wait_for
from tests.system.proxy import CONNECT, PUBACK, PUBLISH
from tests.system.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

pytestmark = pytest.mark.system


@contextmanager
def connecting(stage: Stage) -> Iterator[None]:
    """The greeting is on its way."""
    stage.proxy.hold_at = {"up": CONNECT}
    stage.proxy.cut(reset=True)
    stage.proxy.wait_held()
    yield


@contextmanager
def publishing(stage: Stage) -> Iterator[None]:
    """Half a publication has arrived."""
    stage.proxy.halve, stage.proxy.hold_at = True, {"up": PUBLISH}
    stage.proxy.wait_held()
    yield


@contextmanager
def waiting_for_pubacks(stage: Stage) -> Iterator[None]:
    """The broker has taken events, and the forwarder does not know it."""
    stage.proxy.hold_at = {"down": PUBACK}
    stage.proxy.wait_held()
    yield


@contextmanager
def settling(stage: Stage) -> Iterator[None]:
    """PUBACKs have come, and what they acknowledge cannot leave the outbox: it is locked."""
    stage.proxy.hold_at = {"down": PUBACK}
    stage.proxy.wait_held()
    with stage.locked_outbox():
        waiting = stage.site.depth()
        stage.proxy.heal()
        wait_for(lambda: not stage.proxy.holding(), 5, "the PUBACKs to pass")
        time.sleep(0.3)  # it gathers for 50 ms, and then waits for the lock for five seconds
        assert stage.site.depth() == waiting
        yield


@contextmanager
def reconnecting(stage: Stage) -> Iterator[None]:
    """No connection, and the next try is due in a while."""
    ends = stage.site.forwarder.text().count(" disconnected ")
    stage.proxy.closed = True
    stage.proxy.cut(reset=True)
    wait_for(lambda: stage.site.forwarder.text().count(" disconnected ") > ends, 15, "the connection's end")
    yield


@contextmanager
def stopping(stage: Stage) -> Iterator[None]:
    """SIGTERM has come, and the goodbye waits for its answers."""
    stage.proxy.hold_at = {"down": PUBACK}
    stage.proxy.wait_held()
    stops = stage.site.forwarder.text().count(" stopping ")
    stage.site.forwarder.signal(signal.SIGTERM)
    wait_for(lambda: stage.site.forwarder.text().count(" stopping ") > stops, 15, "the stop")
    yield


STATES = [connecting, publishing, waiting_for_pubacks, settling, reconnecting, stopping]
VICTIMS = ["forwarder", "writer", "both"]


def kill(stage: Stage, state: Callable[[Stage], AbstractContextManager[None]], victim: str) -> None:
    """Kills it there, starts what is gone again, and waits until delivery goes on."""
    with state(stage):
        if victim != "writer":
            code = stage.site.forwarder.end(signal.SIGKILL)
            # A goodbye waits for two seconds: on a machine that stood still so long it is over.
            assert code == -signal.SIGKILL or state is stopping, "it had ended before"
        if victim != "forwarder":
            stage.end_writer()
    stage.proxy.heal()
    if victim != "forwarder":
        stage.start_writer()
    if victim != "writer" or state is stopping:
        stage.site.forwarder.end(signal.SIGCONT)  # one that is stopping ends by itself
        stage.site.forwarder.start()
    stage.progress()


KILLS = [(state, victim) for state in STATES for victim in VICTIMS]
NAMES = [f"{victim}-while-{state.__name__}" for state, victim in KILLS]


@pytest.mark.parametrize(("state", "victim"), KILLS, ids=NAMES)
def test_kill_9_of(
    state: Callable[[Stage], AbstractContextManager[None]], victim: str, tmp_path: Path
) -> None:
    with Stage(tmp_path) as stage:
        kill(stage, state, victim)
        stage.finish()
