# SPDX-License-Identifier: Apache-2.0
"""Renewing every key: no score changes, nothing old stays in the file, and a kill at any step leaves what opens."""

from __future__ import annotations

import shutil
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import pytest

from device.adapters.clock import ManualClock
from device.adapters.gallery_memory import MemoryGallery
from device.adapters.gallery_sqlite import SqliteGallery
from device.adapters.ledger_file import FileLedger
from device.adapters.ledger_memory import MemoryLedger
from device.cli import main
from device.commands.ledger import lines_about
from device.control import Done, Rotated, RotateRequest
from device.errors import GalleryLocked, StorageError
from device.recognition.gallery import Gallery
from device.records import Consent
from device.registrar import Registrar
from device.sealing import CREDENTIAL, KEY_FILE, NEXT_KEY_FILE, PREVIOUS_CREDENTIAL, read_device_key
from tests.desk import with_anna
from tests.door import Painted
from tests.people import NS, UTC_S, at
from tests.unit.test_commands_service import service

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from device.ports import GalleryStore

DIMENSION = 128
CONSENT = Consent("", "door", "ab" * 32, UTC_S * NS, (UTC_S + 3600) * NS, "alice")


def references(seed: int, rows: int = 5) -> NDArray[np.float32]:
    drawn = np.random.default_rng(seed).normal(size=(rows, DIMENSION)).astype(np.float32)
    lengths: NDArray[np.float32] = np.linalg.norm(drawn, axis=1, keepdims=True)
    return np.divide(drawn, lengths)


def gallery_in(folder: Path, credentials: Path | None = None) -> SqliteGallery:
    return SqliteGallery(
        folder / "gallery.sqlite",
        simulated=False,
        embedder="sface",
        embedder_sha256="cd" * 32,
        dimension=DIMENSION,
        device_key=read_device_key(credentials, folder),
        busy_s=0.0,
    )


def registrar_in(folder: Path) -> Registrar:
    return Registrar(gallery_in(folder), FileLedger(folder / "ledger.jsonl"), ManualClock(), camera="cam0")


def scores(store: GalleryStore) -> NDArray[np.float32]:
    """Of five probes against everybody, as the matcher computes them."""
    gallery = Gallery(store.load(UTC_S * NS), basis=store.basis)
    return np.stack([gallery.compare(probe, at(0)) for probe in references(99)])


def everything_in(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir() if file.is_file())


def boxes_in(folder: Path) -> list[bytes]:
    """Everything sealed in the gallery's file."""
    with closing(sqlite3.connect(folder / "gallery.sqlite")) as db:
        found = db.execute("SELECT root_key FROM gallery UNION ALL SELECT basis FROM gallery").fetchall()
        found += db.execute(
            "SELECT sealed FROM subject_key UNION ALL SELECT sealed FROM reference"
        ).fetchall()
    return [box for (box,) in found]


def test_no_score_changes_in_ten_rotations(tmp_path: Path) -> None:
    with closing(gallery_in(tmp_path)) as gallery:
        gallery.enrol("anna", CONSENT, references(1))
        gallery.enrol("bert", CONSENT, references(2, rows=8))
        before, basis = scores(gallery), gallery.basis
        for _ in range(10):
            gallery.rotate()
        assert np.abs(gallery.basis - basis).max() > 0.1
        np.testing.assert_allclose(scores(gallery), before, rtol=0, atol=1e-6)
    with closing(gallery_in(tmp_path)) as gallery:
        np.testing.assert_allclose(scores(gallery), before, rtol=0, atol=1e-6)


def test_the_references_of_before_and_after_cannot_be_joined(tmp_path: Path) -> None:
    with closing(gallery_in(tmp_path)) as gallery:
        gallery.enrol("anna", CONSENT, references(1))
        before = gallery.load(UTC_S * NS)[0].references
        gallery.rotate()
        after = gallery.load(UTC_S * NS)[0].references
    # 128 values: the cosine of two unrelated directions has a deviation of 0.09.
    assert np.abs((before * after).sum(axis=1)).max() < 0.5


