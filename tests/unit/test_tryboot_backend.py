# SPDX-License-Identifier: Apache-2.0
"""RAUC's bootloader backend over autoboot.txt, held against what the firmware makes of that file."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.image.firmware import AUTOBOOT_BYTES, choice

ROOT = Path(__file__).resolve().parents[2]
BACKEND = ROOT / "config/image/root/usr/lib/porter/tryboot-backend"
SHIPPED = (ROOT / "config/image/boot/autoboot.txt").read_bytes()


class Card:
    """One card's autoboot.txt, and a system that runs from one of its slots."""

    def __init__(self, folder: Path) -> None:
        self.autoboot = folder / "autoboot.txt"
        self.autoboot.write_bytes(SHIPPED)
        self.param = folder / "reboot-param"
        self.folder = folder

    def ask(self, running: int, *words: str) -> str:
        told = {"AUTOBOOT": self.autoboot, "STATES": self.folder / "states", "REBOOT_PARAM": self.param}
        env = {
            "PATH": "/usr/bin:/bin",
            "CURRENT": str(running),
            **{name: str(at) for name, at in told.items()},
        }
        done = subprocess.run([BACKEND, *words], env=env, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else f"failed: {done.stderr.strip()}"

    def boots(self, *, tryboot: bool = False) -> int | None:
        return choice(self.autoboot.read_bytes(), tryboot=tryboot)


@pytest.fixture
def card(tmp_path: Path) -> Card:
    return Card(tmp_path)


def test_the_shipped_card_boots_its_first_slot_and_tries_its_second(card: Card) -> None:
    assert (card.boots(), card.boots(tryboot=True)) == (2, 3)
    assert (card.ask(2, "get-current"), card.ask(2, "get-primary")) == ("2", "2")
    assert len(SHIPPED) <= AUTOBOOT_BYTES


@pytest.mark.parametrize("running", [2, 3])
def test_an_installed_update_is_tried_by_one_reboot_and_by_nothing_on_the_card(
    card: Card, running: int
) -> None:
    if running == 3:
        card.ask(3, "set-state", "3", "good")
    before = card.autoboot.read_bytes()
    assert card.ask(running, "set-primary", str(5 - running)) == ""
    assert card.param.read_text().strip() == "0 tryboot"
    assert card.autoboot.read_bytes() == before
    assert (card.boots(), card.boots(tryboot=True)) == (running, 5 - running)


def test_only_the_tried_system_itself_makes_the_update_stay(card: Card) -> None:
    assert card.ask(2, "set-state", "3", "good") == ""
    assert card.boots() == 2
    assert card.ask(3, "set-state", "3", "good") == ""
    assert (card.boots(), card.boots(tryboot=True)) == (3, 2)
    assert card.ask(3, "get-primary") == "3"


def test_a_change_of_mind_before_the_reboot_is_heard(card: Card) -> None:
    card.ask(2, "set-primary", "3")
    card.ask(2, "set-primary", "2")
    assert not card.param.exists()


def test_a_bad_slot_is_remembered_until_it_is_good(card: Card) -> None:
    assert card.ask(2, "get-state", "3") == "good"
    card.ask(2, "set-state", "3", "bad")
    assert card.ask(2, "get-state", "3") == "bad"
    card.ask(2, "set-state", "3", "good")
    assert card.ask(2, "get-state", "3") == "good"


@pytest.mark.parametrize(
    "words", [(), ("get",), ("set-primary",), ("set-primary", "4"), ("get-state", "rootfs.0")]
)
def test_what_rauc_does_not_say_changes_nothing(card: Card, words: tuple[str, ...]) -> None:
    assert card.ask(2, *words).startswith("failed: ")
    assert card.autoboot.read_bytes() == SHIPPED


def test_a_write_changes_two_digits_of_one_sector_and_not_the_length(card: Card) -> None:
    at = card.autoboot.stat().st_ino
    card.ask(3, "set-state", "3", "good")
    new = card.autoboot.read_bytes()
    assert len(new) == len(SHIPPED) < 512
    assert sum(one != other for one, other in zip(SHIPPED, new, strict=True)) == 2
    assert card.autoboot.stat().st_ino == at


def test_a_file_cut_at_any_length_boots_a_slot_that_works_and_is_mended_by_the_next_write(card: Card) -> None:
    """Before the first update only slot 2 has a system; after one was kept both have."""
    for length in range(len(SHIPPED)):
        torn = SHIPPED[:length]
        # None: the firmware takes the first partition that can boot, which is 2 as well.
        assert choice(torn, tryboot=False) in (None, 2), length
        card.autoboot.write_bytes(torn)
        assert card.ask(2, "get-primary") == "2", length
        card.ask(3, "set-state", "3", "good")
        assert (card.boots(), card.boots(tryboot=True)) == (3, 2), length


def test_a_torn_file_of_the_other_slot_boots_one_of_both_and_the_backend_agrees_with_the_firmware(
    card: Card,
) -> None:
    card.ask(3, "set-state", "3", "good")
    kept = card.autoboot.read_bytes()
    for length in range(len(kept)):
        card.autoboot.write_bytes(kept[:length])
        firmware = choice(kept[:length], tryboot=False)
        assert firmware in (None, 2, 3)
        assert card.ask(3, "get-primary") == str(firmware or 2), length
        # What porter commit asks: the kept slot is lost where nothing is named, and only there.
        assert card.ask(3, "named") == str(firmware or ""), length


@pytest.mark.parametrize("words", [("set-primary", "3"), ("set-state", "2", "good")])
def test_a_torn_file_is_mended_by_the_old_slot_as_well_or_no_update_would_ever_be_tried(
    card: Card, words: tuple[str, ...]
) -> None:
    for length in range(len(SHIPPED)):
        card.autoboot.write_bytes(SHIPPED[:length])
        assert card.ask(2, *words) == "", length
        assert (card.boots(), card.boots(tryboot=True)) == (2, 3), length


@pytest.mark.parametrize("end", [b"\r\n", b" \n", b"\t\r\n"])
def test_a_choice_that_somebody_made_in_an_editor_is_no_damage(card: Card, end: bytes) -> None:
    card.ask(3, "set-state", "3", "good")
    card.autoboot.write_bytes(card.autoboot.read_bytes().replace(b"\n", end))
    assert (card.boots(), card.ask(2, "get-primary"), card.ask(2, "named")) == (3, "3", "3")


def test_a_partition_that_is_not_mounted_is_not_a_file_that_is_damaged(tmp_path: Path) -> None:
    env = {"PATH": "/usr/bin:/bin", "AUTOBOOT": str(tmp_path / "autoboot.txt")}
    done = subprocess.run([BACKEND, "named"], env=env, capture_output=True, check=False)
    assert (done.returncode != 0, done.stdout) == (True, b"")


def test_a_missing_file_is_written_anew(card: Card) -> None:
    card.autoboot.unlink()
    assert card.ask(2, "get-primary") == "2"
    card.ask(3, "set-primary", "3")
    assert (card.boots(), card.boots(tryboot=True)) == (3, 2)
