# SPDX-License-Identifier: Apache-2.0
"""Updates of a whole image in QEMU: kept where the device works, gone after a power cut at any moment: `make image-ab`.

Needs an image (0.0.1+test) and a bundle of another version for the same key; both are made where they are not named.
A power cut is kill -9 of the machine: what the guest had written is there, and the tryboot flag is gone. Every moment
that is tried is printed and counted.
"""

from __future__ import annotations

import argparse
import http.server
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from device.loopback import free_ports
from tests.debian_root import cache, main, need
from tests.image.__main__ import CARD_BYTES, PROGRAMS, REPOSITORY, built
from tests.image.machine import Machine
from tests.image.owner import HOST, Owner, run

if TYPE_CHECKING:
    from collections.abc import Callable

BOOT_S = 400.0
INSTALL_S = 900.0
# What porter update prints, and how many seconds after that the power goes.
MOMENTS = (("0 %", 0), ("50 %", 0), ("50 %", 8), ("80 %", 0), ("80 %", 3), ("installed;", 0))


class Field:
    """One device whose owner has an update for it, served over HTTP."""

    def __init__(self, card: Path, bundle: Path, folder: Path) -> None:
        self.owner = Owner(folder)
        self.machine = Machine(card, folder / "console.log")
        port = free_ports()[2]
        serving = type("Serving", (Ranges,), {"bundle": bundle})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), serving)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.update = f"http://{HOST}:{port}/{bundle.name}"
        self.owner.start_broker()
        self.owner.put_settings(card)

    def ssh(self, command: str, *, seconds: float = 120, good: bool = True) -> str:
        """As admin."""
        return self.machine.ssh(self.owner.key, command, seconds=seconds, good=good)

    def up(self) -> str:
        """Powers on or goes on after a reboot, waits until somebody can log in; which slot runs."""
        self.machine.start()
        self.machine.wait(lambda: "up" if self.machine.open_ssh() else "", "ssh", BOOT_S)
        self.machine.wait(lambda: self.ssh("echo up", good=False), "a login", BOOT_S)
        return {2: "a", 3: "b"}[self.machine.partition]

    def status(self) -> str:
        """What the device says of its slots."""
        return self.ssh("sudo porter update --status")

    def reboot(self) -> None:
        """As the owner does it."""
        self.ssh("sudo systemctl reboot", good=False)
        assert self.machine.wait_off(BOOT_S), "it did not reboot"

    def _updating(self) -> subprocess.Popen[str]:
        command = ["ssh", *self.machine.ssh_options(self.owner.key), f"sudo porter update {self.update}"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def install(self) -> None:
        """All of it."""
        process = self._updating()
        said, _ = process.communicate(timeout=INSTALL_S)
        if process.returncode:
            raise AssertionError(f"porter update: {said[-400:]}")

    def cut(self, moment: str, seconds: float) -> str:
        """Begins an install; the power goes so long after its progress said that. What it had said."""
        process, said = self._updating(), []
        for line in process.stdout or ():
            said.append(line.strip())
            if line.strip().startswith(moment):
                time.sleep(seconds)
                self.machine.kill()
                process.wait(60)
                return line.strip()
        raise AssertionError(f"it never said {moment!r}: {' | '.join(said)[-400:]}")

    def close(self) -> None:
        """Ends all of it."""
        self.machine.kill()
        self.owner.close()
        self._server.shutdown()


class Ranges(http.server.BaseHTTPRequestHandler):
    """Serves one file in parts: RAUC reads a bundle as it needs it."""

    protocol_version = "HTTP/1.1"
    bundle = Path()

    def do_HEAD(self) -> None:
        """How long it is."""
        self._answer(b"", whole=True)

    def do_GET(self) -> None:
        """The part that was asked for, or all of it."""
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        length = self.bundle.stat().st_size
        first = int(asked[1]) if asked else 0
        last = min(int(asked[2]) if asked and asked[2] else length - 1, length - 1)
        with self.bundle.open("rb") as opened:
            opened.seek(first)
            data = opened.read(last - first + 1)
        self._answer(data, whole=asked is None, said=f"bytes {first}-{last}/{length}")

    def _answer(self, data: bytes, *, whole: bool, said: str = "") -> None:
        self.send_response(200 if whole else 206)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data) if data else self.bundle.stat().st_size))
        if not whole:
            self.send_header("Content-Range", said)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def identity(field: Field) -> str:
    """What no update may change."""
    return field.ssh(
        "cat /data/machine-id /data/hostname; sudo sha256sum /etc/porter/porter.yaml /data/ssh/ssh_host_ed25519_key"
    )


