# SPDX-License-Identifier: Apache-2.0
"""What `porter vision` does with everything that may be wrong around it: a clear error or an alert, nothing lost."""

from __future__ import annotations

import resource
import shutil
import sqlite3
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from device.adapters.control_socket import ControlServer
from device.adapters.gallery_sqlite import SqliteGallery
from device.adapters.models_folder import default_folder, load_manifest
from device.adapters.outbox_sqlite import SqliteOutbox
from device.folders import SHARED
from device.sealing import read_device_key
from tests.events import make_event

if TYPE_CHECKING:
    from collections.abc import Callable

    from device.control import Conversation, Peer, Request
    from tests.service.harness import ServiceDoor

DETECTOR = "yunet-320x256"


def test_a_missing_configuration_is_named(door: ServiceDoor) -> None:
    door.config_file.unlink()
    code, said = door.fails()
    assert code == 2
    assert f"porter: {door.config_file}: there is no such file" in said
    assert "hint: " in said
    assert "Traceback" not in said


def test_every_problem_of_a_configuration_is_named_with_its_line_and_path(door: ServiceDoor) -> None:
    door.config_file.write_text("camera:\n  rate_hz: fast\nzone:\n  min_face_px: 3\n")
    code, said = door.fails()
    assert code == 2
    assert f"{door.config_file}:2: camera.rate_hz: expected a number" in said
    assert f"{door.config_file}:4: zone.min_face_px: expected" in said
    assert said.count("hint: ") == 2
    assert "Traceback" not in said


@pytest.mark.parametrize("option", ["state_dir", "run_dir"])
def test_a_missing_folder_is_named_with_its_option(door: ServiceDoor, option: str) -> None:
    shutil.rmtree(door.state_dir if option == "state_dir" else door.run_dir)
    code, said = door.fails()
    assert code == 2
    assert f"{door.config_file}: device.{option}: expected an existing folder" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("there", ["nothing", "empty folder", "a text"])
def test_a_camera_that_shows_nothing_from_the_start_ends_the_service(door: ServiceDoor, there: str) -> None:
    """Whoever wrote it should hear it now. A camera that is lost later is another matter, and waited for."""
    source = door.folder / "source"
    if there == "empty folder":
        source.mkdir()
    elif there == "a text":
        source.write_text("no picture\n")
    door.configure(camera={"path": str(source)})
    code, said = door.fails()
    assert code == 2
    assert f"porter: {source}: expected" in said
    assert "hint: " in said
    assert "Traceback" not in said


