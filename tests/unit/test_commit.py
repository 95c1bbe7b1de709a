# SPDX-License-Identifier: Apache-2.0
"""`porter commit`: what is kept, what goes back, and what is remembered wherever the power went."""

from __future__ import annotations

import argparse
from dataclasses import replace as with_fields
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from device import config
from device.adapters.slots_rauc import choice_lost
from device.adapters.units_systemd import SystemdUnits
from device.commands.commit import Health, new_names, trial, undecidable
from device.config_upgrade import upgrade_file
from device.control import SOCKET_NAME, Done
from device.errors import StorageError
from device.update_record import UpdateBook, UpdateRecord
from tests.rauc import BOOT, LAST, Device, ScriptedRauc, record_of
from tests.scripted_service import STATUS, service
from tests.unit.test_config_migrations import RENAMED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Calendar:
    """Seconds that pass only in a sleep."""

    def __init__(self) -> None:
        self.at = 0.0

    def now(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += seconds


def test_a_trial_ends_once_nothing_was_missing_for_half_a_minute() -> None:
    calendar = Calendar()
    assert trial(lambda: "no frames" if calendar.at < 10 else "", 300, calendar.now, calendar.sleep) == ""
    assert calendar.at == 40


def test_a_service_that_is_well_for_a_moment_only_is_not_kept() -> None:
    calendar = Calendar()
    often = lambda: "no answer" if calendar.at % 20 == 0 else ""  # noqa: E731  a trial asks a function
    assert trial(often, 300, calendar.now, calendar.sleep) == "no answer"


def test_a_trial_ends_at_its_deadline_with_what_is_missing() -> None:
    calendar = Calendar()
    assert trial(lambda: "no frames", 10, calendar.now, calendar.sleep) == "no frames"
    assert calendar.at == 10


def test_what_will_not_mend_itself_ends_a_trial_at_once() -> None:
    calendar = Calendar()
    hopeless = lambda: "porter-vision failed" if calendar.at >= 4 else ""  # noqa: E731  as above
    assert trial(lambda: "no answer", 300, calendar.now, calendar.sleep, hopeless) == "porter-vision failed"
    assert calendar.at == 4


class ScriptedUnits:
    """What systemctl prints about units; keeps what it was asked."""

    def __init__(self, jobs: str = "", **states: str) -> None:
        self.jobs, self.states = jobs, states

    def run(self, *arguments: str) -> str:
        if arguments[0] == "list-jobs":
            return self.jobs
        words = self.states.get(
            arguments[-1].partition(".")[0].partition("-")[2], "active running success 0 0"
        )
        names = ("ActiveState", "SubState", "Result", "ExecMainCode", "ExecMainStatus", "StatusText")
        return "\n".join(f"{name}={word}" for name, word in zip(names, words.split(" ", 5), strict=False))


def health(file: Path, **states: str) -> Health:
    found = argparse.Namespace(config=file, socket=None)
    return Health(found, broker=True, units=SystemdUnits(ScriptedUnits(**states).run))


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("failed failed exit-code 1 1", "failed and is not started again (exit-code, exit code 1)"),
        ("failed failed signal 2 11", "failed and is not started again (signal, signal 11)"),
        (
            "failed failed start-limit-hit 1 1 no camera",
            "(start-limit-hit, exit code 1, last said: no camera)",
        ),
        ("activating auto-restart exit-code 1 1", ""),
        ("failed failed-before-auto-restart exit-code 1 1", ""),
        ("inactive dead success 0 0", ""),
        ("active running success 0 0 connected", ""),
        ("", ""),
    ],
)
def test_only_a_service_that_systemd_gave_up_on_is_hopeless(tmp_path: Path, state: str, reason: str) -> None:
    found = health(tmp_path / "none", forward=state).hopeless()
    assert bool(found) is bool(reason)
    assert not reason or (found.startswith("porter-forward.service ") and reason in found)


def test_a_service_that_waits_for_a_person_is_told_with_what_the_configuration_lacks(tmp_path: Path) -> None:
    file = tmp_path / "porter.yaml"
    file.write_text("nonsense: 1\n")
    found = health(file, vision="failed failed exit-code 1 2").hopeless()
    assert found.startswith(
        "porter-vision.service failed and is not started again (exit-code, exit code 2): "
    )
    assert "nonsense" in found


def test_frames_must_keep_coming(tmp_path: Path) -> None:
    file, calendar = tmp_path / "porter.yaml", Calendar()
    file.write_text(f"device: {{id: door-1, run_dir: {tmp_path}}}\ncamera: {{stall_after_s: 3}}\n")
    found = Health(argparse.Namespace(config=file, socket=None), broker=True, now=calendar.now)
    said = []
    with service(tmp_path / SOCKET_NAME, {}) as scripted:
        # seconds: frames counted until then
        for calendar.at, frames in ((0, 7), (2, 7), (4, 8), (11, 8), (12, 8), (14, 9)):
            scripted.answers = {"StatusRequest": [Done(replace(STATUS, frames=frames))]}
            said.append(found.missing())
    no_frames, no_forwarder = "the camera gives no frames", "the forwarder does not run"
    assert said == [no_frames, no_frames, no_forwarder, no_forwarder, no_frames, no_forwarder]


