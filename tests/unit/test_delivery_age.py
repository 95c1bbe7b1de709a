# SPDX-License-Identifier: Apache-2.0
"""How old an event is: by clocks that can be trusted, and never by guess."""

from __future__ import annotations

from typing import Any

import pytest

from device.delivery import age_days
from device.payloads import rfc3339
from device.records import Stamp
from tests.events import make_event

DAY_NS = 86_400_000_000_000
NOW_NS = 1_795_000_000_000_000_000


@pytest.mark.parametrize(
    ("event", "synced", "days"),
    [
        ({"boot": "0000b7c1", "mono_ms": 0, "ts": "1970-01-01T00:00:00.000Z"}, True, 5.0),
        ({"boot": "0000b7c1", "mono_ms": 86_400_000, "clock": "unsynced"}, False, 4.0),
        ({"boot": "another1", "ts": rfc3339(NOW_NS - 3 * DAY_NS), "clock": "synced"}, True, 3.0),
        ({"boot": "another1", "ts": rfc3339(NOW_NS - 3 * DAY_NS), "clock": "synced"}, False, 0.0),
        ({"boot": "another1", "ts": "1970-01-01T00:00:00.000Z", "clock": "unsynced"}, True, 0.0),
        ({"boot": "another1", "ts": "yesterday", "clock": "synced"}, True, 0.0),
        ({"boot": "another1", "ts": rfc3339(NOW_NS + 365 * DAY_NS), "clock": "synced"}, True, -365.0),
    ],
    ids=["this boot", "this boot, no clock", "an earlier boot", "clock lost", "at 1970", "nonsense", "ahead"],
)
def test_an_events_age(event: dict[str, Any], synced: bool, days: float) -> None:
    now = Stamp(5 * DAY_NS, NOW_NS, synced=synced)
    assert age_days(make_event(1, **event), "0000b7c1", now) == pytest.approx(days, abs=1e-6)