def flipped(content: bytes) -> bytes:
    """One bit of one byte in the middle is another one."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def test_a_model_with_one_flipped_bit_is_refused_with_both_hashes(door: ServiceDoor) -> None:
    model = copied_model(door, flipped)
    code, said = door.fails()
    assert code == 2
    assert f"porter: {model}: not the file of the manifest" in said
    assert f"expected sha256 {load_manifest(default_folder(), DETECTOR).variants[0].sha256}" in said
    assert f"found {sha256(model.read_bytes()).hexdigest()}" in said
    assert "Traceback" not in said


def test_a_truncated_model_is_refused_with_both_sizes(door: ServiceDoor) -> None:
    model = copied_model(door, lambda content: content[:-100])
    code, said = door.fails()
    size = model.stat().st_size
    assert code == 2
    assert f"{model}: truncated: expected {size + 100} bytes, found {size}" in said
    assert "Traceback" not in said


def test_a_manifest_of_an_unknown_task_is_refused(door: ServiceDoor) -> None:
    model = copied_model(door, lambda content: content)
    manifest = model.parent / "model.toml"
    manifest.write_text(manifest.read_text().replace('task = "detector"', 'task = "age"'))
    code, said = door.fails()
    assert code == 2
    assert f"{manifest}: task: expected detector or embedder, found 'age'" in said


def copied_model(door: ServiceDoor, change: Callable[[bytes], bytes]) -> Path:
    """A models folder of this door's own, in which the detector's file is changed."""
    models = door.folder / "models"
    for name in (DETECTOR, "sface"):
        shutil.copytree(default_folder() / name, models / name)
    file = models / DETECTOR / load_manifest(models, DETECTOR).variants[0].file
    file.write_bytes(change(file.read_bytes()))
    door.configure(models={"folder": str(models)})
    return file


@pytest.mark.parametrize("name", ["outbox", "gallery"])
def test_a_database_of_a_newer_version_is_refused_and_left_as_it_is(door: ServiceDoor, name: str) -> None:
    file = made(door, name)
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        db.execute("PRAGMA user_version = 99")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = file.read_bytes()
    code, said = door.fails()
    assert code == 2
    assert f"porter: {file}: " in said
    assert "99" in said
    assert "left as it is" in said
    assert file.read_bytes() == before
    assert not list(file.parent.glob("*.corrupt*"))
    assert "Traceback" not in said


@pytest.mark.parametrize("damage", [b"", b"SQLite format 3\x00 and then nothing of the kind" * 200])
@pytest.mark.parametrize("name", ["outbox", "gallery"])
def test_a_damaged_database_is_set_aside_with_an_alert_and_the_service_runs(
    door: ServiceDoor, name: str, damage: bytes
) -> None:
    file = made(door, name)
    damaged = file.read_bytes()[:5000] + damage
    file.write_bytes(damaged)
    door.start()
    aside = [
        path for path in file.parent.glob(f"{file.name}.corrupt*") if not path.name.endswith(("-wal", "-shm"))
    ]
    assert [path.read_bytes() for path in aside] == [damaged], "set aside whole, never overwritten"
    door.wait("the alert", lambda: f"{name}_corrupt" in door.alerts())
    assert aside[0].name in door.alerts()[f"{name}_corrupt"]
    door.wait("frames", lambda: door.status().frames > 0)
    assert door.events() == []


def made(door: ServiceDoor, name: str) -> Path:
    """The database as an earlier run left it, closed."""
    if name == "gallery":
        SqliteGallery(
            door.gallery,
            simulated=True,
            embedder="sface",
            embedder_sha256="0" * 64,
            dimension=128,
            device_key=read_device_key(None, door.gallery.parent),
        ).close()
        return door.gallery
    door.outbox.parent.mkdir(mode=0o770)
    outbox = SqliteOutbox(door.outbox)
    outbox.append([make_event(number) for number in range(1, 20)])
    outbox.close()
    return door.outbox


def test_a_gallery_of_real_people_is_not_opened_for_pictures_from_files(door: ServiceDoor) -> None:
    SqliteGallery(
        door.gallery,
        simulated=False,
        embedder="sface",
        embedder_sha256="0" * 64,
        dimension=128,
        device_key=read_device_key(None, door.gallery.parent),
    ).close()
    before = door.gallery.read_bytes()
    code, said = door.fails()
    assert code == 2
    assert f"porter: {door.gallery}: holds real people" in said
    assert "hint: " in said
    assert "Traceback" not in said
    assert door.gallery.read_bytes() == before


def test_a_gallery_of_another_embedder_is_not_opened(door: ServiceDoor) -> None:
    SqliteGallery(
        door.gallery,
        simulated=True,
        embedder="other",
        embedder_sha256="0" * 64,
        dimension=64,
        device_key=read_device_key(None, door.gallery.parent),
    ).close()
    code, said = door.fails()
    assert code == 2
    assert "references by other (64 values) cannot be compared with probes by sface (128 values)" in said


def test_a_second_service_on_the_same_folders_is_refused_and_the_first_goes_on(door: ServiceDoor) -> None:
    door.start()
    second = door.porter("vision")
    assert second.returncode == 1
    assert "another Porter process uses it" in second.stderr
    assert "Traceback" not in second.stderr
    assert door.status().state == "running"
    assert door.stop() == 0


def test_a_second_service_that_shares_only_the_run_folder_is_refused(door: ServiceDoor) -> None:
    with closing(ControlServer(door.socket, no_requests)):
        code, said = door.fails()
    assert code == 1
    assert f"porter: {door.socket}: another vision service listens here" in said


def no_requests(request: Request, peer: Peer) -> Conversation:
    """A handler for nobody."""
    raise AssertionError("nobody asks")


def test_a_file_in_the_sockets_place_is_left_alone(door: ServiceDoor) -> None:
    door.socket.write_text("mine")
    code, said = door.fails()
    assert code == 2
    assert f"porter: {door.socket}: is not a socket, so it was left alone" in said
    assert door.socket.read_text() == "mine"


def test_a_camera_that_is_lost_raises_an_alert_until_its_pictures_return(empty_house: ServiceDoor) -> None:
    door, before = empty_house, empty_house.phases()
    door.show("anna")
    door.wait("the start", lambda: door.phases() == [*before, "start"])
    door.camera.unlink()
    door.wait("the alert", lambda: "camera_lost" in door.alerts())
    assert str(door.camera) in door.alerts()["camera_lost"]
    door.wait("the end of the visit", lambda: door.phases() == [*before, "start", "end"])
    door.show("anna")
    door.wait("the alert to be cleared", lambda: not door.alerts())
    door.wait("anna to be matched again", lambda: door.phases() == [*before, "start", "end", "start"])


def test_a_picture_that_cannot_be_read_is_skipped(door: ServiceDoor, scenes: Path) -> None:
    mixed = shutil.copytree(scenes / "anna", door.folder / "mixed")
    (mixed / "0001.jpg").write_bytes((mixed / "0001.jpg").read_bytes()[:500])
    (mixed / "0002.jpg").write_bytes(b"no picture")
    door.configure(camera={"path": str(mixed)})
    door.start()
    door.wait("a round of the folder", lambda: door.status().frames > 8)
    assert not door.alerts()
    assert "picture_skipped file='0001.jpg'" in door.log()


def test_what_a_full_disk_refuses_is_told_and_committed_when_there_is_room_again(door: ServiceDoor) -> None:
    """Files may not grow any more (RLIMIT_FSIZE), which is as good as a full disk to whoever writes."""
    door.start()
    door.show("anna")
    door.enrol("anna")
    door.wait("the start", lambda: door.phases() == ["start"])
    written = door.outbox.with_name(door.outbox.name + "-wal").stat().st_size
    assert written > len(door.log()), "else the log would be the first to be refused"
    _, hard = resource.prlimit(door.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(door.process.pid, resource.RLIMIT_FSIZE, (written, hard))
    door.show("nobody")
    door.wait("the alert", lambda: "outbox_full" in door.alerts())
    door.show("anna")
    door.wait("anna, though nothing can be written", door.present)
    assert door.phases() == ["start"], "nothing is half written"
    resource.prlimit(door.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
    door.wait("what was refused", lambda: door.phases() == ["start", "end", "start"])
    door.wait("the alert to be cleared", lambda: not door.alerts())
    assert [event.seq for event in door.events()] == [1, 2, 3]


def test_a_folder_nobody_may_write_to_is_a_clear_error(door: ServiceDoor) -> None:
    (door.state_dir / SHARED).write_text("a file in the folder's place")
    code, said = door.fails()
    assert code == 1
    assert f"{door.state_dir / SHARED}: cannot be made" in said
    assert "Traceback" not in said
