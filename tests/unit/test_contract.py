# SPDX-License-Identifier: Apache-2.0
"""The contract as a table: what it lets pass, what it names, and the AsyncAPI document that is made from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import yaml

from device.adapters.clock import ManualClock
from device.asyncapi import document
from device.contract import CHANNELS, judge
from device.generate import PAYLOADS, payload_schema
from device.listening import Listener, line_of
from device.mqtt_messages import Received
from device.payloads import Alert, Event, Presence
from tests.events import make_event

ROOT = Path(__file__).resolve().parents[2]
DEVICE = "porter/v1/lobby-01"
EVENT = msgspec.json.encode(make_event(1, seq=1))


def problems(topic: str, payload: bytes, *, retained: bool = False, base: str = "porter") -> str:
    return "; ".join(judge(base, topic, payload, retained=retained).problems)


@pytest.mark.parametrize(
    ("topic", "payload", "channel"),
    [
        (f"{DEVICE}/status", b"online", "status"),
        (f"{DEVICE}/alert/disk_low", b"", "alert"),
        (f"{DEVICE}/cam0/match", EVENT, "match"),
        (f"{DEVICE}/cmd/pause", b"", "command"),
        (f"{DEVICE}/cmd/pause", b'{"on": false}', "command"),
    ],
)
def test_what_the_contract_has_passes(topic: str, payload: bytes, channel: str) -> None:
    judged = judge("porter", topic, payload, retained=False)
    assert judged.problems == ()
    assert judged.channel is not None
    assert judged.channel.name == channel


@pytest.mark.parametrize(
    ("topic", "payload", "said"),
    [
        (f"{DEVICE}/cam0/picture", b"jpeg", "no topic of contract v1"),
        ("porter/v2/lobby-01/status", b"online", "no topic of contract v1"),
        (f"{DEVICE}/status", b"asleep", "expected online or offline"),
        (f"{DEVICE}/info", b"", "not a body of info"),
        (f"{DEVICE}/cam0/match", EVENT[:-5], "not a body of match"),
        (f"{DEVICE}/cam0/match", EVENT[:-1] + b',"picture":"aGk="}', "unknown field `picture`"),
        (f"{DEVICE}/cam0/match/late", EVENT, "delivery is 'live' on matchLate"),
        (f"{DEVICE}/cam1/match", EVENT, "camera is 'cam0' in the body and 'cam1' in the topic"),
        ("porter/v1/other/cam0/match", EVENT, "device is 'lobby-01' in the body and 'other' in the topic"),
        (f"{DEVICE}/cam0/match", b"[" * 100_000, "not a body of match"),
        (f"{DEVICE}/cam0/match", b"\xff\xfe", "not a body of match"),
    ],
)
def test_what_it_does_not_have_is_named(topic: str, payload: bytes, said: str) -> None:
    assert said in problems(topic, payload)


def test_an_event_that_was_retained_is_against_it() -> None:
    assert "retained, which this topic never is" in problems(f"{DEVICE}/cam0/match", EVENT, retained=True)
    assert problems(f"{DEVICE}/status", b"online", retained=True) == ""


def test_a_base_of_several_levels_and_odd_signs_is_taken_as_it_is() -> None:
    assert problems("a.b/c(d/v1/lobby-01/status", b"online", base="a.b/c(d") == ""
    assert "no topic" in problems("axb/c(d/v1/lobby-01/status", b"online", base="a.b/c(d")


def test_the_table_and_the_generated_schemas_agree() -> None:
    jsonschema.validate(msgspec.json.decode(EVENT), payload_schema(Event))
    kinds = {channel.body for channel in CHANNELS if channel.body is not None}
    assert kinds == set(PAYLOADS.values())


def references(part: Any) -> list[str]:
    """Every `$ref` in a document."""
    if isinstance(part, dict):
        return (
            [part["$ref"]]
            if "$ref" in part
            else [ref for value in part.values() for ref in references(value)]
        )
    return [ref for item in part for ref in references(item)] if isinstance(part, list) else []


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    written = yaml.safe_load((ROOT / "config/asyncapi.yaml").read_text(encoding="utf-8"))
    assert written == document()
    for reference in references(written):
        place, _, path = reference.partition("#")
        if place:
            assert (ROOT / "config" / place).is_file(), reference
            continue
        found: Any = written
        for step in path.strip("/").split("/"):
            found = found[step]
    assert len(written["operations"]) == len(CHANNELS)
    received = [one for one in written["operations"].values() if one["action"] == "receive"]
    assert [one["channel"]["$ref"] for one in received] == ["#/channels/command"]


class Ear:
    """A listener, and what it says of events that come."""

    def __init__(self) -> None:
        self.listener = Listener()
        self.clock = ManualClock()

    def hear(self, event: Event, topic: str = f"{DEVICE}/cam0/match") -> list[str]:
        message = Received(topic, msgspec.json.encode(event))
        return self.listener.hear(message, judge("porter", topic, message.payload, retained=False)).notes


def test_gaps_and_repeats_are_told_and_what_comes_after_all_is_no_gap() -> None:
    ear = Ear()
    assert ear.hear(make_event(7, seq=7)) == []  # whoever listens late begins in the middle
    assert ear.hear(make_event(8, seq=8)) == []
    assert ear.hear(make_event(8, seq=8)) == ["a repeat: drop it by its id"]
    assert ear.hear(make_event(12, seq=12)) == ["seq 9 to 11 missing"]
    late = make_event(10, seq=10, delivery="late")
    assert ear.hear(late, f"{DEVICE}/cam0/match/late") == ["seq 10 came after all"]
    assert ear.hear(make_event(20, seq=1, boot="00000002")) == []
    assert ear.hear(make_event(22, seq=3, boot="00000002")) == ["seq 2 missing"]
    assert (
        ear.listener.summary()
        == "7 messages, 6 events; 1 repeats, 3 events missing, 0 messages against the contract"
    )


def test_each_message_is_a_line_with_its_problems_below() -> None:
    ear = Ear()
    now = ear.clock.now()

    def line(topic: str, payload: bytes) -> str:
        judged = judge("porter", topic, payload, retained=False)
        return line_of(ear.listener.hear(Received(topic, payload), judged), now)

    said = line(f"{DEVICE}/cam0/match", EVENT)
    assert "start of p_7f3a, score 0.71 of 0.52, live, seq 1" in said
    presence = Presence(v=1, device="lobby-01", camera="cam0", ts="", present=[])
    assert "0 present: nobody" in line(f"{DEVICE}/cam0/presence", msgspec.json.encode(presence))
    alert = Alert(v=1, device="lobby-01", code="disk_low", ts="T", text="low", hint="")
    assert "since T: low" in line(f"{DEVICE}/alert/disk_low", msgspec.json.encode(alert))
    wrong = line(f"{DEVICE}/cam0/picture", b"\xff\xd8 jpeg")
    assert "    ! no topic of contract v1" in wrong
    assert ear.listener.problems == 1
