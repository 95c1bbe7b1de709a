# SPDX-License-Identifier: Apache-2.0
"""What the doctor says of units, services, updates and versions, right and wrong."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from device import __version__, update_record
from device.adapters.clock import ManualClock
from device.checkup.host import Host, Said, ScriptedCommands
from device.checkup.service import forwarder_findings, vision_findings
from device.checkup.units import HARDENING, SERVICES, unit_findings
from device.checkup.update import update_findings
from device.checkup.versions import judged, version_findings
from device.control import ServiceUnavailable
from device.options import InferenceOptions
from device.payloads import ForwarderState, Trouble
from device.shared_record import SharedRecord
from device.update_record import UpdateBook, UpdateRecord
from tests.scripted_service import STATUS
from tests.unit.test_checkup_device import host, said, tree, wrong

if TYPE_CHECKING:
    from device.checkup.finding import Finding
    from device.records import Stamp

ROOT = Path(__file__).resolve().parents[2]
CLOCK = ManualClock()
NOW = CLOCK.now()
GONE = ServiceUnavailable("/run/porter/control.sock: no vision service listens here", hint="is it running?")
WELL = msgspec.structs.replace(STATUS, troubles=[], firmware=__version__)

# --- units


def systemd(root: Path, enabled: str = "enabled", **changed: dict[str, str]) -> Host:
    """A systemd that has both units as they are shipped, but for what is changed in `vision` or `forward`."""
    (root / "run/systemd/system").mkdir(parents=True, exist_ok=True)
    answers: dict[str, Said | str] = {"systemctl is-enabled": Said(int(enabled != "enabled"), enabled)}
    for unit in SERVICES:
        state = {"LoadState": "loaded", "ActiveState": "active", "SubState": "running", "NRestarts": "0"}
        state |= {
            "NeedDaemonReload": "no",
            "DropInPaths": "",
            "SystemCallFilter": "read write",
            **HARDENING[unit],
        }
        state |= changed.get(unit.removeprefix("porter-").removesuffix(".service"), {})
        answers[f"systemctl show {unit}"] = "\n".join(f"{name}={value}" for name, value in state.items())
    return Host(root=root, run=ScriptedCommands(answers), root_user=True)


def test_units_as_shipped_are_well(tmp_path: Path) -> None:
    found = list(unit_findings(systemd(tmp_path)))
    assert {each.level for each in found} == {"ok"}
    assert "porter-vision.service is as narrow as it was shipped" in said(found, "ok")


def test_the_table_of_the_doctor_is_what_the_unit_files_say() -> None:
    for unit, wanted in HARDENING.items():
        text = (ROOT / "systemd" / unit).read_text()
        given = dict(re.findall(r"(?m)^(\w+)=(.*)$", text))
        given |= {"AmbientCapabilities": "", "IPAddressAllow": ""}  # what nobody gives is empty
        if given.get("IPAddressDeny") == "any":
            given["IPAddressDeny"] = "0.0.0.0/0 ::/0"  # as systemctl shows it
        for name, value in wanted.items():
            assert sorted(given[name].split()) == sorted(value.split()), (unit, name)


def test_a_drop_in_that_weakens_a_unit_is_named_with_what_it_weakens(tmp_path: Path) -> None:
    drop_in = "etc/systemd/system/porter-vision.service.d/override.conf"
    tree(
        tmp_path,
        {drop_in: "[Unit]\nIPAddressDeny=no\n[Service]\n# IPAddressDeny=\nIPAddressDeny=\nEnvironment=A=b\n"},
    )
    found = list(unit_findings(systemd(tmp_path, vision={"IPAddressDeny": "", "DropInPaths": f"/{drop_in}"})))
    (text,) = wrong(found)
    assert text == (
        f"porter-vision.service has IPAddressDeny=(nothing), shipped is 0.0.0.0/0 ::/0: by /{drop_in}"
    )
    assert f"/{drop_in} changes Environment of porter-vision.service" in said(found, "note")


def test_a_drop_in_that_takes_the_filter_of_system_calls_away_is_wrong(tmp_path: Path) -> None:
    drop_in = "run/systemd/system/porter-forward.service.d/f.conf"
    tree(tmp_path, {drop_in: "[Service]\nSystemCallFilter=\n"})
    found = list(
        unit_findings(systemd(tmp_path, forward={"SystemCallFilter": "", "DropInPaths": f"/{drop_in}"}))
    )
    (text,) = wrong(found)
    assert text.startswith("porter-forward.service has SystemCallFilter=(nothing)")
    assert text.endswith(f"by /{drop_in}")


def test_a_unit_file_that_is_wider_itself_is_wrong(tmp_path: Path) -> None:
    found = unit_findings(systemd(tmp_path, forward={"LimitCORE": "infinity"}))
    (bad,) = [each for each in found if each.level == "wrong"]
    assert bad.text == "porter-forward.service has LimitCORE=infinity, shipped is 0"
    assert "install the unit again" in bad.hint


def test_units_that_are_down_missing_or_not_enabled_are_wrong(tmp_path: Path) -> None:
    down = {"ActiveState": "failed", "SubState": "failed", "StatusText": "no camera"}
    assert wrong(unit_findings(systemd(tmp_path, vision=down))) == [
        "porter-vision.service is failed, failed (no camera)"
    ]
    missing = {"LoadState": "not-found"}
    assert wrong(unit_findings(systemd(tmp_path, forward=missing))) == ["porter-forward.service is not-found"]
    assert "after a restart nothing runs" in wrong(unit_findings(systemd(tmp_path, "disabled")))[0]


def test_restarts_and_a_file_that_was_not_read_again_are_notes(tmp_path: Path) -> None:
    found = list(unit_findings(systemd(tmp_path, vision={"NRestarts": "7", "NeedDaemonReload": "yes"})))
    assert not wrong(found)
    assert "was started again 7 times" in said(found, "note")
    assert "changed since it was read" in said(found, "note")


def test_without_systemd_or_its_answer_it_says_so(tmp_path: Path) -> None:
    assert "does not run systemd" in said(unit_findings(host(tmp_path)), "note")
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    hangs = host(tmp_path, {"systemctl": Said(None, "systemctl: no answer within 4 s")})
    assert wrong(unit_findings(hangs)) == ["systemctl: no answer within 4 s"]


# --- the services' own words


def forwarder(folder: Path, connection: str = "connected", **fields: object) -> list[Finding]:
    made = ForwarderState(NOW.boot_ns, "b:8883", connection, [], __version__)
    SharedRecord(folder / "state.json", ForwarderState).show(msgspec.structs.replace(made, **fields))
    return list(forwarder_findings(folder / "state.json", CLOCK))


def test_a_connected_forwarder_is_well(tmp_path: Path) -> None:
    (found,) = forwarder(tmp_path)
    assert (found.what, found.level, found.text) == ("broker", "ok", "the forwarder: b:8883, connected")


def test_a_record_that_was_renewed_this_moment_is_not_silent(tmp_path: Path) -> None:
    class Later(ManualClock):
        """Whose time goes on between the report's beginning and this check."""

        def now(self) -> Stamp:
            self.advance(1.0)
            return super().now()

    clock = Later()
    renewed = ForwarderState(clock.now().boot_ns + 500_000_000, "b:8883", "connected", [], __version__)
    SharedRecord(tmp_path / "state.json", ForwarderState).show(renewed)
    assert not wrong(forwarder_findings(tmp_path / "state.json", clock))