def test_nothing_sealed_before_stays_and_the_old_key_opens_nothing(tmp_path: Path) -> None:
    with closing(gallery_in(tmp_path)) as gallery:
        for number in range(4):
            gallery.enrol(f"person-{number}", CONSENT, references(number))
    old, key = boxes_in(tmp_path), (tmp_path / KEY_FILE).read_bytes()
    shutil.copy(tmp_path / "gallery.sqlite", tmp_path / "before")
    with closing(gallery_in(tmp_path)) as gallery:
        gallery.rotate()
        (tmp_path / "before").unlink()
        data = everything_in(tmp_path)
    assert len(old) == 26
    assert not any(box[place : place + 24] in data for box in old for place in range(0, len(box) - 24, 24))
    assert key not in data
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600
    assert not (tmp_path / NEXT_KEY_FILE).exists()
    (tmp_path / KEY_FILE).write_bytes(key)
    with pytest.raises(GalleryLocked, match="does not open it"):
        gallery_in(tmp_path)


def test_an_enrolment_after_a_rotation_is_kept_like_the_others(tmp_path: Path) -> None:
    with closing(gallery_in(tmp_path)) as gallery:
        gallery.enrol("anna", CONSENT, references(1))
        gallery.rotate()
        gallery.enrol("bert", CONSENT, references(2))
        gallery.withdraw("anna")
    with closing(gallery_in(tmp_path)) as gallery:
        (bert,) = gallery.load(UTC_S * NS)
        np.testing.assert_allclose(bert.references @ gallery.basis, references(2), atol=1e-6)


def test_a_replaced_credential_renews_everything_at_the_next_start(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / CREDENTIAL).write_bytes(b"a" * 32)
    with closing(gallery_in(tmp_path, credentials)) as gallery:
        gallery.enrol("anna", CONSENT, references(1))
        before, basis = scores(gallery), gallery.basis
        gallery.rotate()
        assert not (tmp_path / NEXT_KEY_FILE).exists(), "a credential is the operator's to replace"
    (credentials / CREDENTIAL).write_bytes(b"b" * 32)
    with pytest.raises(GalleryLocked):
        gallery_in(tmp_path, credentials)
    (credentials / PREVIOUS_CREDENTIAL).write_bytes(b"a" * 32)
    with closing(gallery_in(tmp_path, credentials)) as gallery:
        assert gallery.rotation_unwritten
        assert np.abs(gallery.basis - basis).max() > 0.1
        np.testing.assert_allclose(scores(gallery), before, rtol=0, atol=1e-6)
    (credentials / PREVIOUS_CREDENTIAL).unlink()
    gallery_in(tmp_path, credentials).close()


def test_a_credential_made_later_takes_the_place_of_the_file(tmp_path: Path) -> None:
    with closing(gallery_in(tmp_path)) as gallery:
        gallery.enrol("anna", CONSENT, references(1))
        before = scores(gallery)
    key = (tmp_path / KEY_FILE).read_bytes()
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / CREDENTIAL).write_bytes(b"a" * 32)
    with closing(gallery_in(tmp_path, credentials)) as gallery:
        np.testing.assert_allclose(scores(gallery), before, rtol=0, atol=1e-6)
        assert not (tmp_path / KEY_FILE).exists()
    (tmp_path / KEY_FILE).write_bytes(key)
    with pytest.raises(GalleryLocked):
        gallery_in(tmp_path)


def test_a_rotation_is_written_down_once() -> None:
    registrar = Registrar(MemoryGallery(DIMENSION), MemoryLedger(), ManualClock(), camera="cam0")
    registrar.enrol("anna", CONSENT, references(1))
    before = scores(registrar)
    registrar.rotate()
    registrar.withdraw("anna")
    assert before.shape == (5, 1)
    kinds = [entry.kind for entry in registrar.entries]
    assert kinds == ["enrolled", "key_rotated", "withdrawn", "erased"]
    assert (registrar.entries[1].references, registrar.entries[1].subject) == (5, "")


def test_an_export_tells_a_subject_of_the_rotations_that_their_references_were_in() -> None:
    registrar = Registrar(MemoryGallery(DIMENSION), MemoryLedger(), ManualClock(), camera="cam0")
    registrar.rotate()
    anna = registrar.enrol("anna", CONSENT, references(1))
    registrar.rotate()
    registrar.enrol("bert", CONSENT, references(2))
    registrar.withdraw("anna")
    registrar.rotate()
    assert [entry.seq for entry in lines_about(anna.ref, list(registrar.entries))] == [2, 3, 5, 6]


