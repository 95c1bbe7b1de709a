# SPDX-License-Identifier: Apache-2.0
"""The gallery's file: who may open it, what erasing leaves, damage, a full disk, a kill."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from device.adapters.gallery_memory import MemoryGallery
from device.adapters.gallery_sqlite import SqliteGallery
from device.errors import GalleryLocked, StorageError
from device.gallery_file import SCHEMA
from device.recognition.consent import MAX_CONSENT_NS, MAX_REFERENCES
from device.recognition.gallery import MAX_SUBJECTS
from device.records import Consent
from device.sealing import DeviceKey
from tests.people import KEY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

DIMENSION = 128
GIVEN_NS = 1_795_392_000_000_000_000
CONSENT = Consent("", "door", "ab" * 32, GIVEN_NS, GIVEN_NS + 10**15, "alice")


def references(seed: int, rows: int = 5) -> NDArray[np.float32]:
    drawn = np.random.default_rng(seed).normal(size=(rows, DIMENSION)).astype(np.float32)
    lengths: NDArray[np.float32] = np.linalg.norm(drawn, axis=1, keepdims=True)
    return np.divide(drawn, lengths)


def opened(path: Path, **changed: Any) -> SqliteGallery:
    given: dict[str, Any] = {
        "simulated": False,
        "embedder": "sface",
        "embedder_sha256": "cd" * 32,
        "dimension": DIMENSION,
        "device_key": KEY,
    }
    return SqliteGallery(path, **(given | {"busy_s": 0.0} | changed))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gallery.sqlite"


def on_disk(path: Path) -> bytes:
    """Everything in the gallery's files."""
    return b"".join(one.read_bytes() for one in path.parent.iterdir() if one.name.startswith(path.name))


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes: as good as a full disk. (Python ignores SIGXFSZ, writes fail.)"""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_the_gallery_survives_closing_and_only_its_owner_reads_it(path: Path) -> None:
    with closing(opened(path)) as gallery:
        subject = gallery.enrol("anna", CONSENT, references(1))
        modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir()}
        assert set(modes.values()) == {0o600}, modes
    with closing(opened(path)) as gallery:
        assert gallery.subjects() == [subject]
        assert gallery.set_aside is None


def test_a_file_others_may_read_is_taken_from_them(path: Path) -> None:
    opened(path).close()
    path.chmod(0o664)
    opened(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_it_is_kept_as_the_design_says(path: Path) -> None:
    with closing(opened(path)) as gallery:
        wanted = {
            "journal_mode": "wal",
            "synchronous": 2,
            "secure_delete": 1,
            "foreign_keys": 1,
            "temp_store": 2,
        }
        assert {name: gallery._db.execute(f"PRAGMA {name}").fetchone()[0] for name in wanted} == wanted


def test_the_schema_says_the_same_limits_as_the_code() -> None:
    text = SCHEMA.read_text("utf-8")
    assert f"BETWEEN 1 AND {MAX_CONSENT_NS})" in text
    assert f"BETWEEN 0 AND {MAX_REFERENCES - 1})" in text
    assert f">= {MAX_SUBJECTS}\n" in text


@pytest.mark.parametrize("way", ["withdraw", "erase_expired"])
def test_erasing_leaves_no_byte_in_the_files(path: Path, way: str) -> None:
    others = [references(seed) for seed in range(20, 30)]
    with closing(opened(path)) as gallery:
        rows = references(1, rows=8)
        ref = gallery.enrol("unmistakable-label", CONSENT, rows).ref
        for number, other in enumerate(others):
            gallery.enrol(
                f"other-{number}", Consent("", "x", "ab" * 32, GIVEN_NS, GIVEN_NS + 10**16, "bob"), other
            )
        before = on_disk(path)
        boxes = [box for (box,) in gallery._db.execute("SELECT sealed FROM reference WHERE consent = 1")]
        boxes += [box for (box,) in gallery._db.execute("SELECT sealed FROM subject_key WHERE consent = 1")]
        kept = [box for (box,) in gallery._db.execute("SELECT sealed FROM reference WHERE consent <> 1")]
        assert len(boxes) == 9
        assert all(box in before for box in boxes)
        assert b"unmistakable-label" in before
        if way == "withdraw":
            gallery.withdraw("unmistakable-label")
        else:
            gallery.erase_expired(CONSENT.expires_at_ns)
        after = on_disk(path)
        assert not any(
            box[part : part + 24] in after for box in boxes for part in range(0, len(box) - 23, 24)
        )
        assert b"unmistakable-label" not in after
        assert ref.encode() not in after
        assert all(box in after for box in kept)
        assert len(kept) == 50


def test_many_comings_and_goings_leave_nothing_of_those_who_went(path: Path) -> None:
    rng = np.random.default_rng(5)
    present: dict[str, list[bytes]] = {}
    gone: list[bytes] = []
    newest = "SELECT reference.sealed FROM reference WHERE consent = (SELECT max(number) FROM consent)"
    with closing(opened(path)) as gallery:
        for step in range(120):
            if present and rng.random() < 0.45:
                label = list(present)[int(rng.integers(len(present)))]
                gallery.withdraw(label)
                gone += present.pop(label)
            else:
                gallery.enrol(
                    f"subject-{step}", CONSENT, references(1000 + step, rows=int(rng.integers(1, 9)))
                )
                present[f"subject-{step}"] = [box for (box,) in gallery._db.execute(newest)]
        data = on_disk(path)
    assert len(gone) > 60
    assert all(box in data for boxes in present.values() for box in boxes)
    assert not any(box[part : part + 32] in data for box in gone for part in range(0, len(box) - 31, 32))


def test_a_gallery_from_files_is_refused_by_a_real_camera(path: Path) -> None:
    opened(path, simulated=True).close()
    with pytest.raises(GalleryLocked, match="simulation") as caught:
        opened(path, simulated=False)
    assert "mv " in caught.value.hint
    opened(path, simulated=True).close()


def test_real_peoples_gallery_is_refused_by_a_simulation(path: Path) -> None:
    opened(path, simulated=False).close()
    before = path.read_bytes()
    with pytest.raises(GalleryLocked, match="real people") as caught:
        opened(path, simulated=True)
    assert "device.state_dir" in caught.value.hint
    assert path.read_bytes() == before


def test_another_variant_of_the_embedder_may_use_the_gallery(path: Path) -> None:
    with closing(opened(path)) as gallery:
        gallery.enrol("anna", CONSENT, references(1))
    with closing(opened(path, embedder_sha256="ef" * 32)) as gallery:
        gallery.enrol("bert", CONSENT, references(2))
        made_by = gallery._db.execute("SELECT DISTINCT embedder_sha256 FROM reference ORDER BY 1").fetchall()
        assert made_by == [("cd" * 32,), ("ef" * 32,)]


@pytest.mark.parametrize("other", [{"embedder": "arcface"}, {"dimension": 512}])
def test_another_embedder_is_refused(path: Path, other: dict[str, Any]) -> None:
    opened(path).close()
    with pytest.raises(GalleryLocked, match="cannot be compared"):
        opened(path, **other)


def test_a_newer_gallery_is_left_untouched(path: Path) -> None:
    with closing(opened(path)) as gallery:
        gallery.enrol("anna", CONSENT, references(1))
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 4")
    before = path.read_bytes()
    with pytest.raises(StorageError, match="newer Porter"):
        opened(path)
    assert path.read_bytes() == before


def test_another_programs_database_is_left_untouched(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE bookmarks (url TEXT)")
    before = path.read_bytes()
    with pytest.raises(StorageError, match="another program"):
        opened(path)
    assert path.read_bytes() == before


def filled(path: Path) -> bytes:
    with closing(opened(path)) as gallery:
        for seed in range(10):
            gallery.enrol(f"subject-{seed}", CONSENT, references(seed))
    return path.read_bytes()


def test_a_truncated_file_is_set_aside(path: Path) -> None:
    whole = filled(path)
    path.write_bytes(whole[: len(whole) // 2])
    with closing(opened(path)) as gallery:
        assert gallery.set_aside == path.with_name("gallery.sqlite.corrupt-1")
        assert gallery.set_aside.read_bytes() == whole[: len(whole) // 2]
        assert not gallery.subjects()
        gallery.enrol("anna", CONSENT, references(1))


@pytest.mark.parametrize("garbage", [b"not a database", os.urandom(9000)])
def test_garbage_is_set_aside_with_its_log_and_never_overwrites_an_earlier_one(
    path: Path, garbage: bytes
) -> None:
    path.with_name("gallery.sqlite.corrupt-1").write_bytes(b"an earlier one")
    path.write_bytes(garbage)
    path.with_name("gallery.sqlite-wal").write_bytes(b"a torn log")
    with closing(opened(path)) as gallery:
        assert gallery.set_aside == path.with_name("gallery.sqlite.corrupt-2")
    assert path.with_name("gallery.sqlite.corrupt-1").read_bytes() == b"an earlier one"
    assert path.with_name("gallery.sqlite.corrupt-2").read_bytes() == garbage
    assert path.with_name("gallery.sqlite.corrupt-2-wal").read_bytes() == b"a torn log"
    with closing(opened(path)) as gallery:
        assert gallery.set_aside is None


def test_a_flipped_reference_is_found_at_opening(path: Path) -> None:
    data = bytearray(filled(path))
    with closing(sqlite3.connect(path)) as db:
        (box,) = db.execute("SELECT sealed FROM reference WHERE consent = 4 AND position = 2").fetchone()
    data[data.index(box) + 50] ^= 0x40
    path.write_bytes(data)
    with closing(opened(path)) as gallery:
        assert gallery.set_aside is not None


def test_a_gallery_without_one_of_its_tables_is_set_aside(path: Path) -> None:
    filled(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP TABLE gallery")
    with closing(opened(path)) as gallery:
        assert gallery.set_aside is not None


def test_a_file_killed_before_its_first_transaction_is_new(path: Path) -> None:
    path.touch()
    with closing(opened(path)) as gallery:
        assert gallery.set_aside is None
        gallery.enrol("anna", CONSENT, references(1))


def test_a_full_disk_is_an_error_and_nothing_is_half_there(path: Path) -> None:
    with closing(opened(path)) as gallery:
        anna = gallery.enrol("anna", CONSENT, references(1))
        rows = references(2, rows=8)
        with file_size_limit(4096), pytest.raises(StorageError, match="cannot be changed"):
            gallery.enrol("bert", CONSENT, rows)
        assert gallery.subjects() == [anna]
        assert b"bert" not in on_disk(path)
        bert = gallery.enrol("bert", CONSENT, rows)
    with closing(opened(path)) as gallery:
        assert gallery.subjects() == [anna, bert]
        assert gallery.set_aside is None


def test_a_full_disk_at_the_first_start_is_an_error(path: Path) -> None:
    with file_size_limit(4096), pytest.raises(StorageError):
        opened(path)
    with closing(opened(path)) as gallery:
        assert gallery.set_aside is None


def test_a_second_process_is_told_that_the_gallery_is_in_use(path: Path) -> None:
    with closing(opened(path)), pytest.raises(StorageError, match="locked") as caught:
        opened(path)
    assert "systemctl status" in caught.value.hint


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="folder does not exist") as caught:
        opened(tmp_path / "nowhere" / "gallery.sqlite")
    assert "mkdir -p" in caught.value.hint


def test_a_folder_in_its_place_is_an_error(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StorageError, match="cannot be opened"):
        opened(path)


def test_a_link_in_its_place_is_an_error(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="cannot be opened"):
        opened(path)


START = """
import itertools, os, signal, sys
from pathlib import Path
import numpy as np
from device.adapters.gallery_sqlite import SqliteGallery
from device.records import Consent
from device.sealing import DeviceKey