def test_a_systemctl_that_says_nothing_decides_nothing() -> None:
    units = SystemdUnits(lambda *_: "")
    assert not units.state("porter-vision.service").given_up
    assert not units.rebooting()


def test_a_configuration_that_the_new_version_does_not_take_is_what_is_missing(tmp_path: Path) -> None:
    file = tmp_path / "porter.yaml"
    file.write_text("nonsense: 1\n")
    assert "nonsense" in health(file).missing()


@pytest.fixture
def book(tmp_path: Path) -> UpdateBook:
    return UpdateBook(tmp_path / "data" / "last.json", tmp_path / "run" / "last.json")


def test_what_works_is_kept_and_only_then_anything_is_written_in_a_new_form(book: UpdateBook) -> None:
    book.write(replace(LAST, failed="0.1.9: no frames"))
    device = Device(book, ScriptedRauc(booted="b"))
    assert device.decide("") == 0
    assert device.done == ["mark-good while the record says trying", "new names"]
    kept = record_of(book)
    assert (kept.outcome, kept.from_version, kept.failed) == ("kept", "0.1.0", "")


@pytest.mark.parametrize("primary", ["a", "b"], ids=["as it is kept", "in the boot after a power cut"])
def test_an_update_stays_kept_whatever_goes_wrong_with_the_new_names(book: UpdateBook, primary: str) -> None:
    def failing() -> None:
        raise RecursionError("a defect")

    book.write(replace(LAST, outcome="trying"))
    device = Device(book, ScriptedRauc(booted="b", primary=primary))
    decision = with_fields(device.decision, new_names=failing)

    def decide() -> None:
        decision.decide(decision.begin(), "", lambda: device.done.append("reboot"))

    with pytest.raises(RecursionError):
        (decide if primary == "a" else decision.settle)()
    assert record_of(book).outcome == "kept"
    assert "reboot" not in device.done


def test_what_does_not_work_is_remembered_and_rebooted_out_of_with_nothing_written(book: UpdateBook) -> None:
    book.write(LAST)
    device = Device(book, ScriptedRauc(booted="b"))
    assert device.decide("no frames") == 1
    assert device.done == ["reboot"]
    record = record_of(book)
    assert (record.outcome, record.why, record.failed) == ("fell back", "no frames", "0.2.0: no frames")


def test_the_old_system_finds_its_configuration_as_it_was_unless_the_update_is_kept(
    book: UpdateBook, tmp_path: Path
) -> None:
    file = tmp_path / "porter.yaml"
    file.write_text("mqtt:\n  server: a  # ours\n")
    before = (file.read_bytes(), file.stat().st_mtime_ns, file.stat().st_ino)

    def tried(why: str) -> list[str]:
        book.write(LAST)
        device = Device(book, ScriptedRauc(booted="b"))
        meant, moves = config.examine(config.read(file), str(file), (RENAMED,))
        assert (meant.mqtt.host, len(moves)) == ("a", 1), "the tried system understands it all the same"
        assert (file.read_bytes(), file.stat().st_mtime_ns, file.stat().st_ino) == before
        decision = with_fields(device.decision, new_names=lambda: upgrade_file(file, "0.2.0", (RENAMED,)))
        decision.decide(decision.begin(), why, lambda: device.done.append("reboot"))
        return device.done

    assert tried("no frames") == ["reboot"]
    assert len(tried("")) == 1
    assert file.read_text() == "mqtt:\n  host: a  # ours\n"
    assert (tmp_path / "porter.yaml.before-0.2.0").read_bytes() == before[0]


def test_what_cannot_be_kept_goes_back_even_where_the_disk_takes_no_record(tmp_path: Path) -> None:
    class Unable(ScriptedRauc):
        def run(self, *arguments: str) -> Iterator[str]:
            if arguments == ("status", "mark-good"):
                raise StorageError("rauc status: read-only")
            yield from super().run(*arguments)

    (tmp_path / "file").write_text("")
    book = UpdateBook(tmp_path / "file" / "last.json", tmp_path / "run" / "last.json")
    device = Device(book, Unable(booted="b"))
    with pytest.raises(StorageError, match="cannot be written"):
        device.decide("")
    assert device.done == ["reboot"]


