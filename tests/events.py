# SPDX-License-Identifier: Apache-2.0
"""A valid event for tests that need one: `make_event(seq=3, camera="cam1")`."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec

from device.payloads import ConsentInfo, Event, Liveness, ModelHashes, Person

BOOT = "b0070001"


def event_id(number: int) -> str:
    """A UUIDv7 whose random part is `number`."""
    return str(UUID(int=(0x0192F0C17D3E7 << 76) | (0b10 << 62) | number))


def make_event(number: int = 1, **changes: Any) -> Event:
    """An event whose id is `event_id(number)`, captured one hour after boot, `BOOT`; any field may be changed."""
    event = Event(
        v=1,
        event_type="match",
        phase="start",
        id=event_id(number),
        visit=event_id(number),
        boot=BOOT,
        seq=0,
        device="lobby-01",
        camera="cam0",
        ts="2026-11-23T04:20:00.000Z",
        mono_ms=3_600_000,
        clock="synced",
        valid_until="2026-11-23T04:20:30.000Z",
        delivery="live",
        person=Person(ref="p_7f3a"),
        score=0.71,
        threshold=0.52,
        margin=0.18,
        frames=5,
        quality=0.83,
        fmr_at_threshold=1e-4,
        liveness=Liveness(),
        consent=ConsentInfo(id="c_19", expires="2027-05-01"),
        model=ModelHashes(detector="sha256:1f", embedder="sha256:a2"),
    )
    return msgspec.structs.replace(event, **changes)
