# SPDX-License-Identifier: Apache-2.0
"""Never 6: what two devices know and say about the same person has nothing in common that would join it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from device.adapters.gallery_memory import MemoryGallery
from device.adapters.gallery_sqlite import SqliteGallery
from device.payloads import ModelHashes
from device.ports import GalleryStore
from device.recognition.events import EventMaker
from device.records import Consent, Sighting, Subject
from tests.people import KEY, NS, YEAR_S, at

ROWS = np.eye(128, dtype=np.float32)[:3]
MODELS = ModelHashes("sha256:1f", "sha256:a2")
# What the contract fixes, when it was, and numbers that anybody's visit may have.
SHARED = {
    "v",
    "event_type",
    "phase",
    "seq",
    "clock",
    "delivery",
    "threshold",
    "fmr_at_threshold",
    "liveness",
    "model",
    "camera",
    "ts",
    "mono_ms",
    "valid_until",
    "score",
    "margin",
    "frames",
    "quality",
    "consent",
}  # fmt: skip


@pytest.fixture(params=["sqlite", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], GalleryStore]:
    """Makes the gallery of a device by its name."""

    def made(name: str) -> GalleryStore:
        if request.param == "memory":
            return MemoryGallery(128)
        path = tmp_path / f"{name}.sqlite"
        return SqliteGallery(
            path, simulated=False, embedder="sface", embedder_sha256="cd" * 32, dimension=128, device_key=KEY
        )

    return made


def enrolled(gallery: GalleryStore) -> Subject:
    start = at(0).utc_ns
    subject = gallery.enrol("anna", Consent("", "door", "ab" * 32, start, start + YEAR_S * NS, "alice"), ROWS)
    gallery.close()
    return subject


def event(device: str, subject: Subject) -> dict[str, Any]:
    """A match as this device would say it, with its own dice."""
    maker = EventMaker(
        device=device,
        camera="cam0",
        boot_id=secrets.token_hex(4),
        random_bits=secrets.randbits,
        publish_labels=False,
        live_max_age_s=30,
        models=MODELS,
    )
    now = at(5)
    body = maker.event(Sighting("start", maker.new_id(now), subject, now, 0.5, 1e-4, 0.7, 0.2, 5, 0.8))
    decoded: dict[str, Any] = msgspec.to_builtins(body)
    return decoded


def values(thing: object) -> Iterator[object]:
    """Every value in a message, however deep."""
    if isinstance(thing, dict):
        for inner in thing.values():
            yield from values(inner)
    else:
        yield thing


def test_the_same_person_has_another_ref_and_another_id_on_every_device(
    store: Callable[[str], GalleryStore],
) -> None:
    subjects = [enrolled(store(f"device-{n}")) for n in range(20)]
    assert len({subject.ref for subject in subjects}) == 20
    assert len({subject.subject_id for subject in subjects}) == 20


def test_a_ref_is_not_made_from_the_person(store: Callable[[str], GalleryStore]) -> None:
    # Withdrawn and enrolled again under the same label, with the same references: another ref.
    gallery = store("one")
    start = at(0).utc_ns
    consent = Consent("", "door", "ab" * 32, start, start + YEAR_S * NS, "alice")
    first = gallery.enrol("anna", consent, ROWS)
    gallery.withdraw("anna")
    second = gallery.enrol("anna", consent, ROWS)
    gallery.close()
    assert first.ref != second.ref
    assert first.subject_id != second.subject_id


def test_events_of_two_devices_for_one_person_share_only_what_is_no_ones(
    store: Callable[[str], GalleryStore],
) -> None:
    one, other = (event(f"door-{n}", enrolled(store(f"door-{n}"))) for n in (1, 2))
    assert {key for key in one if one[key] == other[key]} <= SHARED
    personal = [
        {value for key in ("id", "visit", "boot", "device", "person") for value in values(body[key])}
        for body in (one, other)
    ]
    assert not personal[0] & personal[1]


def test_an_event_has_no_field_that_could_carry_a_face() -> None:
    assert set(event("door-1", enrolled(MemoryGallery(128)))) == SHARED | {
        "id", "visit", "boot", "device", "person",
    }  # fmt: skip
