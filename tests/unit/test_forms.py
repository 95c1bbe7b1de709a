# SPDX-License-Identifier: Apache-2.0
"""No file changes its form before the slot was kept: what stays over an update must open in the version before it.

docs/decisions/0029-migrations.md says what to do when one of these fails. Do not just write down the new form.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

import msgspec
import pytest

from device.adapters.ledger_file import FileLedger
from device.adapters.outbox_sqlite import SqliteOutbox
from device.errors import GalleryLocked
from device.gallery_file import VERSION
from device.ledger import Kind, LedgerEntry, Terms, digest_of
from device.outbox_file import SCHEMA
from device.payloads import ConsentInfo, Event, Liveness, ModelHashes, Person
from device.sqlite_file import SqliteFile
from device.update_record import UpdateRecord
from tests.contracts.test_ledger import entry
from tests.events import make_event
from tests.unit.test_gallery_sqlite import CONSENT, opened, references

if TYPE_CHECKING:
    from pathlib import Path

GALLERY_COLUMNS = {
    "gallery": "one kind embedder dimension root_key basis ledger_seq ledger_sha256 rotation_unwritten",
    "consent": "number subject_id ref label purpose policy_sha256 given_at_ns expires_at_ns recorded_by"
    " first_reference",
    "reference": "consent position embedder_sha256 sealed",
    "subject_key": "consent sealed",
}
OUTBOX_COLUMNS = {
    "boot": "k id last_seq",
    "event": "boot seq id body",
    "dead": "id boot seq body reason",
    "dropped": "boot events",
}
RECORDS = {
    # The outbox's bodies: an older forwarder buries an event with a field that it does not know.
    Event: "v event_type phase id visit boot seq device camera ts mono_ms clock valid_until delivery person score "
    "threshold margin frames quality fmr_at_threshold liveness consent model",
    Person: "ref label",
    Liveness: "method result",
    ConsentInfo: "id expires",
    ModelHashes: "detector embedder",
    # The ledger's lines: an older Porter takes one it does not know for damage, and matches nobody.
    LedgerEntry: "seq at clock boot kind subject ref references reason terms prev sha256",
    Terms: "consent policy_sha256 purpose cameras given_at_ns expires_at_ns recorded_by",
    # Fields may be added here: unknown ones are ignored.
    UpdateRecord: "version from_version outcome broker why boot slot failed",
}


def columns(path: Path) -> dict[str, str]:
    """The columns of every table, in order."""
    with closing(sqlite3.connect(path)) as db:
        tables = [
            name
            for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
            if not name.startswith("sqlite_")
        ]
        return {
            name: " ".join(row[1] for row in db.execute(f"PRAGMA table_info('{name}')")) for name in tables
        }


def schema(path: Path) -> list[tuple[object, ...]]:
    """All that SQLite knows of a file's form."""
    with closing(sqlite3.connect(path)) as db:
        found = db.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY name").fetchall()
        return [*found, db.execute("PRAGMA user_version").fetchone()]


def test_the_records_that_are_kept_on_disk_have_the_form_of_the_last_release() -> None:
    found = {record: " ".join(record.__struct_fields__) for record in RECORDS}
    assert found == RECORDS, "a record on disk has another form: read docs/decisions/0029-migrations.md"
    assert set(get_args(Kind)) == {"enrolled", "renewed", "withdrawn", "expired", "erased", "key_rotated"}


def test_the_databases_have_the_form_of_the_last_release(tmp_path: Path) -> None:
    with closing(SqliteOutbox(tmp_path / "outbox.sqlite")) as outbox:
        outbox.append([make_event()])
    with closing(opened(tmp_path / "gallery.sqlite")) as gallery:
        gallery.enrol("anna", CONSENT, references(1))
    why = "a database has another form: read docs/decisions/0029-migrations.md"
    assert (columns(tmp_path / "outbox.sqlite"), SCHEMA.version) == (OUTBOX_COLUMNS, 1), why
    assert (columns(tmp_path / "gallery.sqlite"), VERSION) == (GALLERY_COLUMNS, 3), why


def test_an_outbox_that_this_version_used_opens_in_one_that_knows_none_of_its_additions(
    tmp_path: Path,
) -> None:
    """`Schema.additions` come at once, trial or not: they are tables that an older version never looks at."""
    assert "CREATE TABLE IF NOT EXISTS" in SCHEMA.additions
    assert "ALTER" not in SCHEMA.additions.upper()
    older, path = replace(SCHEMA, additions="", carry_over=None), tmp_path / "outbox.sqlite"
    SqliteFile(path, older).close()
    with closing(SqliteOutbox(path)) as outbox:
        committed = outbox.append([make_event(1), make_event(2)])
    with closing(SqliteFile(path, older)) as file:
        bodies = file.run(lambda db: db.execute("SELECT body FROM event ORDER BY seq").fetchall())
    assert [msgspec.json.decode(body, type=Event) for (body,) in bodies] == list(committed)
    assert not list(tmp_path.glob("*.corrupt-*"))


def test_using_a_gallery_or_a_ledger_does_not_change_its_form(tmp_path: Path) -> None:
    path, ledger_path = tmp_path / "gallery.sqlite", tmp_path / "consent-ledger.jsonl"
    with closing(opened(path)) as gallery:
        gallery.enrol("anna", CONSENT, references(1))
    before = schema(path)
    with closing(opened(path)) as gallery:
        gallery.enrol("ben", CONSENT, references(2))
        gallery.rotate()
    assert schema(path) == before
    with closing(FileLedger(ledger_path)) as ledger:
        ledger.append(entry("s1"))
    written = ledger_path.read_bytes()
    with closing(FileLedger(ledger_path)) as ledger:
        ledger.append(entry("s2"))
    assert ledger_path.read_bytes().startswith(written)


@pytest.mark.parametrize("added", [{"kind": "moved"}, {"colour": "green"}])
def test_a_ledger_of_a_newer_porter_is_refused_and_left_as_it_is(
    tmp_path: Path, added: dict[str, str]
) -> None:
    path = tmp_path / "consent-ledger.jsonl"
    with closing(FileLedger(path)) as ledger:
        last = ledger.append(entry("s1"))
    newer = msgspec.to_builtins(last) | {"seq": 2, "prev": last.sha256, "sha256": digest_of(last)} | added
    with path.open("ab") as file:
        file.write(msgspec.json.encode(newer) + b"\n")
    before = path.read_bytes()
    with pytest.raises(GalleryLocked, match="line 2"):
        FileLedger(path)
    assert path.read_bytes() == before
