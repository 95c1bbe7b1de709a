# SPDX-License-Identifier: Apache-2.0
"""Gallery and ledger together: whatever happens in between, nobody stays whose consent does not stand."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from device.adapters.clock import ManualClock
from device.adapters.gallery_memory import MemoryGallery
from device.adapters.gallery_sqlite import SqliteGallery
from device.adapters.ledger_file import FileLedger
from device.adapters.ledger_memory import MemoryLedger
from device.errors import GalleryLocked, InputError, StorageError
from device.ledger import consenting
from device.records import Consent
from device.registrar import Registrar
from tests.people import KEY, NS, UTC_S

if TYPE_CHECKING:
    from pathlib import Path

    from device.ports import GalleryStore, Ledger

ROWS = np.eye(8, dtype=np.float32)
CONSENT = Consent("", "door", "ab" * 32, UTC_S * NS, (UTC_S + 3600) * NS, "alice")
LATER = Consent("", "door", "cd" * 32, UTC_S * NS, (UTC_S + 7200) * NS, "alice")


def made(store: GalleryStore | None = None, ledger: Ledger | None = None) -> Registrar:
    store, ledger = store or MemoryGallery(8), ledger or MemoryLedger()
    return Registrar(store, ledger, ManualClock(), camera="cam0")


def on_disk(folder: Path) -> Registrar:
    gallery = SqliteGallery(
        folder / "gallery.sqlite",
        simulated=False,
        embedder="sface",
        embedder_sha256="cd" * 32,
        dimension=8,
        device_key=KEY,
        busy_s=0.0,
    )
    try:
        return made(gallery, FileLedger(folder / "ledger.jsonl"))
    except GalleryLocked:
        gallery.close()
        raise


def kinds(registrar: Registrar) -> list[str]:
    return [entry.kind for entry in registrar.entries]


def test_an_enrolment_is_written_down_with_its_terms_and_without_its_label() -> None:
    registrar = made()
    anna = registrar.enrol("unmistakable-label", CONSENT, ROWS[:3])
    (entry,) = registrar.entries
    assert (entry.kind, entry.subject, entry.ref, entry.references) == (
        "enrolled",
        anna.subject_id,
        anna.ref,
        3,
    )
    assert entry.terms is not None
    assert entry.terms.policy_sha256 == CONSENT.policy_sha256
    assert entry.terms.cameras == ["cam0"]
    assert (entry.terms.expires_at_ns, entry.terms.recorded_by) == (CONSENT.expires_at_ns, "alice")
    assert (entry.at, entry.clock) == ("2026-11-23T04:20:00.000Z", "synced")
    assert "unmistakable-label" not in repr(entry)
    assert registrar.marked == entry.head


def test_a_withdrawal_is_written_before_and_after_the_erasing() -> None:
    registrar = made()
    registrar.enrol("anna", CONSENT, ROWS[:3])
    registrar.withdraw("anna")
    assert kinds(registrar) == ["enrolled", "withdrawn", "erased"]
    assert not registrar.subjects()


def test_a_renewal_is_written_down_with_its_terms() -> None:
    registrar = made()
    anna = registrar.enrol("anna", CONSENT, ROWS[:3])
    renewed = registrar.renew("anna", LATER)
    assert kinds(registrar) == ["enrolled", "renewed"]
    entry = registrar.entries[-1]
    assert entry.terms is not None
    assert (entry.subject, entry.terms.policy_sha256) == (anna.subject_id, LATER.policy_sha256)
    assert entry.terms.consent == renewed.consent.consent_id != anna.consent.consent_id
    assert consenting(registrar.entries) == {anna.subject_id: entry}


def test_a_renewal_that_cannot_be_written_down_is_told_and_written_at_the_next_start() -> None:
    store, ledger = MemoryGallery(8), MemoryLedger(fail_after=1)
    registrar = made(store, ledger)
    registrar.enrol("anna", CONSENT, ROWS[:3])
    with pytest.raises(StorageError, match="renewed, but not written into the ledger yet"):
        registrar.renew("anna", LATER)
    mended = MemoryLedger()
    for entry in ledger.entries:
        mended.append(entry)
    again = made(store, mended)
    assert kinds(again) == ["enrolled", "renewed"]
    assert again.returned == 0
    assert [one.consent.expires_at_ns for one in again.subjects()] == [LATER.expires_at_ns]


def test_another_name_is_no_entry() -> None:
    registrar = made()
    registrar.enrol("anna", CONSENT, ROWS[:3])
    assert registrar.rename("anna", "beth").label == "beth"
    assert kinds(registrar) == ["enrolled"]


def test_an_old_copy_of_the_gallery_brings_no_replaced_reference_back(tmp_path: Path) -> None:
    with closing(on_disk(tmp_path)) as registrar:
        registrar.enrol("anna", CONSENT, ROWS[:3])
    shutil.copy(tmp_path / "gallery.sqlite", tmp_path / "backup")
    with closing(on_disk(tmp_path)) as registrar:
        registrar.renew("anna", LATER, ROWS[3:6])
    shutil.copy(tmp_path / "backup", tmp_path / "gallery.sqlite")
    with closing(on_disk(tmp_path)) as registrar:
        assert registrar.returned == 1
        assert not registrar.subjects()


def test_a_consent_whose_terms_were_changed_in_the_gallery_alone_is_none(tmp_path: Path) -> None:
    with closing(on_disk(tmp_path)) as registrar:
        registrar.enrol("anna", CONSENT, ROWS[:3])
    with closing(sqlite3.connect(tmp_path / "gallery.sqlite")) as db, db:
        db.execute("UPDATE consent SET expires_at_ns = expires_at_ns + 1000000000")
    with closing(on_disk(tmp_path)) as registrar:
        assert registrar.returned == 1
        assert not registrar.subjects()


def test_an_expiry_is_written_down() -> None:
    registrar = made()
    anna = registrar.enrol("anna", CONSENT, ROWS[:3])
    registrar.enrol("bert", replace(CONSENT, expires_at_ns=CONSENT.expires_at_ns + NS), ROWS[3:5])
    assert registrar.erase_expired(CONSENT.expires_at_ns) == [anna]
    assert kinds(registrar) == ["enrolled", "enrolled", "expired", "erased"]
    assert [one.label for one in registrar.subjects()] == ["bert"]


def test_withdrawing_a_stranger_writes_nothing() -> None:
    registrar = made()
    with pytest.raises(InputError, match="nobody is enrolled"):
        registrar.withdraw("anna")
    assert not registrar.entries


def test_nobody_is_enrolled_who_cannot_be_written_down() -> None:
    registrar = made(ledger=MemoryLedger(fail_after=0))
    with pytest.raises(StorageError, match="no space"):
        registrar.enrol("anna", CONSENT, ROWS[:3])
    assert not registrar.subjects()


def test_who_withdraws_is_erased_even_if_it_cannot_be_written_down() -> None:
    registrar = made(ledger=MemoryLedger(fail_after=1))
    registrar.enrol("anna", CONSENT, ROWS[:3])
    with pytest.raises(StorageError, match="erased, but not written"):
        registrar.withdraw("anna")
    assert not registrar.subjects()


def test_an_old_copy_of_the_gallery_brings_nobody_back(tmp_path: Path) -> None:
    with closing(on_disk(tmp_path)) as registrar:
        registrar.enrol("anna", CONSENT, ROWS[:3])
        registrar.enrol("bert", CONSENT, ROWS[3:5])
    shutil.copy(tmp_path / "gallery.sqlite", tmp_path / "backup")
    with closing(on_disk(tmp_path)) as registrar:
        registrar.withdraw("anna")
    shutil.copy(tmp_path / "backup", tmp_path / "gallery.sqlite")
    with closing(on_disk(tmp_path)) as registrar:
        assert registrar.returned == 1
        assert [one.label for one in registrar.subjects()] == ["bert"]
        assert kinds(registrar)[-2:] == ["erased", "erased"]
    with closing(on_disk(tmp_path)) as registrar:
        assert registrar.returned == 0


def test_an_old_copy_of_the_ledger_is_refused_and_nothing_is_erased(tmp_path: Path) -> None:
    with closing(on_disk(tmp_path)) as registrar:
        registrar.enrol("anna", CONSENT, ROWS[:3])
        shutil.copy(tmp_path / "ledger.jsonl", tmp_path / "backup")
        registrar.enrol("bert", CONSENT, ROWS[3:5])
    present = (tmp_path / "ledger.jsonl").read_bytes()
    for wrong in ((tmp_path / "backup").read_bytes(), b""):
        (tmp_path / "ledger.jsonl").write_bytes(wrong)
        with pytest.raises(GalleryLocked, match="shortened or exchanged"):
            on_disk(tmp_path)
    (tmp_path / "ledger.jsonl").write_bytes(present)
    with closing(on_disk(tmp_path)) as registrar:
        assert [one.label for one in registrar.subjects()] == ["anna", "bert"]


def test_a_subject_whom_the_gallery_lost_is_written_off() -> None:
    ledger = MemoryLedger()
    made(ledger=ledger).enrol("anna", CONSENT, ROWS[:3])
    registrar = made(ledger=ledger)
    assert kinds(registrar) == ["enrolled", "erased"]
    assert not consenting(registrar.entries)


# Kills itself at the n-th call that changes gallery or ledger, before or after it.
KILLED = """
import os, signal, sys
from pathlib import Path
from dataclasses import replace
from tests.unit.test_registrar import CONSENT, LATER, ROWS, on_disk

