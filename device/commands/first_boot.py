# SPDX-License-Identifier: Apache-2.0
"""Take the settings that lie on the card, and make what this device has for itself alone (systemd runs this).

Each file in the folder `porter` of the card's first partition is checked, stored on the data partition, or sealed as an
encrypted credential where it is a secret, and then overwritten and deleted from the card. One that is wrong stays where
it is, and problems.txt beside it says why. On the first boot it also makes the device's identity: machine id, ssh host
key, device key, name and configuration. Exit code 1 where something could not be taken.

A power cut between any two steps loses nothing: what is not stored and synced is still on the card, and what is stored
twice is the same.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from device.card_settings import KEPT, MAX_BYTES, SETTINGS, SettingError, setting_for
from device.durable import sync, write_whole
from device.errors import PorterError, StorageError
from device.logs import setup_logging

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from device.card_settings import Setting

log = logging.getLogger("porter.first_boot")

FOLDER = "porter"
PROBLEMS = "problems.txt"
DEVICE_KEY = "porter.device-key"
# What a taken file is overwritten with; no settings file begins so. Zeros are what a card has that was pulled out of a
# computer too early.
WIPED = b"\x01wiped by Porter\n"
TEMPLATE_ID = '  #id: "porter-01"\n'


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are. card: the mounted first partition; data: the mounted data partition."""

    card: Path
    data: Path
    template: Path
    zoneinfo: Path = Path("/usr/share/zoneinfo")
    machine_id: Path = Path("/etc/machine-id")

    @property
    def credentials(self) -> Path:
        """Sealed credentials; on the device it is mounted as /etc/credstore.encrypted."""
        return self.data / "etc" / "credstore.encrypted"

    def stored(self, setting: Setting) -> Path:
        """Where a setting ends up."""
        if setting.secret:
            return self.credentials / setting.credential
        return {
            "porter.yaml": self.data / "etc" / "porter" / "porter.yaml",
            "hostname": self.data / "hostname",
            "timezone": self.data / "etc" / "localtime",
            "authorized_keys": self.data / "ssh" / "authorized_keys",
        }[setting.name]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument(
        "--card", type=Path, default=Path("/boot/autoboot"), help="the card's first partition"
    )
    parser.add_argument("--data", type=Path, default=Path("/data"), help="the data partition")
    parser.add_argument(
        "--template",
        type=Path,
        default=Path("/opt/porter/config/porter.yaml"),
        help="what the first configuration is made from",
    )


def run(args: argparse.Namespace) -> int:
    """Everything, as root on the device."""
    setup_logging("info", journal=args.journal)
    if os.geteuid():
        raise StorageError("porter first-boot stores what only root may", hint="systemd runs it at each boot")
    boot = FirstBoot(Places(args.card, args.data, args.template), systemd_seal, remount)
    boot.identity()
    try:
        refused = boot.take_settings()
    finally:
        # Also where the card cannot be read: by its name the device is found, and its services want a configuration.
        boot.first_configuration()
        socket.sethostname(boot.hostname())
    return 1 if refused else 0


def systemd_seal(name: str, secret: bytes, target: Path) -> None:
    """Seals a secret for this device: by its TPM where there is one, else by a key of its root. Raises StorageError."""
    command = ["systemd-creds", "encrypt", "--with-key=auto", f"--name={name}", "-", str(target)]
    done = subprocess.run(command, input=secret, capture_output=True, check=False, timeout=60)
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise StorageError(f"{name} could not be sealed: {said[-1] if said else done.returncode}")


def remount(folder: Path, how: str) -> None:
    """ro or rw. Raises StorageError."""
    done = subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], capture_output=True, check=False)
    if done.returncode:
        raise StorageError(
            f"{folder}: could not be made {how}: {done.stderr.decode('utf-8', 'replace').strip()}"
        )


def ssh_host_key(target: Path) -> None:
    """A new key in that file and its .pub. Raises StorageError."""
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "porter", "-f", str(target)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        raise StorageError(f"ssh-keygen: {done.stderr.decode('utf-8', 'replace').strip()}")


