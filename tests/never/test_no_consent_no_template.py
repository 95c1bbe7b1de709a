# SPDX-License-Identifier: Apache-2.0
"""Never 1 and 8: no consent, no template; small by design. By the API, and by SQL from any program."""

from __future__ import annotations

import inspect
import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from device.adapters.gallery_memory import MemoryGallery
from device.adapters.gallery_sqlite import SqliteGallery
from device.errors import InputError
from device.ports import GalleryStore
from device.records import Consent
from tests.people import KEY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

D = 128
YEAR_NS = 366 * 86_400_000_000_000
GIVEN_NS = 1_795_392_000_000_000_000
CONSENT = Consent("", "recognition at this door", "ab" * 32, GIVEN_NS, GIVEN_NS + YEAR_NS, "alice")
ROWS = np.eye(D, dtype=np.float32)
REFERENCE = (
    "INSERT {how} INTO reference (consent, position, embedder_sha256, sealed) "
    "VALUES (?, ?, 'x', zeroblob(512))"
)
INSERT = (
    "INSERT {how} INTO consent "
    "(subject_id, ref, label, purpose, policy_sha256, given_at_ns, expires_at_ns, recorded_by) VALUES "
    "(lower(hex(randomblob(16))), 'p_' || lower(hex(randomblob(4))), ?, 'door', ?, ?, ?, 'alice')"
)