folder, action, at, when = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
registrar = on_disk(folder)
calls = 0

def counted(whole, method):
    real = getattr(whole, method)
    def call(*args):
        global calls
        calls += 1
        if calls == at and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        done = real(*args)
        if calls == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return done
    setattr(whole, method, call)

for method in ("enrol", "renew", "withdraw", "mark"):
    counted(registrar._store, method)
counted(registrar._ledger, "append")
if action == "enrol":
    registrar.enrol("carl", CONSENT, ROWS[5:7])
elif action == "withdraw":
    registrar.withdraw("anna")
elif action in ("renew", "again"):
    registrar.renew("anna", LATER, ROWS[5:7] if action == "again" else None)
else:
    registrar.erase_expired(CONSENT.expires_at_ns)
os._exit(calls)
"""


def run_killed(folder: Path, action: str, at: int, when: str) -> int:
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder), action, str(at), when], check=False)
    return done.returncode


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("action", "calls"), [("enrol", 3), ("withdraw", 5), ("expire", 5)])
def test_killed_at_any_step_only_those_stay_whose_consent_stands(
    tmp_path: Path, action: str, calls: int, when: str
) -> None:
    seen = set()
    for at in range(1, calls + 2):
        folder = tmp_path / str(at)
        folder.mkdir()
        with closing(on_disk(folder)) as registrar:
            registrar.enrol("anna", CONSENT, ROWS[:3])
            registrar.enrol("bert", replace(CONSENT, expires_at_ns=CONSENT.expires_at_ns + NS), ROWS[3:5])
        # Beyond its last step it comes to its end, and says how many there were.
        assert run_killed(folder, action, at, when) == (-signal.SIGKILL if at <= calls else calls)
        with closing(on_disk(folder)) as registrar:
            present = {one.subject.subject_id: one.subject.label for one in registrar.load(UTC_S * NS)}
            assert set(present) == set(consenting(registrar.entries))
            assert "bert" in present.values()
            seen.add("anna" in present.values() if action != "enrol" else "carl" in present.values())
            with closing(on_disk_again(folder, registrar)) as again:
                assert again.returned == 0
    # A withdrawal stands as soon as its first line is written.
    assert seen == (
        {False} if (action, when) in {("withdraw", "after"), ("expire", "after")} else {True, False}
    )


def on_disk_again(folder: Path, open_one: Registrar) -> Registrar:
    """Closes, and opens once more: what the first start mended, the second finds in order."""
    open_one.close()
    return on_disk(folder)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("action", ["renew", "again"])
def test_killed_at_any_step_a_renewal_is_whole_or_not_there(tmp_path: Path, action: str, when: str) -> None:
    seen = set()
    calls = 3
    for at in range(1, calls + 2):
        folder = tmp_path / str(at)
        folder.mkdir()
        with closing(on_disk(folder)) as registrar:
            registrar.enrol("anna", CONSENT, ROWS[:3])
        assert run_killed(folder, action, at, when) == (-signal.SIGKILL if at <= calls else calls)
        with closing(on_disk(folder)) as registrar:
            (anna,) = registrar.load(UTC_S * NS)
            (entry,) = consenting(registrar.entries).values()
            assert entry.terms is not None
            assert entry.terms.expires_at_ns == anna.subject.consent.expires_at_ns
            renewed = anna.subject.consent.expires_at_ns == LATER.expires_at_ns
            kept = ROWS[5:7] if renewed and action == "again" else ROWS[:3]
            assert anna.references @ registrar.basis == pytest.approx(kept, abs=1e-6)
            seen.add(renewed)
            with closing(on_disk_again(folder, registrar)) as again:
                assert again.returned == 0
                assert kinds(again) == (["enrolled", "renewed"] if renewed else ["enrolled"])
    assert seen == ({True} if when == "after" else {True, False})