def test_a_trial_whose_rauc_says_nothing_goes_back_and_no_other_boot_does(book: UpdateBook) -> None:
    silent, reboots = StorageError("rauc status: no answer"), list[str]()
    for outcome in ("installed", "kept"):
        book.write(replace(LAST, outcome=outcome))
        with pytest.raises(StorageError, match="no answer"):
            undecidable(book, silent, lambda: reboots.append("reboot"))
    assert not reboots
    book.write(replace(LAST, outcome="trying"))
    assert undecidable(book, silent, lambda: reboots.append("reboot")) == 1
    assert record_of(book).outcome == "fell back"
    with pytest.raises(StorageError, match="no answer"):
        undecidable(book, silent, lambda: reboots.append("reboot"))
    assert reboots == ["reboot"]


@pytest.mark.parametrize(
    ("record", "booted", "back_to"),
    [
        (replace(LAST, outcome="kept"), "a", ("b", "0.2.0")),
        (replace(LAST, outcome="fell back", slot="a", failed="0.2.0: no frames"), "a", ("b", "0.2.0")),
        (replace(LAST, outcome="fell back", slot="b"), "b", ("a", "0.1.0")),
    ],
    ids=["the kept one is the other", "this one was refused", "this one was refused, and is the second"],
)
def test_a_slot_that_boots_for_want_of_an_autoboot_txt_is_left_by_a_trial_and_once(
    book: UpdateBook, record: UpdateRecord, booted: str, back_to: tuple[str, str]
) -> None:
    book.write(record)
    rauc = ScriptedRauc(booted=booted, primary=booted)
    device = Device(book, rauc)
    device.decision.regain(lambda: True, lambda: device.done.append("reboot"))
    assert rauc.asked[-1] == ("status", "mark-active", "other")
    assert device.done == ["reboot"]
    found = record_of(book)
    assert (found.outcome, (found.slot, found.version), found.boot) == ("installed", back_to, BOOT)
    assert found.failed == record.failed
    # A card that loses the file again and again must not mean a device that starts again and again.
    later = with_fields(device.decision, boot="b0070003")
    later.settle()
    assert record_of(book).outcome == "not tried"
    later.regain(lambda: True, lambda: device.done.append("reboot"))
    assert device.done == ["reboot"]


@pytest.mark.parametrize(
    ("record", "booted", "lost"),
    [
        (replace(LAST, outcome="kept"), "a", False),
        (replace(LAST, outcome="kept"), "b", True),
        (replace(LAST, outcome="kept", slot=""), "a", True),
        (replace(LAST, outcome="fell back"), "a", True),
        (replace(LAST, outcome="interrupted"), "a", True),
        (None, "a", True),
    ],
    ids=["somebody chose this one", "it is the kept one", "no slot", "the other was refused", "half", "new"],
)
def test_no_other_boot_is_left(
    book: UpdateBook, record: UpdateRecord | None, booted: str, *, lost: bool
) -> None:
    if record is not None:
        book.write(record)
    device = Device(book, ScriptedRauc(booted=booted, primary=booted))
    device.decision.regain(lambda: lost, lambda: device.done.append("reboot"))
    assert device.done == []
    assert book.read() == record


def test_a_disk_or_a_rauc_that_refuses_leaves_the_device_where_it_is(book: UpdateBook) -> None:
    kept = replace(LAST, outcome="kept")
    book.write(kept)
    rauc = ScriptedRauc(booted="a", primary="a")
    device = Device(book, rauc)
    rauc.broken = "read-only"
    with pytest.raises(StorageError, match="read-only"):
        device.decision.regain(lambda: True, lambda: device.done.append("reboot"))
    assert device.done == []


@pytest.mark.parametrize(
    ("script", "lost"),
    [("echo 3", False), ("true", True), ("exit 1", False), (None, False)],
    ids=["named", "damaged", "failing", "not there"],
)
def test_a_choice_is_lost_only_where_the_backend_says_that_none_is_named(
    tmp_path: Path, script: str | None, *, lost: bool
) -> None:
    backend = tmp_path / "backend"
    if script is not None:
        backend.write_text(f"#!/bin/sh\n[ $1 = named ] || exit 2\n{script}\n")
        backend.chmod(0o755)
    assert choice_lost(str(backend)) is lost


def test_a_slot_that_somebody_chose_by_hand_is_tried_like_an_update(book: UpdateBook) -> None:
    book.write(UpdateRecord("0.2.0", "0.1.0", "kept", broker=False, boot="b", slot="b"))
    device = Device(book, ScriptedRauc(booted="a", primary="b"))
    record = device.decision.begin()
    assert (record.slot, record.broker, record.outcome, record_of(book)) == ("a", False, "trying", record)


def test_a_configuration_that_cannot_be_written_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "porter.yaml"
    new_names(file, "0.2.0")
    file.write_text("nonsense: 1\n")
    new_names(file, "0.2.0")
    assert "config_not_written" in caplog.text
    assert file.read_text() == "nonsense: 1\n"