def opened(path: Path) -> SqliteGallery:
    return SqliteGallery(
        path, simulated=False, embedder="sface", embedder_sha256="cd" * 32, dimension=D, device_key=KEY
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A gallery of one."""
    path = tmp_path / "gallery.sqlite"
    with closing(opened(path)) as gallery:
        gallery.enrol("anna", CONSENT, ROWS[:3])
    return path


@pytest.fixture(params=["foreign keys on", "foreign keys off"])
def db(request: pytest.FixtureRequest, path: Path) -> Iterator[sqlite3.Connection]:
    """The gallery's file in the hands of another program."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"PRAGMA foreign_keys = {request.param.rsplit(maxsplit=1)[-1]}")
        yield db


@pytest.mark.parametrize("how", ["", "OR REPLACE", "OR IGNORE"])
def test_sql_cannot_insert_a_reference_without_a_consent(db: sqlite3.Connection, how: str) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        db.execute(REFERENCE.format(how=how), (99, 0))
    with pytest.raises(sqlite3.IntegrityError):
        db.execute(REFERENCE.format(how=how), (None, 0))


def test_sql_cannot_move_a_reference_away_from_its_consent(db: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        db.execute("UPDATE reference SET consent = 99")
    with pytest.raises(sqlite3.IntegrityError):
        db.execute("UPDATE consent SET number = 99")


def test_sql_that_deletes_the_consent_deletes_the_references(db: sqlite3.Connection) -> None:
    db.execute("DELETE FROM consent")
    assert db.execute("SELECT count(*) FROM reference").fetchone() == (0,)


@pytest.mark.parametrize("how", ["", "OR REPLACE"])
def test_sql_cannot_slip_another_consent_under_present_references(db: sqlite3.Connection, how: str) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        db.execute(INSERT.format(how=how), ("anna", "ab" * 32, GIVEN_NS, GIVEN_NS + YEAR_NS))


def test_sql_cannot_push_a_subject_out_by_a_rename(path: Path) -> None:
    with closing(opened(path)) as gallery:
        gallery.enrol("bert", CONSENT, ROWS[3:5])
    with closing(sqlite3.connect(path)) as db, pytest.raises(sqlite3.IntegrityError):
        db.execute("UPDATE OR REPLACE consent SET label = 'anna' WHERE label = 'bert'")


@pytest.mark.parametrize(("given", "expires"), [(GIVEN_NS, GIVEN_NS + 3 * YEAR_NS), (GIVEN_NS, GIVEN_NS)])
def test_sql_cannot_store_a_consent_of_more_than_three_years(
    db: sqlite3.Connection, given: int, expires: int
) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        db.execute(INSERT.format(how=""), ("bert", "ab" * 32, given, expires))
    with pytest.raises(sqlite3.IntegrityError):
        db.execute("UPDATE consent SET expires_at_ns = ?, given_at_ns = ?", (expires, given))


def test_a_subject_without_a_reference_cannot_be_committed(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA foreign_keys = ON")
        db.execute(INSERT.format(how=""), ("bert", "ab" * 32, GIVEN_NS, GIVEN_NS + YEAR_NS))
        with pytest.raises(sqlite3.IntegrityError):
            db.commit()


def test_sql_cannot_add_the_501st_subject(db: sqlite3.Connection) -> None:
    db.execute("BEGIN")
    for number in range(2, 501):
        db.execute(INSERT.format(how=""), (f"subject-{number}", "ab" * 32, GIVEN_NS, GIVEN_NS + YEAR_NS))
    with pytest.raises(sqlite3.IntegrityError, match="at most 500"):
        db.execute(INSERT.format(how=""), ("one too many", "ab" * 32, GIVEN_NS, GIVEN_NS + YEAR_NS))


def test_sql_cannot_turn_a_simulated_gallery_into_a_live_one(db: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        db.execute("UPDATE gallery SET kind = 'simulated'")


def test_a_gallery_forced_to_hold_an_orphan_does_not_open_it(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("DROP TRIGGER no_consent_no_template")
        db.execute(REFERENCE.format(how=""), (99, 0))
    with closing(opened(path)) as gallery:
        assert gallery.set_aside is not None
        assert not gallery.load(GIVEN_NS)


@pytest.mark.parametrize("store", [GalleryStore, SqliteGallery, MemoryGallery])
def test_the_only_way_in_asks_for_a_consent(store: type) -> None:
    """Whatever takes an array or adds somebody is `enrol` or `renew`, and neither goes without a Consent."""
    public = {
        name: value for name, value in vars(store).items() if callable(value) and not name.startswith("_")
    }
    takes_arrays = [
        n for n, f in public.items() if "NDArray" in str([*inspect.signature(f).parameters.values()])
    ]
    assert takes_arrays == ["enrol", "renew"]
    for way in takes_arrays:
        consent = inspect.signature(public[way]).parameters["consent"]
        assert (consent.annotation, consent.default) == ("Consent", inspect.Parameter.empty)
    others = {"load", "subjects", "rename", "withdraw", "erase_expired", "mark", "rotate", "close"}
    assert set(public) == {"enrol", "renew", *others}


@pytest.fixture(params=["memory", "sqlite"])
def gallery(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[GalleryStore]:
    store: GalleryStore = MemoryGallery(D) if request.param == "memory" else opened(tmp_path / "new.sqlite")
    yield store
    store.close()


def test_the_501st_subject_is_refused(gallery: GalleryStore) -> None:
    for number in range(500):
        gallery.enrol(f"subject-{number}", CONSENT, ROWS[:1])
    with pytest.raises(InputError, match="500 subjects"):
        gallery.enrol("one too many", CONSENT, ROWS[:1])
    assert len(gallery.subjects()) == 500


def test_a_consent_of_more_than_three_years_is_refused(gallery: GalleryStore) -> None:
    with pytest.raises(InputError, match="three years"):
        gallery.enrol("anna", replace(CONSENT, expires_at_ns=GIVEN_NS + 3 * YEAR_NS), ROWS[:1])
    assert not gallery.subjects()


def test_an_ended_consent_is_neither_loaded_nor_kept(gallery: GalleryStore) -> None:
    anna = gallery.enrol("anna", CONSENT, ROWS[:1])
    assert not gallery.load(CONSENT.expires_at_ns)
    assert gallery.erase_expired(CONSENT.expires_at_ns) == [anna]
    assert not gallery.load(GIVEN_NS)
    assert not gallery.subjects()