def test_a_forwarder_in_trouble_is_wrong_and_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    trouble = Trouble("broker_lost", "no \x1b[2J way", "look", "2026-11-23T10:00:00.000Z")
    lost = forwarder(tmp_path, "no connection: gone", troubles=[trouble])
    assert wrong(lost) == ["broker_lost: no ?[2J way", "the forwarder: b:8883, no connection: gone"]


def test_a_forwarder_that_is_silent_or_away_is_wrong(tmp_path: Path) -> None:
    assert wrong(forwarder(tmp_path, boot_ns=NOW.boot_ns - 60 * 10**9)) == ["the forwarder is silent"]
    assert "does not run" in wrong(forwarder_findings(tmp_path / "none", CLOCK))[0]


def test_the_vision_service_by_its_answer() -> None:
    assert wrong(vision_findings(STATUS, needed=True)) == ["clock_unsynced: the clock is not synchronised"]
    assert [each.level for each in vision_findings(WELL, needed=True)] == ["ok"]
    assert wrong(vision_findings(GONE, needed=True))
    assert not wrong(vision_findings(GONE, needed=False))
    paused = msgspec.structs.replace(WELL, state="paused")
    assert said(vision_findings(paused, needed=True), "note") == "paused: nobody is looked at"


# --- updates

SLOTS = """\
{"compatible":"porter-rpi4","booted":"2","boot_primary":"rootfs.%d","slots":[
{"rootfs.0":{"state":"booted"}},{"rootfs.1":{"state":"inactive"}}]}"""


