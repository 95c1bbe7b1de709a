# SPDX-License-Identifier: Apache-2.0
"""Never 6, second half: a label leaves the device only where the configuration says so, and not after the consent."""

from __future__ import annotations

import msgspec
import pytest

from device.options import Config
from device.payloads import ModelHashes
from device.recognition.events import EventMaker
from device.recognition.sightings import Visit
from device.records import Phase, Sighting
from tests.door import Door, Painted, gallery_of
from tests.people import at, subject

LABEL = b"label-7"


def maker(*, publish_labels: bool) -> EventMaker:
    return EventMaker(
        device="lobby-01",
        camera="cam0",
        boot_id="b0070001",
        random_bits=lambda bits: 2**bits - 1,
        publish_labels=publish_labels,
        live_max_age_s=30,
        models=ModelHashes("sha256:1f", "sha256:a2"),
    )


def bodies(made: EventMaker) -> list[bytes]:
    """All that is ever said about subject 7."""
    phases: tuple[Phase, ...] = ("start", "end")
    sightings = [Sighting(phase, "v", subject(7), at(1), 0.5, None, 0.7, 0.2, 5, 0.8) for phase in phases]
    visit = Visit(
        "v",
        subject(7),
        at(1),
        last_seen_ns=0,
        threshold=0.5,
        fmr=None,
        score=0.7,
        margin=0.2,
        frames=5,
        quality=0.8,
    )
    said = [made.event(sighting) for sighting in sightings], made.presence([visit], at(2))
    return [msgspec.json.encode(part) for part in (*said[0], said[1])]


def test_no_label_is_published_as_porter_comes() -> None:
    assert Config().events.publish_labels is False
    assert not [
        body for body in bodies(maker(publish_labels=Config().events.publish_labels)) if LABEL in body
    ]


def test_a_label_is_published_where_the_configuration_says_so() -> None:
    assert all(LABEL in body for body in bodies(maker(publish_labels=True)))


@pytest.mark.parametrize("publish_labels", [False, True])
def test_the_ref_is_always_there(publish_labels: bool) -> None:
    assert all(b"p_0007" in body for body in bodies(maker(publish_labels=publish_labels)))


def test_whoever_withdraws_at_the_door_is_not_named_again_even_then() -> None:
    door, made = Door([1, 2]), maker(publish_labels=True)
    assert door.show(Painted(1), frames=5) == ["start p_0001"]
    (end,) = door.pipeline.sightings.adopt(gallery_of([2]), at(door.seconds))
    body = msgspec.json.encode(made.event(end))
    assert b"p_0001" in body
    assert b"label" not in body
