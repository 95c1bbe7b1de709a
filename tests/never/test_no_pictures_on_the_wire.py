# SPDX-License-Identifier: Apache-2.0
"""No pictures, no boxes, no embeddings, no strangers: not in the outbox, not on the state board, not on the wire.

The types of `payloads.py` are all that can leave the device. Their JSON schemas are searched for anything that could
carry such a thing, unknown fields are refused on the way in, and what is really published and stored is looked at.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from device import payloads
from device.adapters.outbox_sqlite import SqliteOutbox
from device.adapters.state_file import FileStateBoard
from device.payloads import Alert, Event, Info, Presence, ServiceState
from tests.contracts.test_state_board import make_state
from tests.events import make_event
from tests.forwarder_rig import Rig

if TYPE_CHECKING:
    from pathlib import Path

OUTGOING = (Event, Presence, Info, Alert, ServiceState)
TELLING = re.compile(
    r"image|picture|photo|jpe?g|snapshot|crop|pixels?|thumbnail|b?box|landmarks?|embedding|template|vector|features?"
    r"|probe|stranger|unknown|candidates?|age|sex|gender|emotion|ethnicity",
    re.IGNORECASE,
)
EVENT_FIELDS = {
    "v", "event_type", "phase", "id", "visit", "boot", "seq", "device", "camera", "ts", "mono_ms", "clock",
    "valid_until", "delivery", "person", "score", "threshold", "margin", "frames", "quality", "fmr_at_threshold",
    "liveness", "consent", "model",
}  # fmt: skip


def schemas() -> list[dict[str, Any]]:
    """The JSON schema of every payload type, those they are made of included."""
    _, components = msgspec.json.schema_components(OUTGOING, ref_template="#/{name}")
    return list(components.values())


def fields() -> list[tuple[str, dict[str, Any]]]:
    return [(name, field) for schema in schemas() for name, field in schema.get("properties", {}).items()]


def test_no_field_is_named_like_what_must_stay() -> None:
    words = [name for name, _ in fields() if any(TELLING.fullmatch(part) for part in name.split("_"))]
    assert words == []
    assert TELLING.fullmatch("embedding"), "the check itself works"


def test_no_field_can_hold_bytes_or_a_list_of_numbers() -> None:
    def holds(schema: dict[str, Any]) -> bool:
        numbers = schema.get("items", {}).get("type") in {"number", "integer", "array"}
        nested = [holds(part) for part in schema.get("anyOf", [])]
        return "contentEncoding" in schema or numbers or any(nested)

    assert [name for name, field in fields() if holds(field)] == []
    assert holds(msgspec.json.schema(list[float])), "the check itself works"
    assert holds(msgspec.json.schema(bytes)), "the check itself works"


def test_every_payload_type_refuses_unknown_fields() -> None:
    for kind in vars(payloads).values():
        if isinstance(kind, type) and issubclass(kind, payloads.Payload):
            assert kind.__struct_config__.forbid_unknown_fields, kind.__name__


def test_an_event_has_these_fields_and_no_others() -> None:
    assert {field.name for field in msgspec.structs.fields(Event)} == EVENT_FIELDS
    assert set(msgspec.json.decode(msgspec.json.encode(make_event()))) <= EVENT_FIELDS


@pytest.mark.parametrize("smuggled", ["embedding", "image", "box", "snapshot"])
def test_an_event_with_a_further_field_in_the_outbox_is_never_published(
    tmp_path: Path, smuggled: str
) -> None:
    path = tmp_path / "outbox.sqlite"
    outbox = SqliteOutbox(path)
    outbox.append([make_event(1), make_event(2)])
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        (body,) = db.execute("SELECT body FROM event WHERE seq = 1").fetchone()
        forged = body[:-1] + f',"{smuggled}":[0.1,0.2]}}'.encode()
        db.execute("UPDATE event SET body = ? WHERE seq = 1", (forged,))
    assert [event.seq for event in outbox.peek(10)] == [2]
    assert outbox.dead() == 1
    outbox.close()


def test_a_state_with_a_further_field_is_never_published(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(msgspec.json.encode(make_state())[:-1] + b',"snapshot":"/9j/4AAQ"}')
    assert FileStateBoard(path).read() is None


def test_what_reaches_the_broker_is_one_of_the_payload_types_and_nothing_else() -> None:
    rig = Rig()
    rig.writer.append([rig.event(1)])
    rig.troubles.raise_("disk_low", "little room", "")
    rig.steps()
    rig.clock.advance(60)
    rig.steps()
    rig.forwarder.close()
    kinds: dict[str, type] = {
        "match": Event,
        "late": Event,
        "presence": Presence,
        "info": Info,
        "disk_low": Alert,
    }
    for message in rig.exchange.published:
        last = message.topic.rpartition("/")[2]
        if last == "status":
            assert message.payload in (b"online", b"offline")
        elif message.payload:
            msgspec.json.decode(
                message.payload, type=kinds.get(last, Alert)
            )  # refuses what the type does not have
    assert {"match", "presence", "info", "disk_low"} <= {
        m.topic.rpartition("/")[2] for m in rig.exchange.published
    }