def die():
    os.kill(os.getpid(), signal.SIGKILL)

given = 1_795_392_000_000_000_000
consent = Consent("", "door", "ab" * 32, given, given + 10**15, "alice")
rows = np.eye(128, dtype=np.float32)
tokens = itertools.count(1)
def token():
    if next(tokens) == int(sys.argv[2]):
        die()
    return os.urandom(16).hex()
gallery = SqliteGallery(Path(sys.argv[1]), simulated=False, embedder="sface", embedder_sha256="cd" * 32,
                        dimension=128, device_key=DeviceKey(b"k" * 32, "a test"), random_token=token)
gallery.enrol("anna", consent, rows[:3])
"""


def killed(path: Path, program: str, token: int = 0) -> None:
    """Runs `program` until it kills itself, at the latest where the gallery asks for its `token`-th random token."""
    done = subprocess.run([sys.executable, "-c", START + program, str(path), str(token)], check=False)
    assert done.returncode == -signal.SIGKILL


def test_killed_after_enrolling_the_subject_is_there(path: Path) -> None:
    killed(path, "die()")
    with closing(opened(path)) as gallery:
        assert [one.label for one in gallery.subjects()] == ["anna"]
        assert gallery.set_aside is None


@pytest.mark.parametrize("token", [3, 4])  # two tokens an enrolment, both drawn inside the transaction
def test_killed_while_enrolling_nothing_is_half_there(path: Path, token: int) -> None:
    killed(path, "gallery.enrol('bert', consent, rows[3:6])", token)
    with closing(opened(path)) as gallery:
        assert [one.label for one in gallery.subjects()] == ["anna"]
        assert gallery.enrol("bert", CONSENT, references(2)).references == 5


def test_killed_before_the_log_was_emptied_the_next_start_finishes_the_erasing(path: Path) -> None:
    killed(path, "gallery._db.execute('DELETE FROM consent'); die()")
    assert b"anna" in on_disk(path)
    with closing(opened(path)) as gallery:
        assert not gallery.subjects()
        assert b"anna" not in on_disk(path)


def test_killed_after_the_key_was_destroyed_the_next_start_erases_the_rest(path: Path) -> None:
    killed(path, "gallery._db.execute('DELETE FROM subject_key'); die()")
    with closing(opened(path)) as gallery:
        assert gallery.set_aside is None
        assert not gallery.subjects()
        assert not gallery.load(GIVEN_NS)
        assert gallery._db.execute("SELECT count(*) FROM reference").fetchone() == (0,)
    assert b"anna" not in on_disk(path)


@pytest.mark.parametrize("kind", [np.float32, np.float16, np.float64])
def test_no_reference_lies_open_in_the_file(path: Path, kind: type) -> None:
    rows = references(1)
    with closing(opened(path)) as gallery:
        gallery.enrol("anna", CONSENT, rows)
        turned = rows @ gallery.basis.T
        data = on_disk(path)
    for row in (*rows, *turned):
        raw = row.astype(kind).tobytes()
        assert not any(raw[part : part + 16] in data for part in range(0, len(raw) - 15, 16))


def test_scores_are_those_of_the_references_as_embedded(path: Path) -> None:
    rows, probe = references(1), references(2, rows=1)[0]
    with closing(opened(path)) as gallery:
        gallery.enrol("anna", CONSENT, rows)
    with closing(opened(path)) as gallery:
        (anna,) = gallery.load(GIVEN_NS)
        np.testing.assert_allclose(gallery.basis @ gallery.basis.T, np.eye(DIMENSION), atol=1e-6)
        np.testing.assert_allclose(anna.references @ (gallery.basis @ probe), rows @ probe, atol=1e-6)


def test_two_galleries_keep_the_same_person_in_ways_that_cannot_be_joined(tmp_path: Path) -> None:
    rows, kept = references(1), []
    for name in ("one", "other"):
        with closing(opened(tmp_path / name)) as gallery:
            gallery.enrol("anna", CONSENT, rows)
            kept.append(gallery.load(GIVEN_NS)[0].references)
    # 128 values: the cosine of two unrelated directions has a deviation of 0.09.
    assert np.abs((kept[0] * kept[1]).sum(axis=1)).max() < 0.5


def test_another_key_is_refused_and_the_file_left_as_it_is(path: Path) -> None:
    with closing(opened(path)) as gallery:
        gallery.enrol("anna", CONSENT, references(1))
    before = path.read_bytes()
    with pytest.raises(GalleryLocked, match="the key from another place does not open it"):
        opened(path, device_key=DeviceKey(b"x" * 32, "another place"))
    assert path.read_bytes() == before
    with closing(opened(path)) as gallery:
        assert len(gallery.load(GIVEN_NS)) == 1


@pytest.mark.parametrize(
    "exchange",
    [
        "UPDATE reference SET sealed = (SELECT sealed FROM reference WHERE consent = 2) WHERE consent = 3",
        "UPDATE subject_key SET sealed = (SELECT sealed FROM subject_key WHERE consent = 2) WHERE consent = 3",
    ],
)
def test_boxes_that_change_places_do_not_open(path: Path, exchange: str) -> None:
    filled(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute(exchange)
        db.commit()
    with closing(opened(path)) as gallery:
        assert gallery.set_aside is not None


def test_a_gallery_from_before_the_first_release_says_what_to_do(path: Path) -> None:
    opened(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 1")
    with pytest.raises(StorageError, match="before the first release") as caught:
        opened(path)
    assert "enrol again" in caught.value.hint


def test_a_gallery_may_be_handed_to_another_thread(path: Path) -> None:
    from device.supervisor import Worker

    found: list[str] = []
    with closing(opened(path)) as gallery:
        gallery.enrol("anna", CONSENT, references(1))
        worker = Worker(
            "reader", lambda: None, cleanup=lambda: found.extend(s.label for s in gallery.subjects())
        )
        worker.start()
        worker.stop()
        assert worker.join(5)
    assert found == ["anna"]


def test_the_fake_runs_out_of_space_when_told_to() -> None:
    gallery = MemoryGallery(DIMENSION, fail_after=1)
    anna = gallery.enrol("anna", CONSENT, references(1))
    with pytest.raises(StorageError, match="no space"):
        gallery.enrol("bert", CONSENT, references(2))
    with pytest.raises(StorageError, match="no space"):
        gallery.withdraw("anna")
    assert gallery.subjects() == [anna]