def image(root: Path, answer: Said | str, record: UpdateRecord | None = None) -> list[Finding]:
    tree(root, {"etc/rauc/system.conf": "[system]\n"})
    if record is not None:
        UpdateBook(root / "data/update/last.json", root / "run/last.json").write(record)
    return list(update_findings(host(root, {"rauc status": answer})))


def one_line(primary: int) -> str:
    return (SLOTS % primary).replace("\n", "")


def test_the_slot_that_runs_and_boots_next_is_well(tmp_path: Path) -> None:
    found = image(tmp_path, one_line(0), UpdateRecord("0.2.0", "0.1.0", "kept", broker=True))
    assert [(each.level, each.text) for each in found] == [
        ("ok", "slot a runs, and boots next"),
        ("ok", "the last update, to 0.2.0, was kept"),
    ]


def test_a_trial_is_a_note_and_an_update_that_fell_back_is_wrong(tmp_path: Path) -> None:
    tried = update_record.fell_back(UpdateRecord("0.2.0", "0.1.0", "trying", broker=True), "no frames")
    found = image(tmp_path, one_line(1), tried)
    assert said(found, "note") == "slot a runs, on trial"
    assert wrong(found) == ["an update fell back: 0.2.0: no frames"]


def test_an_update_that_was_never_tried_is_a_note_with_what_to_do(tmp_path: Path) -> None:
    installed = UpdateRecord("0.2.0", "0.1.0", "installed", broker=True, boot="one", slot="b")
    found = image(tmp_path, one_line(0), update_record.found_later(installed, "a", "another"))
    assert not wrong(found)
    assert said(found, "note") == "the last update, to 0.2.0: not tried"
    assert "install it again" in found[-1].hint


def test_rauc_that_hangs_fails_or_is_busy(tmp_path: Path) -> None:
    assert wrong(image(tmp_path, Said(None, "rauc: no answer within 4 s"))) == [
        "rauc status: rauc: no answer within 4 s"
    ]
    busy = image(tmp_path, Said(1, "Error: Already processing a different method\nalready processing"))
    assert said(busy, "note") == "an update is being installed now"
    tree(tmp_path, {"etc/rauc/system.conf": ""})
    ordinary = Host(
        root=tmp_path, run=ScriptedCommands({"rauc": Said(1, "permission denied")}), root_user=False
    )
    assert not wrong(update_findings(ordinary))


def test_a_system_without_slots_is_a_note(tmp_path: Path) -> None:
    found = list(update_findings(host(tmp_path)))
    assert [each.level for each in found] == ["note"]


