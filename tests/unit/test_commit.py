# SPDX-License-Identifier: Apache-2.0
"""`porter commit`: what is kept, what goes back, and what is remembered wherever the power went."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace as with_fields
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from device.adapters.slots_rauc import RaucSlots
from device.adapters.units_systemd import SystemdUnits
from device.commands.commit import Decision, Health, going_down, new_names, trial
from device.errors import StorageError
from device.update_record import UpdateBook, UpdateRecord
from tests.rauc import ScriptedRauc

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BOOT = "b0070002"
LAST = UpdateRecord("0.2.0", "0.1.0", "installed", broker=True, boot="b0070001", slot="b")


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


def found(book: UpdateBook) -> UpdateRecord:
    record = book.read()
    assert record is not None
    return record


class Device:
    """A device that runs one slot and boots another, and what `porter commit` did to it, in order."""

    def __init__(self, book: UpdateBook, rauc: ScriptedRauc) -> None:
        self.book, self.rauc = book, rauc
        self.done: list[str] = []
        slots = RaucSlots(self.run)
        self.decision = Decision(
            slots, slots.slots(), "0.2.0", BOOT, book, lambda: self.done.append("new names")
        )

    def run(self, *arguments: str) -> Iterator[str]:
        yield from self.rauc.run(*arguments)
        if arguments == ("status", "mark-good"):
            last = self.book.read()
            self.done.append(f"mark-good while the record says {last.outcome if last else None}")

    def decide(self, why: str) -> int:
        return self.decision.decide(self.decision.begin(), why, lambda: self.done.append("reboot"))


def test_what_works_is_kept_and_only_then_anything_is_written_in_a_new_form(book: UpdateBook) -> None:
    book.write(replace(LAST, failed="0.1.9: no frames"))
    device = Device(book, ScriptedRauc(booted="b"))
    assert device.decide("") == 0
    assert device.done == ["mark-good while the record says trying", "new names"]
    kept = found(book)
    assert (kept.outcome, kept.from_version, kept.failed) == ("kept", "0.1.0", "")


def test_what_does_not_work_is_remembered_and_rebooted_out_of_with_nothing_written(book: UpdateBook) -> None:
    book.write(LAST)
    device = Device(book, ScriptedRauc(booted="b"))
    assert device.decide("no frames") == 1
    assert device.done == ["reboot"]
    record = found(book)
    assert (record.outcome, record.why, record.failed) == ("fell back", "no frames", "0.2.0: no frames")


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


def test_a_slot_that_somebody_chose_by_hand_is_tried_like_an_update(book: UpdateBook) -> None:
    book.write(UpdateRecord("0.2.0", "0.1.0", "kept", broker=False, boot="b", slot="b"))
    device = Device(book, ScriptedRauc(booted="a", primary="b"))
    record = device.decision.begin()
    assert (record.slot, record.broker, record.outcome, found(book)) == ("a", False, "trying", record)


@pytest.mark.parametrize(
    ("outcome", "slot", "becomes"),
    [
        ("trying", "b", "fell back"),
        ("installed", "b", "not tried"),
        ("installing", "b", "interrupted"),
        ("trying", "a", "kept"),
        ("installed", "a", "kept"),
        ("kept", "a", "kept"),
        ("fell back", "b", "fell back"),
        ("not tried", "b", "not tried"),
        ("a word of a newer version", "b", "a word of a newer version"),
    ],
)
def test_a_later_boot_tells_what_became_of_an_update(
    book: UpdateBook, outcome: str, slot: str, becomes: str
) -> None:
    """The device runs slot a, and that is what it boots from now on."""
    before = replace(LAST, outcome=outcome, slot=slot)
    book.write(before)
    device = Device(book, ScriptedRauc())
    device.decision.settle()
    record = found(book)
    assert record.outcome == becomes
    assert bool(record.why) is (becomes not in (outcome, "kept"))
    assert bool(record.failed) is ((outcome, becomes) == ("trying", "fell back"))
    # The configuration's new names too, where the power went between the decision and its record.
    assert device.done == (["new names"] if becomes == "kept" != outcome else [])


@pytest.mark.parametrize("outcome", ["installing", "installed", "trying"])
def test_the_same_boot_changes_nothing_by_asking_again(book: UpdateBook, outcome: str) -> None:
    before = replace(LAST, outcome=outcome, boot=BOOT)
    book.write(before)
    Device(book, ScriptedRauc()).decision.settle()
    assert found(book) == before


def test_a_device_that_never_had_an_update_has_nothing_to_tell(book: UpdateBook, tmp_path: Path) -> None:
    Device(book, ScriptedRauc()).decision.settle()
    assert not list(tmp_path.iterdir())


def test_a_boot_loader_that_may_not_know_how_to_try_is_named_as_a_reason(book: UpdateBook) -> None:
    book.write(replace(LAST, outcome="trying"))
    device = Device(book, ScriptedRauc())
    with_fields(device.decision, doubt="the boot loader is of 2020-09-13").settle()
    assert found(book).failed.endswith("before it was kept; the boot loader is of 2020-09-13")


def test_the_copy_for_the_forwarder_is_there_after_each_boot(book: UpdateBook, tmp_path: Path) -> None:
    record = replace(LAST, outcome="fell back", why="x", failed="0.2.0: x")
    book.write(record)
    (tmp_path / "run" / "last.json").unlink()
    Device(book, ScriptedRauc()).decision.settle()
    copy = tmp_path / "run" / "last.json"
    assert json.loads(copy.read_text())["failed"] == "0.2.0: x"
    assert copy.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("outcome", "param", "jobs", "becomes"),
    [
        ("installed", "0 tryboot\n", "12 reboot.target start waiting\n", "trying"),
        ("installed", "0 tryboot\n", "12 poweroff.target start waiting\n", "installed"),
        ("installed", "0 tryboot\n", "", "installed"),
        ("installed", "", "12 reboot.target start waiting\n", "installed"),
        ("installed", None, "12 reboot.target start waiting\n", "installed"),
        ("kept", "0 tryboot\n", "12 reboot.target start waiting\n", "kept"),
        ("installing", "0 tryboot\n", "12 reboot.target start waiting\n", "installing"),
    ],
)
def test_only_a_reboot_that_tries_the_update_is_remembered_as_one(
    book: UpdateBook, tmp_path: Path, outcome: str, param: str | None, jobs: str, becomes: str
) -> None:
    book.write(replace(LAST, outcome=outcome))
    file = tmp_path / "reboot-param"
    if param is not None:
        file.write_text(param)
    going_down(book, BOOT, file, SystemdUnits(ScriptedUnits(jobs).run).rebooting)
    assert found(book).outcome == becomes


def test_an_update_is_told_through_all_of_its_states(book: UpdateBook, tmp_path: Path) -> None:
    """Installed, rebooted for the trial, and the new kernel never reached its first unit: three boots, one record."""
    book.write(LAST)
    param = tmp_path / "reboot-param"
    param.write_text("0 tryboot\n")
    going_down(book, "b0070001", param, lambda: True)
    Device(book, ScriptedRauc()).decision.settle()
    record = found(book)
    assert (record.outcome, record.failed) == (
        "fell back",
        "0.2.0: it did not come up, or lost its power before it was kept",
    )
    # And where the power went before that reboot, nobody claims that it was tried.
    book.write(LAST)
    Device(book, ScriptedRauc()).decision.settle()
    assert found(book).outcome == "not tried"
    assert found(book).failed == ""


@pytest.mark.parametrize("data", [b"", b"{", b'{"version": 1}', b"\xff"])
def test_a_damaged_record_is_none(book: UpdateBook, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "last.json").write_bytes(data)
    assert book.read() is None
    Device(book, ScriptedRauc()).decision.settle()


def test_an_older_porter_reads_a_newer_record(book: UpdateBook, tmp_path: Path) -> None:
    book.write(LAST)
    file = tmp_path / "data" / "last.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"outcome": "parked", "colour": "green"}))
    assert found(book).outcome == "parked"


def test_a_configuration_that_cannot_be_written_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "porter.yaml"
    new_names(file, "0.2.0")
    file.write_text("nonsense: 1\n")
    new_names(file, "0.2.0")
    assert "config_not_written" in caplog.text
    assert file.read_text() == "nonsense: 1\n"
