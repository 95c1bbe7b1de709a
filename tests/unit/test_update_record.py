# SPDX-License-Identifier: Apache-2.0
"""What is remembered of an update, and what a later boot makes of it, wherever the power went."""

from __future__ import annotations

import json
from dataclasses import replace as with_fields
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from device.adapters.units_systemd import SystemdUnits
from device.commands.commit import going_down
from device.update_record import UpdateBook
from tests.rauc import BOOT, LAST, Device, ScriptedRauc, record_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def book(tmp_path: Path) -> UpdateBook:
    return UpdateBook(tmp_path / "data" / "last.json", tmp_path / "run" / "last.json")


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
    record = record_of(book)
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
    assert record_of(book) == before


def test_a_device_that_never_had_an_update_has_nothing_to_tell(book: UpdateBook, tmp_path: Path) -> None:
    Device(book, ScriptedRauc()).decision.settle()
    assert not list(tmp_path.iterdir())


def test_a_boot_loader_that_may_not_know_how_to_try_is_named_as_a_reason(book: UpdateBook) -> None:
    book.write(replace(LAST, outcome="trying"))
    device = Device(book, ScriptedRauc())
    with_fields(device.decision, doubt="the boot loader is of 2020-09-13").settle()
    assert record_of(book).failed.endswith("before it was kept; the boot loader is of 2020-09-13")


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
    going_down(book, BOOT, file, SystemdUnits(lambda *_: jobs).rebooting)
    assert record_of(book).outcome == becomes


def test_an_update_is_told_through_all_of_its_states(book: UpdateBook, tmp_path: Path) -> None:
    """Installed, rebooted for the trial, and the new kernel never reached its first unit: three boots, one record."""
    book.write(LAST)
    param = tmp_path / "reboot-param"
    param.write_text("0 tryboot\n")
    going_down(book, "b0070001", param, lambda: True)
    Device(book, ScriptedRauc()).decision.settle()
    record = record_of(book)
    assert (record.outcome, record.failed) == (
        "fell back",
        "0.2.0: it did not come up, or lost its power before it was kept",
    )
    # And where the power went before that reboot, nobody claims that it was tried.
    book.write(LAST)
    Device(book, ScriptedRauc()).decision.settle()
    assert record_of(book).outcome == "not tried"
    assert record_of(book).failed == ""


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
    assert record_of(book).outcome == "parked"
