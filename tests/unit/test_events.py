# SPDX-License-Identifier: Apache-2.0
"""Sightings as messages: UUIDv7 by RFC 9562, times by RFC 3339, and what a label needs to get out."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.identifiers import uuid7
from device.payloads import Event, ModelHashes, rfc3339
from device.recognition.events import EventMaker
from device.recognition.sightings import Visit
from device.records import Phase, Sighting, Stamp
from tests.people import NS, UTC_S, at, subject

ALL_ONES = 2**74 - 1


def maker(**changes: Any) -> EventMaker:
    options: dict[str, Any] = {
        "device": "lobby-01",
        "camera": "cam0",
        "boot_id": "b0070001",
        "random_bits": lambda bits: 2**bits - 1,
        "publish_labels": False,
        "live_max_age_s": 30,
        "models": ModelHashes("sha256:1f", "sha256:a2"),
    }
    return EventMaker(**(options | changes))


def seen(phase: Phase = "start", captured: Stamp | None = None, **changes: Any) -> Sighting:
    values: dict[str, Any] = {
        "visit_id": uuid7(UTC_S * NS, 1),
        "subject": subject(7),
        "captured": captured or at(11.482),
        "threshold": 0.52,
        "fmr": 1.00004e-4,
        "score": 0.712345,
        "margin": 0.18004,
        "frames": 5,
        "quality": 0.83333,
    }
    return Sighting(phase=phase, **(values | changes))


def test_the_example_of_rfc_9562_comes_out() -> None:
    # Appendix A.6: 2022-02-22 19:22:22 GMT, rand_a 0xCC3, rand_b 0x18C4DC0C0C07398F.
    assert uuid7(1_645_557_742_000 * 10**6, 0xCC3 << 62 | 0x18C4DC0C0C07398F) == (
        "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"
    )


@given(utc_ms=st.integers(0, 2**48 - 1), bits=st.integers(0, ALL_ONES))
def test_python_reads_version_variant_time_and_every_random_bit(utc_ms: int, bits: int) -> None:
    read = uuid.UUID(uuid7(utc_ms * 10**6 + 999_999, bits))
    assert (read.version, read.variant) == (7, uuid.RFC_4122)
    assert read.int >> 80 == utc_ms
    assert (read.int >> 64 & 0xFFF) << 62 | read.int & 2**62 - 1 == bits


@given(st.integers(0, 2**47 - 1), st.integers(1, 2**47), st.integers(0, ALL_ONES), st.integers(0, ALL_ONES))
def test_a_later_millisecond_sorts_later(utc_ms: int, later_ms: int, one: int, other: int) -> None:
    assert uuid7(utc_ms * 10**6, one) < uuid7((utc_ms + later_ms) * 10**6, other)


def test_a_clock_before_1970_still_gives_an_id() -> None:
    assert uuid.UUID(uuid7(-1, 5)).version == 7


@pytest.mark.parametrize(
    ("utc_ns", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_795_407_611_482_999_999, "2026-11-23T04:20:11.482Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (951_782_400 * NS, "2000-02-29T00:00:00.000Z"),
        (2**63 - 1, "2262-04-11T23:47:16.854Z"),
        (253_402_300_799 * NS, "9999-12-31T23:59:59.000Z"),
        (10**21, "9999-12-31T23:59:59.000Z"),
        (-62_135_596_800 * NS, "0001-01-01T00:00:00.000Z"),
        (-(10**21), "0001-01-01T00:00:00.000Z"),
    ],
)
def test_any_clock_gives_a_time_that_can_be_read(utc_ns: int, text: str) -> None:
    assert rfc3339(utc_ns) == text


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_python_reads_every_time_back_to_the_millisecond(utc_ms: int) -> None:
    read = datetime.fromisoformat(rfc3339(utc_ms * 10**6))
    since = read - datetime(1970, 1, 1, tzinfo=UTC)
    assert (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000 == utc_ms


def test_a_start_says_all_that_the_contract_says() -> None:
    body = json.loads(msgspec.json.encode(maker().event(seen())))
    assert body == {
        "v": 1,
        "event_type": "match",
        "phase": "start",
        "id": uuid7(UTC_S * NS, 1),
        "visit": uuid7(UTC_S * NS, 1),
        "boot": "b0070001",
        "seq": 0,
        "device": "lobby-01",
        "camera": "cam0",
        "ts": "2026-11-23T04:20:11.482Z",
        "mono_ms": 3_611_482,
        "clock": "synced",
        "valid_until": "2026-11-23T04:20:41.482Z",
        "delivery": "live",
        "person": {"ref": "p_0007"},
        "score": 0.7123,
        "threshold": 0.52,
        "margin": 0.18,
        "frames": 5,
        "quality": 0.833,
        "fmr_at_threshold": 1e-4,
        "liveness": {"method": "none", "result": None},
        "consent": {"id": "c_7", "expires": "2027-11-23"},
        "model": {"detector": "sha256:1f", "embedder": "sha256:a2"},
    }


def test_an_end_has_an_id_of_its_own_and_names_its_start() -> None:
    end = maker().event(seen("end"))
    assert end.visit == seen().visit_id
    assert end.id != end.visit
    assert uuid.UUID(end.id).version == 7


def test_what_is_made_can_be_read_back_by_its_own_type() -> None:
    event = maker(publish_labels=True).event(seen("end", Stamp(0, 0, False), score=1.0000001, quality=1.0))
    assert msgspec.json.decode(msgspec.json.encode(event), type=Event) == event
    assert (event.clock, event.score) == ("unsynced", 1.0)


def test_an_unmeasured_threshold_has_no_fmr() -> None:
    assert maker().event(seen(fmr=None)).fmr_at_threshold is None


def test_presence_names_everyone_at_the_door_and_since_when() -> None:
    visits = [
        Visit(
            f"v{n}",
            subject(n),
            at(n),
            last_seen_ns=0,
            threshold=0.5,
            fmr=None,
            score=0.9,
            margin=1.0,
            frames=3,
            quality=1.0,
        )
        for n in (1, 2)
    ]
    body = json.loads(msgspec.json.encode(maker().presence(visits, at(9))))
    assert body["present"] == [
        {"person": {"ref": "p_0001"}, "since": "2026-11-23T04:20:01.000Z"},
        {"person": {"ref": "p_0002"}, "since": "2026-11-23T04:20:02.000Z"},
    ]
    assert body["ts"] == "2026-11-23T04:20:09.000Z"