def test_a_rotation_that_could_not_be_written_down_is_before_anything_else() -> None:
    store, full = MemoryGallery(DIMENSION), MemoryLedger(fail_after=1)
    registrar = Registrar(store, full, ManualClock(), camera="cam0")
    registrar.enrol("anna", CONSENT, references(1))
    with pytest.raises(StorageError, match="not written into the ledger yet"):
        registrar.rotate()
    registrar = Registrar(store, MemoryLedger(full.entries), ManualClock(), camera="cam0")
    registrar.withdraw("anna")
    assert [entry.kind for entry in registrar.entries] == ["enrolled", "key_rotated", "withdrawn", "erased"]


# For each step a child with a copy of the folder, that kills itself at the step-th of the calls which a rotation makes
# to SQLite, to the system and to the ledger; the child after the last one comes to its end.
KILLED = """
import os, shutil, signal, sys
from itertools import count
from pathlib import Path
from tests.unit.test_rotation import registrar_in

WATCHED = {"execute", "executemany", "fetchone", "fetchall", "link", "unlink", "replace", "rename", "fsync", "open",
           "write", "flush", "fchmod", "chmod"}
folder = Path(sys.argv[1])

def rotate(step):
    registrar, seen = registrar_in(folder / str(step)), count(1)
    def traced(frame, event, function):
        if event == "c_return" and function.__name__ in WATCHED and next(seen) == step:
            os.kill(os.getpid(), signal.SIGKILL)
    sys.setprofile(traced)
    registrar.rotate()
    os._exit(0)

for step in count(1):
    shutil.copytree(folder / "start", folder / str(step))
    child = os.fork()
    if not child:
        rotate(step)
    if not os.WIFSIGNALED(os.waitpid(child, 0)[1]):
        break
print(step)
"""


def test_killed_at_any_step_it_is_the_old_gallery_or_the_new_one(tmp_path: Path) -> None:
    start = tmp_path / "start"
    start.mkdir()
    with closing(registrar_in(start)) as registrar:
        registrar.enrol("anna", CONSENT, references(1, rows=1))
        registrar.enrol("bert", CONSENT, references(2, rows=2))
        before, basis = scores(registrar), registrar.basis
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KILLED, str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
    )
    steps = int(done.stdout)
    assert steps > 40
    ends = []
    for step in range(1, steps + 1):
        folder = tmp_path / str(step)
        with closing(registrar_in(folder)) as registrar:
            np.testing.assert_allclose(scores(registrar), before, rtol=0, atol=1e-6)
            renewed = bool(np.abs(registrar.basis - basis).max() > 0.1)
            assert [entry.kind for entry in registrar.entries].count("key_rotated") == renewed, step
            assert [one.label for one in registrar.subjects()] == ["anna", "bert"]
        assert {file.name for file in folder.glob("device.key*")} == {KEY_FILE}, step
        ends.append(renewed)
    assert (ends[0], ends[-1]) == (False, True)
    assert ends == sorted(ends), "once it is the new gallery it stays the new one"


def test_a_rotation_through_the_desk_is_in_force_with_the_next_frame() -> None:
    desk = with_anna()
    basis = desk.gallery.basis
    desk.show(Painted(1), frames=3)
    assert desk.ask(RotateRequest(), Rotated) == Rotated(1, device_key=False)
    assert np.abs(desk.gallery.basis - basis).max() > 0.1
    desk.show(Painted(1), frames=3)
    desk.show(frames=14)
    desk.show(Painted(1), frames=3)
    assert desk.events() == [("start", "anna"), ("end", "anna"), ("start", "anna")]


@pytest.mark.parametrize("device_key", [True, False])
def test_the_command_says_what_is_new(
    device_key: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "control.sock"
    with service(path, {"RotateRequest": [Done(Rotated(3, device_key))]}) as handler:
        assert main(["rotate-key", "--socket", str(path)]) == 0
    assert handler.seen == [RotateRequest()]
    shown = capsys.readouterr().out
    assert ("and the device key are new" in shown) == device_key
    assert ("how to replace it" in shown) != device_key
