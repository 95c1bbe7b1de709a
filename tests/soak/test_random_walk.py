# SPDX-License-Identifier: Apache-2.0
"""A random walk over the faults: one after another on one site, for `--walk-seconds`, by `--seed`; then every rule.

The same seed takes the same steps, but processes and network keep their own time: a failure may need some tries.
"""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.subscriber import wait_for
from tests.system import test_faults as faults
from tests.system import test_kills as kills
from tests.system.calendar import AHEAD, BEHIND, IN_1970, RIGHT, Calendar
from tests.system.resolver import Resolver
from tests.system.stage import PATIENCE_S, Stage

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.system
Step = Callable[[Stage], None]


def the_forwarder_is_killed(stage: Stage) -> None:
    stage.site.forwarder.end(signal.SIGKILL)
    stage.site.forwarder.start()
    stage.progress()


def the_forwarder_is_restarted_in_order(stage: Stage) -> None:
    assert stage.site.forwarder.end() == 0
    stage.site.forwarder.start()
    stage.progress()


def the_writer_is_killed(stage: Stage) -> None:
    stage.end_writer()
    stage.start_writer()
    stage.progress()


def the_outbox_is_locked_for_a_while(stage: Stage) -> None:
    with stage.locked_outbox():
        time.sleep(1.0)
    stage.progress()


def the_configuration_is_reloaded(stage: Stage) -> None:
    reloads = stage.site.forwarder.text().count("config_reloaded")
    stage.site.forwarder.signal(signal.SIGHUP)
    wait_for(lambda: stage.site.forwarder.text().count("config_reloaded") > reloads, 20, "the reload")
    stage.progress()


class Machine:
    """Faults of what the processes run on: its clock and its name server. heal: names resolve; the clock stays."""

    def __init__(self, folder: Path) -> None:
        self.resolver, self.calendar = Resolver(folder), Calendar(folder)
        self.around = self.resolver.around(**self.calendar.environment)

    def steps(self) -> dict[str, Step]:
        """By name."""
        jumps = {
            "the_clock_jumps_to_the_right_time": RIGHT,
            "the_clock_jumps_a_year_ahead": AHEAD,
            "the_clock_jumps_a_year_back": BEHIND,
            "the_clock_jumps_to_1970": IN_1970,
        }
        return {name: partial(self.jump, where) for name, where in jumps.items()} | {
            "the_name_does_not_resolve": self.the_name_does_not_resolve,
            "the_resolver_is_slow": self.the_resolver_is_slow,
        }

    def jump(self, where: str, stage: Stage) -> None:
        """Under a connection that stands and under the next one."""
        self.calendar.jump(where)
        stage.progress()
        stage.proxy.cut(reset=True)
        stage.progress()

    def the_name_does_not_resolve(self, stage: Stage) -> None:
        """For a try at least."""
        self.resolver.fails()
        lookups = self.resolver.lookups
        stage.proxy.cut(reset=True)
        wait_for(lambda: self.resolver.lookups > lookups, PATIENCE_S, "a lookup")
        self.resolver.answers()
        stage.progress()

    def the_resolver_is_slow(self, stage: Stage) -> None:
        """Events get late meanwhile."""
        self.resolver.answers(after_s=6.0)
        stage.proxy.cut(reset=True)
        stage.progress()
        self.resolver.answers()


def steady(stage: Stage) -> None:
    """Waits until events arrive over a connection that stays: steps wait for what only then happens."""
    deadline = time.monotonic() + 120
    while True:
        accepted = stage.proxy.accepted
        stage.progress(2)
        time.sleep(1.0)
        stage.progress(1)
        if stage.proxy.accepted == accepted:
            return
        assert time.monotonic() < deadline, "no connection stays for a second"


def all_steps(machine: Machine) -> dict[str, Step]:
    """By name: the faults of `make system` and those above."""
    singles: list[Step] = [
        *(fault for fault, _ in faults.FAULTS),
        the_forwarder_is_killed,
        the_forwarder_is_restarted_in_order,
        the_writer_is_killed,
        the_outbox_is_locked_for_a_while,
        the_configuration_is_reloaded,
    ]
    table = zip(kills.NAMES, kills.KILLS, strict=True)
    return (
        {step.__name__: step for step in singles}
        | {
            f"kill_of_{name}": partial(kills.kill, state=state, victim=victim)
            for name, (state, victim) in table
        }
        | machine.steps()
    )


def test_a_random_walk_over_all_faults_breaks_no_rule(
    tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    seed: int = request.config.getoption("--seed")
    seconds: float = request.config.getoption("--walk-seconds")
    dice, done = random.Random(seed), Counter[str]()
    started = time.monotonic()

    def tell(text: str) -> None:
        with capsys.disabled():
            print(text, flush=True)

    tell(f"\nrandom walk: seed {seed}, {seconds:.0f} s")
    machine = Machine(tmp_path)
    steps = all_steps(machine)
    with Stage(tmp_path, around=machine.around) as stage:
        while time.monotonic() - started < seconds:
            name = dice.choice(list(steps))
            done[name] += 1
            try:
                steady(stage)
                steps[name](stage)
                stage.proxy.heal()
            except BaseException:
                tell(f"seed {seed}: failed in step {done.total()}, {name}, after {dict(done)}")
                raise
            if done.total() % 20 == 0:
                tell(
                    f"{time.monotonic() - started:6.0f} s, {done.total()} faults, {len(stage.received())} events"
                )
        try:
            account = stage.finish()
        except BaseException:
            tell(f"seed {seed}: the rules were broken somewhere in {done.total()} faults: {dict(done)}")
            raise
        tell(
            f"seed {seed}: {done.total()} faults in {time.monotonic() - started:.0f} s; {len(stage.committed())} events"
            f" committed, {account.delivered} delivered, {account.repeated} repeats, {account.late} late,"
            f" oldest live {account.oldest_live_s:.2f} s, {len(stage.excused)} lost with a killed broker"
        )
        for name, count in sorted(done.items()):
            tell(f"  {count:4} {name}")