class FirstBoot:
    """One run. seal(name, secret, target) and remount(folder, "rw" or "ro") are the system's, or a test's."""

    def __init__(
        self,
        places: Places,
        seal: Callable[[str, bytes, Path], None],
        remount: Callable[[Path, str], None],
        make_host_key: Callable[[Path], None] = ssh_host_key,
    ) -> None:
        self._places, self._seal, self._remount, self._make_host_key = places, seal, remount, make_host_key

    def identity(self) -> None:
        """What a device has for itself alone: made once, kept for good. Raises StorageError."""
        places = self._places
        for name in ("etc/porter", "ssh", "systemd", "rauc", "update"):
            (places.data / name).mkdir(parents=True, exist_ok=True)
        places.credentials.mkdir(mode=0o700, exist_ok=True)
        hostname = places.data / "hostname"
        if not hostname.exists():
            write_whole(hostname, f"porter-{secrets.token_hex(3)}".encode(), 0o644)
            log.info("identity_made hostname=%s", self.hostname())
        machine_id = places.data / "machine-id"
        if not machine_id.exists():
            write_whole(machine_id, places.machine_id.read_bytes(), 0o444)
        if not (places.credentials / DEVICE_KEY).exists():
            self._seal_into(DEVICE_KEY, secrets.token_bytes(32))
        key = places.data / "ssh" / "ssh_host_ed25519_key"
        if not key.exists():
            half = key.with_name("half")
            for left in (half, half.with_name("half.pub")):
                left.unlink(missing_ok=True)
            self._make_host_key(half)
            half.with_name("half.pub").replace(key.with_name(f"{key.name}.pub"))
            half.replace(key)
            sync(key.parent)

    def first_configuration(self) -> None:
        """Where there is none: the template, with the device's name, the card's if it gave one. Raises StorageError."""
        file = self._places.data / "etc" / "porter" / "porter.yaml"
        if not file.exists():
            text = self._places.template.read_text("utf-8")
            write_whole(file, text.replace(TEMPLATE_ID, f'  id: "{self.hostname()}"\n').encode(), 0o644)
            log.info("configuration_made id=%s", self.hostname())

    def hostname(self) -> str:
        """The device's name in the network."""
        return (self._places.data / "hostname").read_text("ascii").strip()

    def take_settings(self) -> list[str]:
        """Stores what lies on the card; returns what could not be, a line each."""
        folder = self._places.card / FOLDER
        if not folder.is_dir():
            log.warning("card_away folder=%s", folder)
            return []
        files = sorted(file for file in folder.iterdir() if file.is_file())
        taken, refused = [], []
        for file in files:
            setting = setting_for(file.name)
            if setting is None:
                if file.name.casefold() not in KEPT and not file.name.startswith("."):
                    known = ", ".join(each.name for each in SETTINGS)
                    refused.append(f"{file.name}: not a settings file; known are {known}")
                continue
            try:
                self._take(setting, file)
            except (PorterError, OSError) as error:
                where = "" if str(error).startswith(setting.name) else f"{file.name}: "
                refused.append(f"{where}{error}")
                log.warning("setting_refused name=%s", setting.name)
            else:
                taken.append(file)
                log.info("setting_taken name=%s", setting.name)
        self._clear(folder, taken, refused)
        return refused

    def _take(self, setting: Setting, file: Path) -> None:
        with file.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
        if data and data.startswith(WIPED[: len(data)]):
            return  # stored by an earlier boot, which lost its power between overwriting and deleting
        if len(data) > MAX_BYTES:
            raise SettingError(f"expected at most {MAX_BYTES // 1024} KiB", hint="is it the right file?")
        value, target = setting.check(data), self._places.stored(setting)
        if setting.secret:
            self._seal_into(setting.credential, value)
        elif setting.name == "timezone":
            self._set_timezone(value.decode(), target)
        elif setting.name == "authorized_keys" and not value:
            target.unlink(missing_ok=True)
            sync(target.parent)
        else:
            write_whole(target, value, 0o644)

    def _set_timezone(self, name: str, target: Path) -> None:
        zone = self._places.zoneinfo / name
        if not zone.is_file():
            raise SettingError(
                f"{name} is no time zone known here", hint="as Europe/Berlin; `timedatectl list-timezones`"
            )
        half = target.with_name(f"{target.name}.half")
        half.unlink(missing_ok=True)
        half.symlink_to(zone)
        half.replace(target)
        sync(target.parent)

    def _seal_into(self, name: str, secret: bytes) -> None:
        target = self._places.credentials / name
        half = target.with_name(f"{name}.half")
        half.unlink(missing_ok=True)
        self._seal(name, secret, half)
        half.chmod(0o600)
        sync(half)
        half.replace(target)
        sync(target.parent)

    def _clear(self, folder: Path, taken: list[Path], refused: list[str]) -> None:
        """Takes from the card what is stored, and says there what is not. The card is writable only meanwhile."""
        problems = folder / PROBLEMS
        text = "".join(f"{line}\n" for line in refused)
        if not taken and (problems.read_text("utf-8", "replace") if problems.exists() else "") == text:
            return
        self._remount(self._places.card, "rw")
        try:
            for file in taken:
                # Best effort: a card may keep what was overwritten in cells that nobody can address.
                with file.open("r+b") as opened:
                    size = file.stat().st_size
                    opened.write((WIPED * (size // len(WIPED) + 1))[:size])
                    os.fsync(opened.fileno())
                file.unlink()
            problems.unlink(missing_ok=True)
            if text:
                problems.write_text(text, "utf-8")
                sync(problems)
            sync(folder)
        finally:
            self._remount(self._places.card, "ro")
