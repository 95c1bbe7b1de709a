# SPDX-License-Identifier: Apache-2.0
"""`porter update` and `porter commit`, with a rauc that says what it is told to."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

import pytest

from device import update_record
from device.adapters.slots_rauc import RaucSlots, run_rauc
from device.commands.commit import Health, after_the_trial, decide, trial
from device.commands.update import checked, older, running_version, show
from device.errors import InputError, StorageError
from device.update_record import UpdateRecord

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BOARD = "porter-rpi4-debian"


class ScriptedRauc:
    """Says what rauc says, of a device that runs one slot and boots another; keeps what it was asked."""

    def __init__(
        self, *, booted: str = "a", primary: str = "a", version: str = "0.2.0", board: str = BOARD
    ) -> None:
        self.booted, self.primary, self.version, self.board = booted, primary, version, board
        self.asked: list[tuple[str, ...]] = []
        self.broken = ""

    def run(self, *arguments: str) -> Iterator[str]:
        self.asked.append(arguments)
        if self.broken:
            raise StorageError(f"rauc {arguments[0]}: {self.broken}")
        if arguments[:2] == ("status", "mark-good"):
            yield "rauc status: marked slot(s) rootfs.1 as good"
        elif arguments[0] == "status":
            yield json.dumps(self.status())
        elif arguments[0] == "info":
            yield "a word before"
            yield json.dumps({"compatible": self.board, "version": self.version})
        else:
            yield from ("installing", "  0% Installing", " 40% Copying image", "100% Installing done.")

    def status(self) -> dict[str, object]:
        slots = []
        for number, letter in enumerate("ab"):
            state = "booted" if letter == self.booted else "inactive"
            bundle = {"bundle": {"version": "0.1.0"}} if letter == "a" else {}
            slots.append({f"rootfs.{number}": {"class": "rootfs", "state": state, "slot_status": bundle}})
            slots.append({f"boot.{number}": {"class": "boot", "state": "inactive"}})
        return {
            "compatible": BOARD,
            "booted": "2",
            "boot_primary": f"rootfs.{'ab'.index(self.primary)}",
            "slots": slots,
        }


def test_the_slots_are_as_rauc_says() -> None:
    found = RaucSlots(ScriptedRauc(booted="b").run).slots()
    assert (found.booted, found.primary, found.trial, found.versions) == (
        "b",
        "a",
        True,
        {"a": "0.1.0", "b": ""},
    )
    assert not RaucSlots(ScriptedRauc(booted="b", primary="b").run).slots().trial


def test_a_status_that_is_none_is_an_error_that_shows_it() -> None:
    with pytest.raises(StorageError, match="expected JSON, got 'busy'"):
        RaucSlots(lambda *_: iter(["busy"])).slots()
    with pytest.raises(StorageError, match="which slot runs"):
        RaucSlots(lambda *_: iter(["{}"])).slots()


def test_a_busy_rauc_is_asked_again_and_not_for_ever() -> None:
    class Busy(ScriptedRauc):
        def run(self, *arguments: str) -> Iterator[str]:
            self.asked.append(arguments)
            if len(self.asked) < 3:
                raise StorageError("rauc status: GetSlotStatus: already processing a different method")
            yield json.dumps(self.status())

    waits: list[float] = []
    assert RaucSlots(Busy().run, waits.append).slots().booted == "a"
    assert len(waits) == 2
    rauc = ScriptedRauc()
    rauc.broken = "already processing a different method"
    with pytest.raises(StorageError, match="already processing"):
        RaucSlots(rauc.run, waits.append).slots()


def test_a_machine_without_rauc_says_what_updates_are_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(StorageError, match="not installed"):
        list(run_rauc("status"))


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("echo ' 99% x'; echo 'LastError: slot is mounted'; echo 'Installing `a` failed'", "slot is mounted"),
        ("echo 'rauc: no such bundle'; echo", "rauc: no such bundle"),
        (":", "exit code 3"),
    ],
)
def test_a_rauc_that_fails_is_told_by_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, reason: str
) -> None:
    command = tmp_path / "rauc"
    command.write_text(f"#!/bin/sh\n{said}\nexit 3\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(StorageError) as error:
        list(run_rauc("install", "a.raucb"))
    assert error.value.message == f"rauc install: {reason}"


def test_progress_is_reported_as_it_comes() -> None:
    seen: list[tuple[int, str]] = []
    RaucSlots(ScriptedRauc().run).install("a.raucb", lambda percent, what: seen.append((percent, what)))
    assert seen == [(0, "Installing"), (40, "Copying image"), (100, "Installing done.")]


def test_a_good_update_is_taken_by_its_version() -> None:
    assert checked(RaucSlots(ScriptedRauc().run), "a.raucb", "0.1.0+g1", downgrade=False) == "0.2.0"


def test_an_update_for_another_board_is_refused() -> None:
    rauc = ScriptedRauc(board="porter-rpi5-raspios")
    with pytest.raises(InputError, match="made for porter-rpi5-raspios, this device is porter-rpi4-debian"):
        checked(RaucSlots(rauc.run), "a.raucb", "0.1.0", downgrade=False)


def test_an_older_one_is_refused_unless_asked_for() -> None:
    rauc = RaucSlots(ScriptedRauc(version="0.0.9").run)
    with pytest.raises(InputError, match=r"0\.0\.9 is older than 0\.1\.0"):
        checked(rauc, "a.raucb", "0.1.0", downgrade=False)
    assert checked(rauc, "a.raucb", "0.1.0", downgrade=True) == "0.0.9"


def test_nothing_is_installed_while_an_update_is_on_trial() -> None:
    with pytest.raises(StorageError, match="on trial"):
        checked(RaucSlots(ScriptedRauc(booted="b").run), "a.raucb", "0.1.0", downgrade=False)


def test_a_bundle_that_rauc_does_not_trust_is_wrong_use() -> None:
    class Distrusting(ScriptedRauc):
        def run(self, *arguments: str) -> Iterator[str]:
            if arguments[0] == "info":
                raise StorageError("rauc info: signature verification failed")
            yield from super().run(*arguments)

    with pytest.raises(InputError, match="signature verification failed"):
        checked(RaucSlots(Distrusting().run), "a.raucb", "0.1.0", downgrade=False)


@pytest.mark.parametrize(
    ("one", "other", "is_older"),
    [
        ("0.1.0", "0.2.0", True),
        ("0.10.0", "0.9.0", False),
        ("0.1.0+g1", "0.1.0+g2", False),
        ("0.1", "0.1.1", True),
        ("nonsense", "0.1", True),
    ],
)
def test_versions_are_compared_by_their_numbers(one: str, other: str, *, is_older: bool) -> None:
    assert older(one, other) is is_older


def test_the_running_version_is_the_images(tmp_path: Path) -> None:
    file = tmp_path / "os-release"
    file.write_text('NAME="Porter"\nVERSION_ID="0.1.0+g12"\n')
    assert running_version(file) == "0.1.0+g12"
    assert running_version(tmp_path / "none") == ""


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


def test_a_configuration_that_the_new_version_does_not_take_is_what_is_missing(tmp_path: Path) -> None:
    file = tmp_path / "porter.yaml"
    file.write_text("nonsense: 1\n")
    said = Health(argparse.Namespace(config=file, socket=None), broker=True).missing()
    assert "nonsense" in said


def test_what_cannot_be_kept_goes_back_even_where_the_disk_takes_no_record(tmp_path: Path) -> None:
    class Unable(ScriptedRauc):
        def run(self, *arguments: str) -> Iterator[str]:
            if arguments == ("status", "mark-good"):
                raise StorageError("rauc status: read-only")
            yield from super().run(*arguments)

    rauc, reboots = RaucSlots(Unable(booted="b").run), list[int]()
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        decide(rauc, rauc.slots(), LAST, "", tmp_path / "file" / "last.json", lambda: reboots.append(1))
    assert reboots == [1]


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "last.json"


LAST = UpdateRecord("0.2.0", "0.1.0", "installed", broker=True)


def test_what_works_is_kept(record: Path) -> None:
    rauc, reboots = ScriptedRauc(booted="b"), list[int]()
    slots = RaucSlots(rauc.run).slots()
    assert decide(RaucSlots(rauc.run), slots, LAST, "", record, lambda: reboots.append(1)) == 0
    assert rauc.asked[-1] == ("status", "mark-good")
    found = update_record.read(record)
    assert found is not None
    assert (found.outcome, found.from_version, reboots) == ("kept", "0.1.0", [])


def test_what_does_not_work_is_remembered_and_rebooted_out_of(record: Path) -> None:
    rauc, reboots = ScriptedRauc(booted="b"), list[int]()
    slots = RaucSlots(rauc.run).slots()
    assert decide(RaucSlots(rauc.run), slots, LAST, "no frames", record, lambda: reboots.append(1)) == 1
    assert ("status", "mark-good") not in rauc.asked
    found = update_record.read(record)
    assert found is not None
    assert (found.outcome, found.why, reboots) == ("fell back", "no frames", [1])


def test_an_update_that_never_came_up_is_told_by_the_old_system() -> None:
    told = after_the_trial(LAST, "0.1.0")
    assert told is not None
    assert (told.outcome, told.version) == ("fell back", "0.2.0")
    assert after_the_trial(None, "0.1.0") is None
    assert after_the_trial(UpdateRecord("0.2.0", "0.1.0", "kept", broker=True), "0.2.0") is None
    assert after_the_trial(told, "0.1.0") is None


@pytest.mark.parametrize("data", [b"", b"{", b'{"version": 1}', b"\xff"])
def test_a_damaged_record_is_none(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "last.json"
    file.write_bytes(data)
    assert update_record.read(file) is None


def test_the_status_says_what_runs_and_how_the_last_went(capsys: pytest.CaptureFixture[str]) -> None:
    slots = RaucSlots(ScriptedRauc(booted="b").run).slots()
    show(slots, UpdateRecord("0.2.0", "0.1.0", "fell back", broker=True, why="no frames"), as_json=False)
    said = capsys.readouterr().out
    assert "slot b" in said
    assert "on trial" in said
    assert "0.2.0: fell back: no frames" in said
    show(slots, None, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"booted": "b", "primary": "a", "trial": True, "last": None}
