# SPDX-License-Identifier: Apache-2.0
"""UTC jumps by years under the running forwarder and the writer; boot time goes on, and so does everything else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from device.payloads import Health
from tests.system.calendar import AHEAD, BEHIND, IN_1970, RIGHT, Calendar
from tests.system.stage import Stage

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.system
JUMPS = [(RIGHT, AHEAD), (RIGHT, BEHIND), (IN_1970, RIGHT)]
NAMES = {
    RIGHT: "right",
    AHEAD: "a-year-ahead",
    BEHIND: "a-year-behind",
    IN_1970: "1970",
}


def year_of_the_last_report(stage: Stage) -> str:
    """As the device's clock had it."""
    return msgspec.json.decode(stage.ear.on("/health")[-1].payload, type=Health).ts[:4]


@pytest.mark.parametrize(
    ("before", "after"), JUMPS, ids=[f"from-{NAMES[before]}-to-{NAMES[after]}" for before, after in JUMPS]
)
def test_after_a_jump_of_the_clock(before: str, after: str, tmp_path: Path) -> None:
    calendar = Calendar(tmp_path, before)
    with Stage(tmp_path, around=calendar.around()) as stage:
        stage.ear.wait("/health")
        begun_in, live = year_of_the_last_report(stage), len(stage.ear.on("cam0/match"))
        calendar.jump(after)
        stage.ear.wait("cam0/match", live + 10, 30)  # still live, over the connection that stands
        reports = len(stage.ear.on("/health"))
        stage.proxy.cut(reset=True)
        stage.progress()
        stage.ear.wait("/health", reports + 1, 30)
        assert year_of_the_last_report(stage) != begun_in, "the jump never reached the forwarder"
        stage.finish()
