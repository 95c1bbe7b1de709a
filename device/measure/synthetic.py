# SPDX-License-Identifier: Apache-2.0
"""Events about nobody, for measuring delivery: valid in every field, and of no face that ever was."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from device.identifiers import uuid7
from device.payloads import ConsentInfo, Event, Liveness, ModelHashes, Person, rfc3339

if TYPE_CHECKING:
    from device.ports import Clock

LIVE_S = 30


def synthetic_event(clock: Clock, device: str = "bench", camera: str = "cam0") -> Event:
    """The start of a visit that is captured at this moment, about as long as a real one."""
    now = clock.now()
    name = uuid7(now.utc_ns, secrets.randbits(74))
    return Event(
        v=1,
        event_type="match",
        phase="start",
        id=name,
        visit=name,
        boot=clock.boot_id,
        seq=0,
        device=device,
        camera=camera,
        ts=rfc3339(now.utc_ns),
        mono_ms=now.boot_ns // 1_000_000,
        clock="synced" if now.synced else "unsynced",
        valid_until=rfc3339(now.utc_ns + LIVE_S * 1_000_000_000),
        delivery="live",
        person=Person(ref="p_00000000"),
        score=0.7123,
        threshold=0.4466,
        margin=0.3123,
        frames=5,
        quality=0.8312,
        fmr_at_threshold=1e-6,
        liveness=Liveness(),
        consent=ConsentInfo(id="c_00000000", expires="2099-01-01"),
        model=ModelHashes(detector="sha256:" + "0" * 64, embedder="sha256:" + "0" * 64),
    )
