# SPDX-License-Identifier: Apache-2.0
"""Faults of network and broker under the running forwarder; after each, every rule of `checker.py` is asserted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.subscriber import wait_for
from tests.system.proxy import CONNACK, CONNECT, PUBACK, PUBLISH
from tests.system.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.system
NO_PERSISTENCE = ("persistence false",)


def the_broker_is_down_for_a_second(stage: Stage) -> None:
    stage.restart_broker(down_s=1)


def the_broker_restarts_while_pubacks_are_on_their_way(stage: Stage) -> None:
    stage.proxy.hold_at = {"down": PUBACK}
    stage.proxy.wait_held()
    stage.restart_broker()


def the_broker_is_killed_while_pubacks_are_on_their_way(stage: Stage) -> None:
    stage.proxy.hold_at = {"down": PUBACK}
    stage.proxy.wait_held()
    stage.restart_broker(kill=True)


def the_broker_restarts_with_half_a_publication(stage: Stage) -> None:
    stage.proxy.halve, stage.proxy.hold_at = True, {"up": PUBLISH}
    stage.proxy.wait_held()
    stage.restart_broker()


def a_puback_is_lost(stage: Stage) -> None:
    accepted = stage.proxy.accepted
    stage.proxy.drop("down", PUBACK, 3)
    wait_for(lambda: stage.proxy.accepted > accepted, 40, "a new connection")


def connections_are_reset(stage: Stage) -> None:
    for _ in range(2):
        stage.proxy.cut(reset=True)
        stage.progress()


def connections_are_closed_in_order(stage: Stage) -> None:
    stage.proxy.cut(reset=False)
    stage.progress()


def the_way_to_the_broker_goes_deaf(stage: Stage) -> None:
    stage.proxy.silence("up")
    stage.progress()


def the_way_back_goes_deaf(stage: Stage) -> None:
    stage.proxy.silence("down")
    stage.progress()


def both_ways_go_deaf(stage: Stage) -> None:
    stage.proxy.silence("up", "down")
    stage.progress()


def the_network_is_slow(stage: Stage) -> None:
    stage.proxy.delay_s = 0.4
    stage.progress(20)


def the_network_is_narrow(stage: Stage) -> None:
    stage.proxy.bytes_per_s = 4000
    stage.progress(5)
    time.sleep(2)


def a_header_is_broken_on_its_way_up(stage: Stage) -> None:
    accepted = stage.proxy.accepted
    stage.proxy.corrupt("up")
    wait_for(lambda: stage.proxy.accepted > accepted, 40, "a new connection")


def a_header_is_broken_on_its_way_back(stage: Stage) -> None:
    accepted = stage.proxy.accepted
    stage.proxy.corrupt("down")
    wait_for(lambda: stage.proxy.accepted > accepted, 40, "a new connection")


def an_old_connection_s_events_come_after_the_new_one_s(stage: Stage) -> None:
    stage.proxy.hold()
    stage.proxy.wait_held()
    stage.progress()  # over a new connection, which took the session
    stage.proxy.heal()
    stage.progress()


def an_old_greeting_comes_after_the_new_one(stage: Stage) -> None:
    stage.proxy.outlive, stage.proxy.hold_at = True, {"up": CONNECT}
    stage.proxy.cut(reset=True)
    stage.proxy.wait_held()
    stage.proxy.heal_later()
    stage.progress()
    stage.proxy.heal()  # the old greeting takes the session over: the broker ends the new connection
    stage.progress()


def the_greeting_s_answer_is_lost(stage: Stage) -> None:
    stage.proxy.drop("down", CONNACK)
    stage.proxy.cut(reset=True)
    stage.progress()


def new_connections_are_reset_for_a_while(stage: Stage) -> None:
    stage.proxy.closed = True
    stage.proxy.cut(reset=True)
    stage.site.forwarder.wait_log("disconnected")
    time.sleep(2)
    stage.proxy.closed = False
    stage.progress()


def the_broker_s_quota_is_used_up(stage: Stage) -> None:
    raised = len(stage.ear.on("alert/delivery_refused"))
    stage.proxy.refusal = 0x97
    # The alert comes after all that was in flight; nothing more goes out within the second after a refusal.
    wait_for(lambda: any(m.payload for m in stage.ear.on("alert/delivery_refused")[raised:]), 20, "the alert")
    stage.proxy.refusal = 0
    wait_for(lambda: not stage.ear.on("alert/delivery_refused")[-1].payload, 90, "the alert's end")


FAULTS = [
    (the_broker_is_down_for_a_second, ()),
    (the_broker_restarts_while_pubacks_are_on_their_way, ()),
    (the_broker_restarts_while_pubacks_are_on_their_way, NO_PERSISTENCE),
    (the_broker_is_killed_while_pubacks_are_on_their_way, ()),
    (the_broker_is_killed_while_pubacks_are_on_their_way, NO_PERSISTENCE),
    (the_broker_restarts_with_half_a_publication, ()),
    (a_puback_is_lost, ()),
    (connections_are_reset, ()),
    (connections_are_closed_in_order, ()),
    (the_way_to_the_broker_goes_deaf, ()),
    (the_way_back_goes_deaf, ()),
    (both_ways_go_deaf, ()),
    (the_network_is_slow, ()),
    (the_network_is_narrow, ()),
    (a_header_is_broken_on_its_way_up, ()),
    (a_header_is_broken_on_its_way_back, ()),
    (an_old_connection_s_events_come_after_the_new_one_s, ()),
    (an_old_greeting_comes_after_the_new_one, ()),
    (the_greeting_s_answer_is_lost, ()),
    (new_connections_are_reset_for_a_while, ()),
    (the_broker_s_quota_is_used_up, ()),
]


NAMES = [f"{fault.__name__}{'-no-persistence' if lines else ''}" for fault, lines in FAULTS]


@pytest.mark.parametrize(("fault", "mosquitto"), FAULTS, ids=NAMES)
def test_after(fault: Callable[[Stage], None], mosquitto: tuple[str, ...], tmp_path: Path) -> None:
    with Stage(tmp_path, mosquitto=mosquitto) as stage:
        fault(stage)
        stage.finish()
