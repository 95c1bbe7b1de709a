# SPDX-License-Identifier: Apache-2.0
"""The first boot, and each that finds settings on the card; with a power cut between any two steps."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from device.commands.first_boot import WIPED, FirstBoot, Places
from device.errors import StorageError

TEMPLATE = 'device:\n  #id: "porter-01"\n'
SETTINGS = {
    "porter.yaml": b"device:\n  id: hall\n",
    "hostname": b"hall\n",
    "timezone": b"Europe/Berlin\n",
    "mqtt-password": b"swordfish\n",
}


class PowerCutError(BaseException):
    """Nothing may catch it."""


class System:
    """Stands for systemd-creds, mount and ssh-keygen; `steps_left` calls on, the power goes."""

    def __init__(self, steps_left: int = -1, *, seals: bool = True) -> None:
        self.steps_left, self.seals = steps_left, seals
        self.steps = 0
        self.mounted = "ro"

    def step(self) -> None:
        if self.steps_left == self.steps:
            raise PowerCutError
        self.steps += 1

    def seal(self, name: str, secret: bytes, target: Path) -> None:
        self.step()
        if not self.seals:
            raise StorageError("no key here")
        target.write_bytes(b"sealed " + name.encode() + b" " + secret[::-1])
        self.step()

    def remount(self, _folder: Path, how: str) -> None:
        self.step()
        self.mounted = how
        self.step()

    def host_key(self, target: Path) -> None:
        self.step()
        target.write_text("private")
        self.step()
        target.with_name(f"{target.name}.pub").write_text("public")


@pytest.fixture
def places(tmp_path: Path) -> Places:
    for name in ("card/porter", "data/etc", "zone/Europe"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "zone/Europe/Berlin").write_bytes(b"TZif")
    (tmp_path / "machine-id").write_text("a" * 32 + "\n")
    (tmp_path / "template").write_text(TEMPLATE)
    return Places(
        tmp_path / "card",
        tmp_path / "data",
        tmp_path / "template",
        zoneinfo=tmp_path / "zone",
        machine_id=tmp_path / "machine-id",
    )


def lay(places: Places, settings: dict[str, bytes]) -> None:
    for name, data in settings.items():
        (places.card / "porter" / name).write_bytes(data)


def booted(places: Places, system: System) -> list[str]:
    boot = FirstBoot(places, system.seal, system.remount, system.host_key)
    boot.identity()
    refused = boot.take_settings()
    boot.first_configuration()
    return refused


def contents(folder: Path) -> dict[str, bytes | str]:
    return {
        str(path.relative_to(folder)): str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def on_card(places: Places) -> set[str]:
    return {file.name for file in (places.card / "porter").iterdir()}


def test_a_first_boot_gives_the_device_an_identity_which_the_second_keeps(places: Places) -> None:
    assert booted(places, System()) == []
    first = contents(places.data)
    assert set(first) == {
        "etc/credstore.encrypted/porter.device-key",
        "etc/porter/porter.yaml",
        "hostname",
        "machine-id",
        "ssh/ssh_host_ed25519_key",
        "ssh/ssh_host_ed25519_key.pub",
    }
    name = (places.data / "hostname").read_text()
    assert name.startswith("porter-")
    assert f'id: "{name}"' in (places.data / "etc/porter/porter.yaml").read_text()
    assert stat.S_IMODE((places.data / "etc/credstore.encrypted").stat().st_mode) == 0o700
    assert booted(places, System()) == []
    assert contents(places.data) == first


def test_settings_are_stored_and_gone_from_the_card(places: Places) -> None:
    lay(places, SETTINGS)
    (places.card / "porter" / "README.txt").write_text("read me")
    system = System()
    assert booted(places, system) == []
    stored = contents(places.data)
    assert stored["etc/porter/porter.yaml"] == SETTINGS["porter.yaml"]
    assert stored["hostname"] == b"hall"
    assert str(stored["etc/localtime"]).endswith("zone/Europe/Berlin")
    assert stored["etc/credstore.encrypted/porter.mqtt-password"] == b"sealed porter.mqtt-password hsifdrows"
    assert not any(b"swordfish" in data for data in stored.values() if isinstance(data, bytes))
    assert on_card(places) == {"README.txt"}
    assert system.mounted == "ro"


def test_the_name_on_the_card_is_that_of_the_first_configuration_and_stays(places: Places) -> None:
    """Topics have it in them: another name in the network does not change it later."""
    lay(places, {"hostname": b"Hall\r\n"})
    booted(places, System())
    lay(places, {"hostname": b"porch"})
    booted(places, System())
    assert (places.data / "hostname").read_text() == "porch"
    assert 'id: "hall"' in (places.data / "etc/porter/porter.yaml").read_text()


def test_a_wrong_setting_stays_on_the_card_with_its_reason_and_the_stored_one_stays(places: Places) -> None:
    lay(places, SETTINGS)
    booted(places, System())
    lay(places, {"porter.yaml": b"nonsense: 1\n", "notes.docx": b"", "hostname": b"porch"})
    refused = booted(places, System())
    assert len(refused) == 2
    assert on_card(places) == {"porter.yaml", "notes.docx", "problems.txt"}
    problems = (places.card / "porter" / "problems.txt").read_text()
    assert "nonsense" in problems
    assert "porter.yaml: porter.yaml" not in problems
    assert "notes.docx: not a settings file" in problems
    assert (places.data / "etc/porter/porter.yaml").read_bytes() == SETTINGS["porter.yaml"]
    assert (places.data / "hostname").read_text() == "porch"
    for name in ("porter.yaml", "notes.docx"):
        (places.card / "porter" / name).unlink()
    assert booted(places, System()) == []
    assert on_card(places) == set()


def test_nothing_to_do_leaves_the_card_as_it_is(places: Places) -> None:
    booted(places, System())
    lay(places, {"notes.docx": b""})
    booted(places, System())
    again = System()
    booted(places, again)
    assert again.steps == 0


def test_a_file_that_its_computer_never_wrote_is_refused_and_one_that_porter_wiped_is_not(
    places: Places,
) -> None:
    lay(places, {"hostname": bytes(6), "mqtt-username": (WIPED * 9)[:70] + b"rest", "timezone": WIPED[:3]})
    (problem,) = booted(places, System())
    assert problem.startswith("hostname: it is empty")
    assert "ejecting" in problem
    assert on_card(places) == {"hostname", "problems.txt"}
    assert not list(places.data.rglob("porter.mqtt-*"))


def test_a_huge_file_is_refused(places: Places) -> None:
    lay(places, {"porter.yaml": b"#" * 100_000})
    (problem,) = booted(places, System())
    assert "64 KiB" in problem


def test_an_empty_list_of_keys_closes_the_door(places: Places) -> None:
    stored = places.data / "ssh" / "authorized_keys"
    stored.parent.mkdir()
    stored.write_text("old")
    lay(places, {"authorized_keys": b"\n"})
    assert booted(places, System()) == []
    assert not stored.exists()


def test_a_secret_that_cannot_be_sealed_stays_where_it_was(places: Places) -> None:
    booted(places, System())
    lay(places, SETTINGS)
    (problem,) = booted(places, System(seals=False))
    assert "mqtt-password" in problem
    assert on_card(places) == {"mqtt-password", "problems.txt"}


def test_a_card_without_a_folder_or_a_card_that_is_away_is_no_trouble(places: Places) -> None:
    (places.card / "porter").rmdir()
    assert booted(places, System()) == []


def test_a_power_cut_between_any_two_steps_loses_nothing(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The steps are the system's calls, and each fsync: before it a file may be anything, after it counts."""
    real = os.fsync
    moments = 0
    while True:
        for name in contents(places.data):
            (places.data / name).unlink()
        lay(places, SETTINGS)
        system = System(steps_left=moments)

        def counted(opened: int, system: System = system) -> None:
            system.step()
            real(opened)

        monkeypatch.setattr(os, "fsync", counted)
        try:
            booted(places, system)
        except PowerCutError:
            monkeypatch.setattr(os, "fsync", real)
        else:
            break
        for name, data in SETTINGS.items():
            file = places.card / "porter" / name
            there = file.exists() and file.read_bytes() == data
            stored = contents(places.data)
            kept = {
                "porter.yaml": stored.get("etc/porter/porter.yaml") == data,
                "hostname": stored.get("hostname") == b"hall",
                "timezone": "etc/localtime" in stored,
                "mqtt-password": "etc/credstore.encrypted/porter.mqtt-password" in stored,
            }
            assert there or kept[name], (moments, name)
        assert booted(places, System()) == [], moments
        assert on_card(places) == set(), moments
        assert (places.data / "etc/porter/porter.yaml").read_bytes() == SETTINGS["porter.yaml"], moments
        assert (places.data / "hostname").read_text() == "hall", moments
        moments += 1
    assert moments > 20
