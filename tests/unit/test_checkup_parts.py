# SPDX-License-Identifier: Apache-2.0
"""What the doctor says of models, delegate, camera, gallery and ledger, right and wrong."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from device.adapters.delegate_probe import ProbeResult
from device.adapters.edgetpu_lock import LOCK
from device.adapters.models_folder import default_folder
from device.checkup.camera import camera_findings
from device.checkup.delegate import delegate_findings
from device.checkup.gallery import gallery_findings, ledger_findings
from device.checkup.host import Account, Host, Said, ScriptedCommands
from device.checkup.models import model_findings
from device.control import ServiceUnavailable
from device.options import CameraOptions, Config, DeviceOptions, InferenceOptions, ModelOptions
from device.payloads import ModelInfo
from tests import tiny
from tests.scripted_service import STATUS
from tests.unit.test_checkup_device import host, said, tree, wrong
from tests.unit.test_gallery_sqlite import CONSENT, opened, references

if TYPE_CHECKING:
    from device.checkup.finding import Finding
    from device.control import ServiceStatus

GONE = ServiceUnavailable("/run/porter/control.sock: no vision service listens here", hint="is it running?")
NOBODY = Account(uid=4_000_000, gids=frozenset())

# --- models


def test_shipped_models_are_well() -> None:
    assert [each.level for each in model_findings(Config())] == ["ok", "ok"]


def test_a_changed_file_a_missing_model_and_one_of_another_task_are_wrong(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    for name in ("sface", "yunet-320x256"):
        (folder / name).mkdir(parents=True)
        for file in (default_folder() / name).iterdir():
            if file.is_file():
                (folder / name / file.name).write_bytes(file.read_bytes())
    config = Config(models=ModelOptions(folder=str(folder)))
    assert not wrong(model_findings(config))
    damaged = folder / "yunet-320x256/yunet-320x256-int8.tflite"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")
    assert "not the file of the manifest" in wrong(model_findings(config))[0]
    swapped = Config(models=ModelOptions(detector="sface", embedder="nobody"))
    first, second = wrong(model_findings(swapped))
    assert first == "models.detector: sface: its manifest says embedder"
    assert "no such model" in second


# --- delegate

USB = {
    "sys/bus/usb/devices/1-1/idVendor": "1a6e",
    "sys/bus/usb/devices/1-1/idProduct": "089a",
    "sys/bus/usb/devices/1-1/busnum": "1",
    "sys/bus/usb/devices/1-1/devnum": "4",
    "sys/bus/usb/devices/usb1/idVendor": "1d6b",
    "sys/bus/usb/devices/usb1/idProduct": "0002",
    "dev/bus/usb/001/004": "",
}
LOADS = f"{sys.executable} -P -c"


class Probe:
    """A probe that answers as it is told, and counts."""

    def __init__(self, verdict: Any = "ok") -> None:
        self.calls = 0
        self._verdict = verdict

    def __call__(self, *_: object, **__: object) -> ProbeResult:
        self.calls += 1
        return ProbeResult(self._verdict)


def edgetpu(
    root: Path,
    probe: Probe,
    *,
    loads: Said | str = "",
    answer: ServiceStatus | ServiceUnavailable = GONE,
    active: str = "inactive",
    mode: int = 0o666,
) -> list[Finding]:
    if (root / "dev/bus/usb/001/004").exists():
        (root / "dev/bus/usb/001/004").chmod(mode)
    run = ScriptedCommands({LOADS: loads, "systemctl is-active": Said(3, active)})
    config = Config(
        device=DeviceOptions(run_dir=str(root)),
        models=ModelOptions(
            folder=str(tiny.tiny_folder(root / f"models-{os.urandom(4).hex()}")),
            embedder="tiny",
            detector="tiny",
        ),
        inference=InferenceOptions(delegate="edgetpu"),
    )
    return list(
        delegate_findings(config, Host(root=root, run=run, root_user=True, vision=NOBODY), answer, probe)
    )


def test_on_the_cpu_the_runtime_is_named(tmp_path: Path) -> None:
    (found,) = delegate_findings(Config(), host(tmp_path), GONE)
    assert found.level == "ok"
    assert found.text.startswith("the models run on the CPU, by ")


def test_an_edge_tpu_that_nobody_uses_is_probed(tmp_path: Path) -> None:
    tree(tmp_path, USB)
    probe = Probe()
    found = edgetpu(tmp_path, probe)
    assert not wrong(found)
    assert probe.calls == 1
    assert "1a6e:089a, still without its firmware" in said(found, "ok")
    assert "the Edge TPU runs tiny" in said(found, "ok")


@pytest.mark.parametrize(
    ("verdict", "words"), [("crashed", "another TFLite"), ("timeout", "does not answer")]
)
def test_a_probe_that_fails_is_wrong(tmp_path: Path, verdict: str, words: str) -> None:
    tree(tmp_path, USB)
    assert words in wrong(edgetpu(tmp_path, Probe(verdict)))[0]


def test_beside_a_vision_service_it_is_never_probed(tmp_path: Path) -> None:
    tree(tmp_path, USB)
    probe = Probe()
    uses = msgspec.structs.replace(STATUS, models=[ModelInfo("sface", "embedder", "int8", "ab", "edgetpu")])
    assert "not probed beside it" in said(edgetpu(tmp_path, probe, answer=uses), "ok")
    assert "on the CPU, not on the Edge TPU" in wrong(edgetpu(tmp_path, probe, answer=STATUS))[0]
    assert "on its way" in said(edgetpu(tmp_path, probe, active="activating"), "note")
    assert probe.calls == 0


def test_while_another_process_holds_the_lock_it_is_not_probed(tmp_path: Path) -> None:
    tree(tmp_path, USB)
    (tmp_path / LOCK).touch()
    probe = Probe()
    handle = os.open(tmp_path / LOCK, os.O_RDWR)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert "in use by another process" in said(edgetpu(tmp_path, probe), "note")
        assert probe.calls == 0
        fcntl.flock(handle, fcntl.LOCK_UN)
        assert not wrong(edgetpu(tmp_path, probe))
        assert probe.calls == 1
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the doctor has let go of it
    finally:
        os.close(handle)


def test_no_library_no_device_and_no_right_to_it_are_wrong_each(tmp_path: Path) -> None:
    probe = Probe()
    missing = Said(1, "Traceback\nOSError: libedgetpu.so.1: cannot open shared object file")
    first, second = wrong(edgetpu(tmp_path, probe, loads=missing))
    assert "the library cannot be loaded: OSError" in first
    assert second == "no Edge TPU is plugged in"
    tree(tmp_path, USB)
    assert "may not use" in wrong(edgetpu(tmp_path, probe, mode=0o660))[0]


# --- camera


def camera(
    root: Path, options: CameraOptions, answer: ServiceStatus | ServiceUnavailable = GONE, *, has: bool = True
) -> list[Finding]:
    at = Host(root=root, run=ScriptedCommands({}), root_user=True, vision=NOBODY)
    return list(camera_findings(options, at, answer, lambda _: has))


def test_a_running_camera_by_the_service_that_has_it(tmp_path: Path) -> None:
    live = msgspec.structs.replace(STATUS, simulated=False, source="picamera2")
    assert [each.text for each in camera(tmp_path, CameraOptions(), live)] == [
        "cam0 gives 9.8 frames a second"
    ]
    slow = msgspec.structs.replace(live, fps=2.0)
    assert said(camera(tmp_path, CameraOptions(), slow), "note") == (
        "cam0 gives 2.0 frames a second, camera.rate_hz is 10"
    )
    none = msgspec.structs.replace(live, frames=0)
    assert wrong(camera(tmp_path, CameraOptions(), none)) == ["no frame from cam0 yet"]
    paused = msgspec.structs.replace(none, state="paused")
    assert not wrong(camera(tmp_path, CameraOptions(), paused))
    assert "a simulation" in said(camera(tmp_path, CameraOptions(source="files"), STATUS), "note")
    assert "configured is usb" in wrong(camera(tmp_path, CameraOptions(source="usb"), live))[0]


def test_a_ribbon_camera_needs_its_devices_and_the_right_to_them(tmp_path: Path) -> None:
    options = CameraOptions()
    assert "the kernel shows no camera" in wrong(camera(tmp_path, options))[0]
    tree(tmp_path, {"dev/media0": "", "dev/video0": "", "dev/dma_heap/linux,cma": ""})
    for node in ("media0", "video0", "dma_heap/linux,cma"):
        (tmp_path / "dev" / node).chmod(0o666)
    assert [each.level for each in camera(tmp_path, options)] == ["ok"]
    (tmp_path / "dev/video0").chmod(0o660)
    assert "may not use" in wrong(camera(tmp_path, options))[0]
    assert wrong(camera(tmp_path, options, has=False))[0] == "picamera2 cannot be imported"


def test_a_usb_camera_is_a_device_that_the_service_may_use(tmp_path: Path) -> None:
    options = CameraOptions(source="usb", path="/dev/video0")
    assert wrong(camera(tmp_path, options)) == ["/dev/video0: No such file or directory"]
    tree(tmp_path, {"dev/video0": ""})
    assert wrong(camera(tmp_path, options)) == ["/dev/video0: not a device"]
    null = CameraOptions(source="usb", path="/dev/null")
    assert [each.level for each in camera(Path("/"), null)] == ["ok"]
    assert "PyAV" in wrong(camera(Path("/"), null, has=False))[0]


def test_a_simulation_needs_its_files(tmp_path: Path) -> None:
    assert not wrong(camera(tmp_path, CameraOptions(source="files", path=str(tmp_path))))
    assert (
        "is not there" in wrong(camera(tmp_path, CameraOptions(source="files", path=str(tmp_path / "no"))))[0]
    )


# --- gallery


def gallery(
    folder: Path,
    answer: ServiceStatus | ServiceUnavailable = GONE,
    *,
    active: str = "inactive",
    source: str = "usb",
) -> list[Finding]:
    at = Host(root=folder / "root", run=ScriptedCommands({"systemctl": Said(3, active)}), root_user=True)
    config = Config(
        device=DeviceOptions(state_dir=str(folder)),
        camera=CameraOptions(source=source),  # type: ignore[arg-type]
    )
    return list(gallery_findings(config, at, answer))


@pytest.fixture
def enrolled(tmp_path: Path) -> Path:
    """A folder with a gallery of one, closed, and its key beside it."""
    store = opened(tmp_path / "gallery.sqlite")
    store.enrol("anna", CONSENT, references(1))
    store.close()
    (tmp_path / "device.key").touch(0o600)
    return tmp_path


def test_a_closed_gallery_is_read_and_nothing_is_left_beside_it(enrolled: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in enrolled.iterdir()}
    found = gallery(enrolled)
    assert not wrong(found)
    assert f"{enrolled}/gallery.sqlite: whole, live, 1 subjects" in said(found, "ok")
    assert "may read gallery.sqlite, device.key" in said(found, "ok")
    assert said(found, "note") == "its key is a file beside it: who copies the folder can open it"
    assert {path: path.stat().st_mtime_ns for path in enrolled.iterdir()} == before


def test_a_gallery_in_use_is_left_alone(tmp_path: Path) -> None:
    store = opened(tmp_path / "gallery.sqlite")
    try:
        store.enrol("anna", CONSENT, references(1))
        assert "has it open, with 4 subjects" in said(gallery(tmp_path, STATUS), "ok")
        assert "on its way" in said(gallery(tmp_path, active="activating"), "note")
        # Whoever holds it and does not answer: its log says that it was not closed.
        assert "was not closed" in said(gallery(tmp_path), "note")
    finally:
        store.close()
    empty = msgspec.structs.replace(STATUS, subjects=0)
    assert "nobody is enrolled" in said(gallery(tmp_path, empty), "note")


def test_a_gallery_of_another_kind_of_source_or_another_program_is_wrong(enrolled: Path) -> None:
    assert "holds real people" in wrong(gallery(enrolled, source="files"))[0]
    db = sqlite3.connect(enrolled / "gallery.sqlite")
    db.execute("PRAGMA user_version = 99")
    db.close()
    assert "made by a newer Porter" in wrong(gallery(enrolled))[0]
    (enrolled / "gallery.sqlite").write_bytes(b"no database at all" * 100)
    assert "file is not a database" in wrong(gallery(enrolled))[0]


def test_a_damaged_page_is_wrong(enrolled: Path) -> None:
    file = enrolled / "gallery.sqlite"
    content = bytearray(file.read_bytes())
    for page in range(4096, len(content), 4096):
        content[page : page + 8] = b"\xff" * 8
    file.write_bytes(content)
    assert wrong(gallery(enrolled))


def test_private_files_must_be_private_and_the_services(enrolled: Path) -> None:
    (enrolled / "gallery.sqlite").chmod(0o640)
    assert wrong(gallery(enrolled)) == [f"{enrolled}/gallery.sqlite: mode 0640, so others may read it"]
    (enrolled / "gallery.sqlite").chmod(0o600)
    (enrolled / "consent-ledger.jsonl").symlink_to("/dev/null")
    assert wrong(gallery(enrolled)) == [f"{enrolled}/consent-ledger.jsonl: not a file"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_a_file_of_another_user_is_wrong(enrolled: Path) -> None:
    os.chown(enrolled / "gallery.sqlite", 4_000_000, -1)
    assert "belongs to user 4000000, not to" in wrong(gallery(enrolled))[0]


def test_a_key_that_is_nowhere_is_wrong_and_a_sealed_one_is_well(enrolled: Path) -> None:
    (enrolled / "device.key").unlink()
    assert wrong(gallery(enrolled)) == ["there is a gallery, and no key for it"]
    tree(enrolled, {"root/etc/credstore.encrypted/porter.device-key": "sealed"})
    assert "its key is a sealed credential" in said(gallery(enrolled), "ok")
    (enrolled / "device.key").touch(0o600)
    assert "although the key is a credential" in said(gallery(enrolled), "note")


def test_a_folder_that_is_not_there_is_wrong(tmp_path: Path) -> None:
    assert wrong(gallery(tmp_path / "none")) == [f"{tmp_path}/none: No such file or directory"]


def test_the_ledger(tmp_path: Path) -> None:
    path = tmp_path / "consent-ledger.jsonl"
    assert "nothing was ever written" in said(ledger_findings(path), "note")
    path.write_text("")
    assert said(ledger_findings(path), "ok") == "0 entries, every one in its place"
    path.write_text('{"seq":')
    assert "7 bytes of one that was never finished" in said(ledger_findings(path), "ok")
    assert stat.S_ISREG(path.stat().st_mode)
