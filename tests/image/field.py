# SPDX-License-Identifier: Apache-2.0
"""One device in the field: a card in a machine, its owner with a broker, and a web server that has updates for it."""

from __future__ import annotations

import http.server
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device.loopback import free_ports
from tests.image.machine import Machine
from tests.image.owner import HOST, Owner

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.image.owner import View
    from tests.image.variants import Variant

CARD_BYTES = 3 * 1024**3
BOOT_S = 1200.0
INSTALL_S = 1200.0
# A program of Python's takes seconds there: asking without a pause would leave the device no time for its work.
POLL_S = 10.0


class Field:
    """The device, and what its owner does with it."""

    def __init__(
        self, name: str, image: Path, bundles: Callable[[Variant], Path], folder: Path, view: View
    ) -> None:
        self.name, self.folder, self.bundle = name, folder, bundles
        self.card = folder / "card.img"
        subprocess.run(["cp", "--sparse=always", image, self.card], check=True)
        with self.card.open("r+b") as opened:
            opened.truncate(CARD_BYTES)
        self.owner = Owner(folder)
        # Several such machines on two cores: with two emulated ones each they would mostly wait for one another.
        self.machine = Machine(self.card, folder / "console.log", cores=1)
        self._port = free_ports()[2]
        self._files: dict[str, Path] = {}
        serving = type("Serving", (Ranges,), {"files": self._files})
        self._server = Server(("127.0.0.1", self._port), serving)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.owner.start_broker()
        self.owner.put_settings(self.card, view)

    def say(self, text: str) -> None:
        """One line of the suite's output."""
        print(f"AB {self.name}: {text}", flush=True)

    def url(self, update: Variant | Path) -> str:
        """Where the device finds it."""
        file = update if isinstance(update, Path) else self.bundle(update)
        self._files[file.name] = file
        return f"http://{HOST}:{self._port}/{file.name}"

    def ssh(self, command: str, *, seconds: float = 240, good: bool = True) -> str:
        """As admin."""
        return self.machine.ssh(self.owner.key, command, seconds=seconds, good=good)

    def up(self) -> str:
        """Powers on or goes on after a reboot, waits until somebody can log in; which slot runs."""
        self.machine.start()
        self.machine.wait(lambda: "up" if self.machine.open_ssh() else "", "ssh", BOOT_S)
        self.machine.wait(lambda: self.ssh("echo up", good=False), "a login", BOOT_S)
        return {2: "a", 3: "b"}[self.machine.partition]

    def well(self) -> None:
        """Waits until both services run: what is sealed could be opened."""
        # The console is read here and costs the device nothing; systemd's own words, colours between them.
        self.machine.wait_line("Reached target .*porter\\.target", BOOT_S)
        both = "systemctl is-active porter-vision porter-forward && echo both"
        self.machine.wait(
            lambda: "ok" if "both" in self.ssh(both, good=False) else "",
            "both services",
            self.machine.uptime_s() + BOOT_S,
            every_s=POLL_S,
        )

    def status(self) -> str:
        """What the device says of its slots."""
        return self.ssh("sudo porter update --status")

    def last(self) -> str:
        """Its line about the last update."""
        return next((line for line in self.status().splitlines() if line.startswith("last")), "")

    def wait_status(self, text: str) -> None:
        """Until the device says so of its updates."""
        self.machine.wait_line("(Finished|Failed to start) .*porter-commit", BOOT_S)
        self.machine.wait(
            lambda: "ok" if text in self.ssh("sudo porter update --status", good=False) else "",
            text,
            self.machine.uptime_s() + BOOT_S,
            every_s=POLL_S,
        )

    def identity(self, *, names: bool = True) -> str:
        """What no update may change: names, keys, configuration, and who is enrolled under which consent.

        names: with the configuration's file, into which an update that is kept may write new names of options.
        """
        files = "/data/ssh/ssh_host_ed25519_key /data/systemd/credential.secret" + (
            " /etc/porter/porter.yaml" if names else ""
        )
        # The vision service makes the ledger when it first starts: none is the same as an empty one.
        ledger = "sudo cat /data/porter/consent-ledger.jsonl 2>/dev/null | sha256sum"
        return self.ssh(f"cat /data/machine-id /data/hostname; sudo sha256sum {files}; {ledger}")

    def reboot(self, *, power_off: bool = False) -> None:
        """As the owner does it."""
        self.ssh(f"sudo systemctl {'poweroff' if power_off else 'reboot'}", good=False)
        assert self.machine.wait_off(BOOT_S) != power_off, "it did not do as it was told"

    def _updating(self, update: Variant, option: str = "") -> subprocess.Popen[str]:
        install = f"sudo porter update {option} {self.url(update)}"
        command = ["ssh", *self.machine.ssh_options(self.owner.key), install]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def install(self, update: Variant, option: str = "") -> None:
        """All of it."""
        process = self._updating(update, option)
        said, _ = process.communicate(timeout=INSTALL_S)
        if process.returncode:
            raise AssertionError(f"porter update: {said[-400:]}")
        self._count_again(said)

    def install_until(self, update: Variant, moment: str) -> str:
        """Begins an install and comes back as soon as a line of its progress begins so; that line."""
        process, said = self._updating(update), []
        threading.Thread(target=_reap, args=(process,), daemon=True).start()
        for line in process.stdout or ():
            said.append(line.strip())
            if line.strip().startswith(moment):
                self._count_again("\n".join(said))
                return line.strip()
        raise AssertionError(f"it never said {moment!r}: {' | '.join(said)[-400:]}")

    def _count_again(self, said: str) -> None:
        """It works all the same, and should not be needed: somebody who reads the output wants to know."""
        if again := said.count("Installing failed"):
            self.say(f"porter update tried {again} times more to open its bundle")

    def close(self) -> None:
        """Ends all of it."""
        self.machine.kill()
        self.owner.close()
        self._server.shutdown()


def _reap(process: subprocess.Popen[str]) -> None:
    """ssh notices a machine without power late, or never."""
    try:
        process.wait(INSTALL_S)
    except subprocess.TimeoutExpired:
        process.kill()


class Server(http.server.ThreadingHTTPServer):
    """One that says nothing of devices that lose their power while they read."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Only that is no news."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Ranges(http.server.BaseHTTPRequestHandler):
    """Serves files in parts: RAUC reads a bundle as it needs it."""

    protocol_version = "HTTP/1.1"
    files: dict[str, Path]

    def do_HEAD(self) -> None:
        """How long it is."""
        self._answer(body=False)

    def do_GET(self) -> None:
        """The part that was asked for, or all of it."""
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        file = self.files.get(self.path.lstrip("/"))
        if file is None or not file.exists():
            self.send_error(404)
            return
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        size = file.stat().st_size
        first = int(asked[1]) if asked else 0
        last = min(int(asked[2]) if asked and asked[2] else size - 1, size - 1)
        self.send_response(206 if asked else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(max(0, last - first + 1)))
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.end_headers()
        if body:
            with file.open("rb") as opened:
                opened.seek(first)
                self.wfile.write(opened.read(last - first + 1))

    def log_message(self, *_: object) -> None:
        """Says nothing."""