def power_cuts(field: Field) -> str:
    """The power goes at each moment of an install; each time the old system is there, and nothing is lost."""
    assert field.up() == "a"
    before = identity(field)
    for moment, seconds in MOMENTS:
        said = field.cut(moment, seconds)
        assert field.up() == "a", moment
        assert identity(field) == before, moment
        print(f"AB power cut {seconds} s after {said!r}: slot a runs", flush=True)
    return f"{len(MOMENTS)} moments"


def a_try_that_loses_its_power_is_over(field: Field) -> str:
    """Installed, rebooted, and the power goes before anything was decided."""
    before = identity(field)
    field.install()
    field.reboot()
    field.machine.start()
    assert field.machine.partition == 3
    field.machine.wait_line("systemd", BOOT_S)
    field.machine.kill()
    assert field.up() == "a"
    assert identity(field) == before
    field.machine.wait(lambda: "ok" if "fell back" in field.status() else "", "the record", BOOT_S)
    return field.status().splitlines()[-1]


def an_update_that_works_is_kept(field: Field) -> str:
    """Installed, tried, kept; and the next power-on boots it."""
    before = identity(field)
    field.install()
    field.reboot()
    assert field.up() == "b"
    field.machine.wait(lambda: "ok" if ": kept" in field.status() else "", "the decision", 700)
    assert identity(field) == before
    field.machine.kill()
    assert field.up() == "b"
    assert identity(field) == before
    return field.status().splitlines()[0]


CASES: tuple[Callable[[Field], str], ...] = (
    power_cuts,
    a_try_that_loses_its_power_is_over,
    an_update_that_works_is_kept,
)


def made(out: Path) -> tuple[Path, Path]:
    """An image and an update for it. Raises MissingError."""
    image, newer = (built(version, out, "--fast") for version in ("0.0.1+test", "0.0.2+test"))
    bundle = newer.with_suffix(".raucb")
    bundle.unlink(missing_ok=True)
    signed = ["--cert", str(out / "keys" / "update.cert.pem"), "--key", str(out / "keys" / "update.key.pem")]
    run(str(REPOSITORY / "flash.sh"), "bundle", "--image", str(newer), *signed)
    return image, bundle


def suite() -> int:
    """Returns 0 where every case passed."""
    parser = argparse.ArgumentParser(prog="python -m tests.image.ab", description=__doc__)
    parser.add_argument("--image", type=Path, help="an image that is there")
    parser.add_argument("--bundle", type=Path, help="an update for it")
    parser.add_argument("--only", help="cases whose name has this")
    chosen = parser.parse_args()
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    need(*PROGRAMS, "rauc")
    image, bundle = chosen.image, chosen.bundle
    if image is None or bundle is None:
        image, bundle = made(cache() / "image-ab")
    folder = Path(tempfile.mkdtemp(prefix="porter-ab-"))
    card = folder / "card.img"
    subprocess.run(["cp", "--sparse=always", image, card], check=True)
    with card.open("r+b") as opened:
        opened.truncate(CARD_BYTES)
    field = Field(card, bundle, folder)
    failed = 0
    cases = [case for case in CASES if not chosen.only or chosen.only in case.__name__]
    try:
        for case in cases:
            if case is not power_cuts and not field.machine.on():
                field.up()
            name, began = case.__name__.replace("_", " "), time.monotonic()
            try:
                said = case(field)
            except Exception as error:  # noqa: BLE001  the others are still worth running
                failed += 1
                print(f"AB FAILED {name}: {error}", flush=True)
                field.machine.kill()
            else:
                print(f"AB ok {name} ({time.monotonic() - began:.0f} s): {said}", flush=True)
    finally:
        field.close()
    print(f"AB {len(cases) - failed} passed, {failed} failed", flush=True)
    if failed:
        print(f"kept: {folder}")
    else:
        shutil.rmtree(folder)
    return 1 if failed else 0


if __name__ == "__main__":
    main(suite)
