# SPDX-License-Identifier: Apache-2.0
"""Sightings become the bodies of MQTT messages. The only place where a label may enter one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from device.identifiers import uuid7
from device.payloads import ConsentInfo, Event, Liveness, ModelHashes, Person, Presence, Present, rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from device.recognition.sightings import Visit
    from device.records import Sighting, Stamp, Subject

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000


class EventMaker:
    """Makes events and presence for one camera. Random bits come from outside: the core has no dice of its own."""

    def __init__(
        self,
        *,
        device: str,
        camera: str,
        boot_id: str,
        random_bits: Callable[[int], int],
        publish_labels: bool,
        live_max_age_s: int,
        models: ModelHashes,
    ) -> None:
        self._device = device
        self._camera = camera
        self._boot_id = boot_id
        self._random_bits = random_bits
        self._publish_labels = publish_labels
        self._live_max_age_ns = live_max_age_s * NS_PER_S
        self._models = models

    def new_id(self, now: Stamp) -> str:
        """A fresh UUIDv7; a visit's id is the id of its start event."""
        return uuid7(now.utc_ns, self._random_bits(74))

    def event(self, sighting: Sighting) -> Event:
        """The body of `match` for a visit's start or end; `seq` and `delivery` are set further down."""
        captured = sighting.captured
        consent = sighting.subject.consent
        return Event(
            v=1,
            event_type="match",
            phase=sighting.phase,
            id=sighting.visit_id if sighting.phase == "start" else self.new_id(captured),
            visit=sighting.visit_id,
            boot=self._boot_id,
            seq=0,
            device=self._device,
            camera=self._camera,
            ts=rfc3339(captured.utc_ns),
            mono_ms=captured.boot_ns // NS_PER_MS,
            clock="synced" if captured.synced else "unsynced",
            valid_until=rfc3339(captured.utc_ns + self._live_max_age_ns),
            delivery="live",
            person=self.person(sighting.subject),
            score=round(min(1.0, max(-1.0, sighting.score)), 4),
            threshold=round(sighting.threshold, 4),
            margin=round(sighting.margin, 4),
            frames=sighting.frames,
            quality=round(sighting.quality, 3),
            fmr_at_threshold=None if sighting.fmr is None else float(f"{sighting.fmr:.3g}"),
            liveness=Liveness(),
            consent=ConsentInfo(id=consent.consent_id, expires=rfc3339(consent.expires_at_ns)[:10]),
            model=self._models,
        )

    def presence(self, visits: Iterable[Visit], now: Stamp) -> Presence:
        """The body of `presence`: who is at the door now."""
        return Presence(
            v=1,
            device=self._device,
            camera=self._camera,
            ts=rfc3339(now.utc_ns),
            present=[Present(self.person(v.subject), rfc3339(v.since.utc_ns)) for v in visits],
        )

    def person(self, subject: Subject) -> Person:
        """The opaque ref, and the label only where the configuration says so and there is one."""
        label = subject.label if self._publish_labels and subject.label else UNSET
        return Person(ref=subject.ref, label=label)