def test_an_old_bootloader_is_wrong_on_the_image_and_else_a_note(tmp_path: Path) -> None:
    tree(tmp_path, {"proc/device-tree/chosen/bootloader/build-timestamp": struct.pack(">I", 1_600_000_000)})
    by_hand = list(update_findings(host(tmp_path)))
    assert "of 2020-09-13: it may not know" in said(by_hand, "note")
    assert "of 2020-09-13: it may not know" in wrong(image(tmp_path, one_line(0)))[0]


# --- versions


def versions(
    folder: Path,
    answer: object = GONE,
    source: str = "files",
    answers: dict[str, Said | str] | None = None,
    where: dict[str, str] | None = None,
    delegate: str = "cpu",
) -> list[Finding]:
    places = where or {}
    return list(
        version_findings(
            host(folder, answers),
            InferenceOptions(delegate=delegate),  # type: ignore[arg-type]
            source,
            answer,  # type: ignore[arg-type]
            folder / "state.json",
            NOW,
            lambda name: places.get(name, ""),
        )
    )


def test_services_of_the_installed_version_are_well(tmp_path: Path) -> None:
    forwarder(tmp_path)
    found = versions(tmp_path, WELL)
    assert not wrong(found)
    assert f"porter-vision and porter-forward run {__version__}" in said(found, "ok")


def test_a_service_that_was_not_restarted_after_an_upgrade_is_wrong(tmp_path: Path) -> None:
    forwarder(tmp_path, firmware="")
    found = versions(tmp_path, msgspec.structs.replace(WELL, firmware="0.0.9"))
    assert wrong(found) == [
        f"porter-vision still runs 0.0.9, installed is {__version__}",
        f"porter-forward still runs an older version, installed is {__version__}",
    ]


def test_files_that_changed_under_a_running_service_are_a_note(tmp_path: Path) -> None:
    long_ago = msgspec.structs.replace(WELL, uptime_s=NOW.utc_ns / 1e9 - 1)  # since 1970
    assert "changed after the vision service started" in said(versions(tmp_path, long_ago), "note")


@pytest.mark.parametrize(
    ("runtime", "library", "level"),
    [
        ("tflite-runtime", "16.0tf2.14.1-1.bookworm", "ok"),
        ("tflite-runtime", "16.0tf2.17.0-1.bookworm", "wrong"),
        ("ai-edge-litert", "16.0TF2.19.1-1.trixie".lower(), "ok"),
        ("ai-edge-litert", "16.0tf2.14.1-1.bookworm", "wrong"),
        ("ai-edge-litert", "16.0", "note"),
    ],
)
def test_runtime_and_libedgetpu_are_a_pair_or_not(runtime: str, library: str, level: str) -> None:
    assert judged(runtime, "libedgetpu1-std", library).level == level


def test_a_library_of_no_package_is_a_note(tmp_path: Path) -> None:
    assert "is not of a package" in said(versions(tmp_path, delegate="edgetpu"), "note")
    found = versions(tmp_path, delegate="edgetpu", answers={"dpkg-query": "16.0tf2.14.1-1"})
    assert "libedgetpu1-std 16.0tf2.14.1-1" in " ".join(each.text for each in found)


def test_picamera2_and_numpy_must_be_the_distributions(tmp_path: Path) -> None:
    system = dict.fromkeys(("picamera2", "libcamera", "numpy"), "/usr/lib/python3/dist-packages/x.py")
    well = versions(tmp_path, source="picamera2", where=system)
    assert "are the distribution's" in said(well, "ok")
    mixed = {**system, "numpy": "/opt/porter/.venv/lib/python3.13/site-packages/numpy/__init__.py"}
    assert "numpy is not the distribution's" in wrong(versions(tmp_path, source="picamera2", where=mixed))[0]
    assert "picamera2, libcamera, numpy cannot" in wrong(versions(tmp_path, source="picamera2"))[0]
