# SPDX-License-Identifier: Apache-2.0
"""A real RAUC with a bus of its own, slots that are files, and Porter's shipped handlers and backend.

Run as a module this is the `porter` that the handlers call: `python -m tests.system.rauc_service FOLDER update ...`.
Bundles are of the plain format, since verity needs a device mapper; what the handlers see is the same.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from device.cli import run_guarded
from device.commands import update
from device.update_record import UpdateBook
from tests.subscriber import wait_for

ROOT = Path(__file__).parents[2]
IMAGE = ROOT / "config/image/root"
BOARD = "porter-test"
SLOT_BYTES = 1_000_000
SYSTEM_CONF = """\
[system]
compatible={board}
bootloader=custom
bundle-formats=plain
data-directory={folder}/states
mountprefix={folder}/mnt

[keyring]
path={folder}/cert.pem

[handlers]
bootloader-custom-backend={folder}/tryboot-backend
pre-install={folder}/pre-install
post-install={folder}/post-install
"""
SLOT = """
[slot.{name}]
device={folder}/{name}
type=raw
{more}
"""


class Rauc:
    """`with Rauc(folder, "0.1.0") as rauc`. running: the boot partition that the system runs from, 2 or 3."""

    def __init__(self, folder: Path, version: str, *, running: int = 2) -> None:
        self.folder = folder
        self.book = UpdateBook(folder / "last.json", folder / "shown.json")
        self.permit = folder / "allow-downgrade"
        # RAUC 1.8 does not ask the backend yet which slot runs.
        self._running = f"--override-boot-slot={running}"
        self._conf = folder / "system.conf"
        self._log = folder / "rauc.log"
        (folder / "os-release").write_text(f'VERSION_ID="{version}"\n')
        (folder / "porter.yaml").write_text(f"device: {{run_dir: {folder}}}\n")
        shutil.copy(ROOT / "config/image/boot/autoboot.txt", folder)
        for each in ("states", "mnt", "in"):
            (folder / each).mkdir()
        self._environment = os.environ | {
            "CURRENT": str(running),
            "AUTOBOOT": str(folder / "autoboot.txt"),
            "STATES": str(folder / "states"),
            "REBOOT_PARAM": str(folder / "reboot-param"),
        }
        self._write_conf()
        self._write_programs()
        self._make_key()

    def bundle(self, version: str) -> Path:
        """An update that says so."""
        for name in ("root.img", "boot.img"):
            (self.folder / "in" / name).write_bytes(version.encode() * 1000)
        (self.folder / "in" / "manifest.raucm").write_text(
            f"[update]\ncompatible={BOARD}\nversion={version}\n\n[bundle]\nformat=plain\n\n"
            "[image.rootfs]\nfilename=root.img\n\n[image.boot]\nfilename=boot.img\n"
        )
        made = self.folder / f"{version}.raucb"
        key = [f"--cert={self.folder}/cert.pem", f"--key={self.folder}/key.pem"]
        _run("rauc", "bundle", *key, str(self.folder / "in"), str(made))
        return made

    def install(self, bundle: Path) -> bool:
        """As anybody would who speaks to RAUC and not to Porter: whether it was taken."""
        command = ["rauc", "-c", str(self._conf), "install", str(bundle)]
        done = subprocess.run(
            command, env=self._environment, capture_output=True, text=True, timeout=60, check=False
        )
        return done.returncode == 0

    @property
    def said(self) -> str:
        """The service's log, which is the journal on a device."""
        return self._log.read_text()

    def slot(self, name: str) -> bytes:
        """What lies in a slot, without what was never written."""
        return (self.folder / name).read_bytes().rstrip(b"\0")

    def __enter__(self) -> Self:
        address = f"unix:path={self.folder}/bus"
        self._environment |= {"DBUS_SYSTEM_BUS_ADDRESS": address}
        conf = "--config-file=/usr/share/dbus-1/session.conf"
        with self._log.open("wb") as log:
            self._bus = subprocess.Popen(["dbus-daemon", conf, f"--address={address}", "--nofork"])
            wait_for((self.folder / "bus").exists, 10, "the bus")
            self._service = subprocess.Popen(
                ["rauc", "-c", str(self._conf), "service", self._running],
                env=self._environment,
                stdout=log,
                stderr=log,
            )
        try:
            wait_for(self._answers, 20, "RAUC's service")
        except AssertionError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in (self._service, self._bus):
            process.terminate()
            process.wait(10)

    def _answers(self) -> bool:
        time.sleep(0.1)
        command = ["rauc", "-c", str(self._conf), "status"]
        return not subprocess.run(command, env=self._environment, capture_output=True, check=False).returncode

    def _write_conf(self) -> None:
        text = SYSTEM_CONF.format(board=BOARD, folder=self.folder)
        for number in (0, 1):
            root, boot = f"rootfs.{number}", f"boot.{number}"
            text += SLOT.format(name=root, folder=self.folder, more=f"bootname={number + 2}")
            text += SLOT.format(name=boot, folder=self.folder, more=f"parent={root}")
            for name in (root, boot):
                with (self.folder / name).open("wb") as opened:
                    opened.truncate(SLOT_BYTES)
        self._conf.write_text(text)

    def _write_programs(self) -> None:
        """The shipped scripts, but for where porter and the backend are."""
        porter = f"env PYTHONPATH={ROOT} {sys.executable} -m tests.system.rauc_service {self.folder}"
        for name in ("tryboot-backend", "pre-install", "post-install"):
            text = (IMAGE / "usr/lib/porter" / name).read_text()
            text = text.replace("/opt/porter/.venv/bin/porter", porter)
            text = text.replace("/usr/lib/porter/tryboot-backend", f"{self.folder}/tryboot-backend")
            (self.folder / name).write_text(text)
            (self.folder / name).chmod(0o755)

    def _make_key(self) -> None:
        use = "keyUsage=critical,digitalSignature,keyCertSign"
        files = ["-keyout", f"{self.folder}/key.pem", "-out", f"{self.folder}/cert.pem"]
        _run(
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=test",
            "-addext",
            use,
            *files,
        )


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _porter(folder: Path, words: list[str]) -> int:
    parser = argparse.ArgumentParser()
    update.add_arguments(parser)
    args = parser.parse_args([*words[1:], "--config", str(folder / "porter.yaml")])
    book = UpdateBook(folder / "last.json", folder / "shown.json")
    return run_guarded(
        lambda given: update.handle(given, book, folder / "os-release", folder / "allow-downgrade"), args
    )


if __name__ == "__main__":
    sys.exit(_porter(Path(sys.argv[1]), sys.argv[2:]))
