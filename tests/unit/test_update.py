# SPDX-License-Identifier: Apache-2.0
"""`porter update`, with a rauc that says what it is told to."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

import pytest

from device.adapters.slots_rauc import RaucSlots, run_rauc
from device.commands.update import (
    acknowledge,
    broker_before,
    checked,
    config_for,
    give_up,
    old_bootloader,
    permitted,
    running_version,
    show,
)
from device.config_upgrade import upgrade_file
from device.errors import InputError, StorageError
from device.update_record import UpdateBook, UpdateRecord
from device.update_rules import older
from tests.rauc import ScriptedRauc

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


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


def test_an_install_waits_for_a_rauc_that_is_busy_with_a_question() -> None:
    """As it is after a boot, while `porter commit` asks it for its state: the install of a moment later failed."""

    class Busy(ScriptedRauc):
        def run(self, *arguments: str) -> Iterator[str]:
            if len(self.asked) < 2:
                self.asked.append(arguments)
                raise StorageError("rauc install: Install: already processing a different method")
            yield from super().run(*arguments)

    rauc, waits, shown = Busy(), list[float](), list[int]()
    RaucSlots(rauc.run, waits.append).install("update.raucb", lambda percent, _: shown.append(percent))
    assert rauc.asked == [("install", "update.raucb")] * 3
    assert len(waits) == 2
    assert shown == [0, 40, 100]


def test_a_bundle_whose_block_device_somebody_closed_is_opened_again() -> None:
    """Seen in an emulator (make image-ab) some seconds after a boot; three more tries, then its reason."""

    class Gone(ScriptedRauc):
        def run(self, *arguments: str) -> Iterator[str]:
            if not self.asked:
                self.asked.append(arguments)
                reason = (
                    "Failed to load dm table: Argument list too long, check DM_VERITY, DM_CRYPT or CRYPTO_AES"
                )
                raise StorageError(f"rauc install: Failed mounting bundle: {reason} kernel options.")
            yield from super().run(*arguments)

    rauc, waits, shown = Gone(), list[float](), list[int]()
    RaucSlots(rauc.run, waits.append).install("http://host/u.raucb", lambda percent, _: shown.append(percent))
    assert (len(rauc.asked), len(waits), shown) == (2, 1, [0, 40, 100])
    broken = ScriptedRauc()
    broken.broken = "Failed mounting bundle: Failed to load dm table: Argument list too long"
    with pytest.raises(StorageError, match="dm table"):
        RaucSlots(broken.run, waits.append).install("http://host/u.raucb", lambda *_: None)
    assert len(waits) == 4


def test_a_rauc_that_has_yet_to_start_is_waited_for_less_often() -> None:
    """Each such question takes D-Bus 25 s to give up."""
    rauc, waits = ScriptedRauc(), list[float]()
    rauc.broken = (
        "Error creating proxy: Error calling StartServiceByName for de.pengutronix.rauc: Timeout was reached"
    )
    with pytest.raises(StorageError, match="StartServiceByName"):
        RaucSlots(rauc.run, waits.append).slots()
    assert len(waits) == 4


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


def test_the_status_says_what_runs_and_how_the_last_went(capsys: pytest.CaptureFixture[str]) -> None:
    slots = RaucSlots(ScriptedRauc(booted="b").run).slots()
    last = UpdateRecord(
        "0.2.0", "0.1.0", "fell back", broker=True, why="no frames", failed="0.2.0: no frames"
    )
    show(slots, last, as_json=False)
    said = capsys.readouterr().out
    assert "slot b" in said
    assert "on trial" in said
    assert "0.2.0: fell back: no frames" in said
    assert "update_failed stands until" in said
    show(slots, None, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"booted": "b", "primary": "a", "trial": True, "last": None}


def test_an_earlier_failure_is_shown_beside_a_later_record(capsys: pytest.CaptureFixture[str]) -> None:
    slots = RaucSlots(ScriptedRauc().run).slots()
    last = UpdateRecord("0.3.0", "0.1.0", "not tried", broker=True, failed="0.2.0: no frames")
    show(slots, last, as_json=False)
    assert "alert     0.2.0: no frames" in capsys.readouterr().out
    show(slots, last, as_json=True)
    assert json.loads(capsys.readouterr().out)["last"]["failed"] == "0.2.0: no frames"


@pytest.fixture
def book(tmp_path: Path) -> UpdateBook:
    return UpdateBook(tmp_path / "data" / "last.json", tmp_path / "run" / "last.json")


def test_a_failure_is_acknowledged_once(book: UpdateBook, capsys: pytest.CaptureFixture[str]) -> None:
    assert acknowledge(book) == 0
    assert "nothing to acknowledge" in capsys.readouterr().out
    book.write(UpdateRecord("0.2.0", "0.1.0", "fell back", broker=True, why="x", failed="0.2.0: x"))
    assert acknowledge(book) == 0
    assert "acknowledged: 0.2.0: x" in capsys.readouterr().out
    found = book.read()
    assert found is not None
    assert (found.outcome, found.why, found.failed) == ("fell back", "x", "")


def test_a_permit_lasts_as_long_as_the_install_that_asked_for_it(tmp_path: Path) -> None:
    permit = tmp_path / "run" / "allow-downgrade"

    def failing() -> None:
        with permitted("0.0.9", permit):
            assert permit.read_text() == "0.0.9"
            raise StorageError("rauc install: it failed")

    with pytest.raises(StorageError, match="it failed"):
        failing()
    assert not permit.exists()
    with permitted("", permit):
        assert not permit.exists()


def test_an_install_that_failed_is_remembered_only_where_it_had_begun(book: UpdateBook) -> None:
    give_up(book, "it failed")
    assert book.read() is None
    before = UpdateRecord("0.2.0", "0.1.0", "kept", broker=True)
    book.write(before)
    give_up(book, "refused before it began")
    assert book.read() == before
    book.write(UpdateRecord("0.3.0", "0.2.0", "installing", broker=True))
    give_up(book, "no space")
    found = book.read()
    assert found is not None
    assert (found.outcome, found.why) == ("interrupted", "no space")


@pytest.mark.parametrize(
    ("built_s", "warned"), [(None, False), (1_600_000_000, True), (1_700_000_000, False)]
)
def test_an_old_boot_loader_is_warned_of(built_s: int | None, *, warned: bool) -> None:
    said = old_bootloader(lambda: built_s)
    assert bool(said) is warned
    assert not warned or ("2020-09-13" in said and "rpi-eeprom-update" in said)


def test_a_downgrade_says_what_becomes_of_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "porter.yaml"
    assert "no option has another name" in config_for(file, "0.1.0")
    file.write_text("mqtt:\n  host: a\n")
    assert upgrade_file(file, "0.2.0") is None
    kept = tmp_path / "porter.yaml.before-0.2.0"
    kept.write_text("mqtt:\n  host: a\n")
    assert "put back as it was for 0.1.0" in config_for(file, "0.1.0")
    file.write_text("mqtt:\n  host: b\n")
    assert "was changed since" in config_for(file, "0.1.0")
    assert file.read_text() == "mqtt:\n  host: b\n"


def test_a_configuration_that_is_wrong_does_not_stand_in_the_way_of_an_update(tmp_path: Path) -> None:
    file = tmp_path / "porter.yaml"
    file.write_text("nonsense: 1\n")
    assert broker_before(argparse.Namespace(config=file)) is False
