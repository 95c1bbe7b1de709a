# SPDX-License-Identifier: Apache-2.0
"""A card in a machine: QEMU's 64-bit ARM board around the image, booted as `firmware` says, power cuts included.

QEMU emulates every instruction (never KVM: a /dev/kvm may exist and not work), so all of this is some ten times slower
than a Raspberry Pi 4. `kill` is a power cut as far as this computer's page cache allows: what the guest wrote is there.
"""

from __future__ import annotations

import re
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from device.loopback import free_ports
from tests.image import firmware
from tests.image.board import with_led

if TYPE_CHECKING:
    from collections.abc import Callable

CONSOLE = "ttyAMA0"
RESTART = re.compile(r"reboot: Restarting system(?: with command '(.*)')?")
POWER_DOWN = re.compile(r"reboot: (Power down|System halted)")


class Machine:
    """One card and the board it is in. Each `start` is a power-on."""

    def __init__(self, image: Path, log: Path, *, memory_mb: int = 1024, cores: int = 2) -> None:
        self.image, self.log, self.memory_mb, self.cores = image, log, memory_mb, cores
        self.ssh_port = free_ports()[0]
        self.tryboot = False
        self.partition = 0
        self.lines: list[tuple[float, str]] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._began = 0.0
        self._restart: str | None = None

    def start(self, extra: str = "") -> None:
        """Powers on, or goes on after a reboot: the firmware looks at the card, then the kernel runs."""
        assert not self.on(), "it runs already: two machines on one card would damage it"
        loaded = firmware.boot(self.image, tryboot=self.tryboot)
        self.tryboot, self._restart, self.partition = False, None, loaded.partition
        self.lines = []
        folder = Path(tempfile.mkdtemp(prefix="boot-", dir=self.log.parent))
        (folder / "kernel").write_bytes(loaded.kernel)
        (folder / "initramfs").write_bytes(loaded.initramfs)
        line = re.sub(r"console=\S+\s*|\bquiet\b\s*", "", loaded.command_line)
        # The kernel's own page tables would make QEMU forget its translations at every system call: a third of a boot.
        line = f"{line} bootpart={loaded.partition} console={CONSOLE} kpti=off {extra}"
        board = ["virt", "-cpu", "cortex-a72", "-smp", str(self.cores), "-m", str(self.memory_mb)]
        command = ["qemu-system-aarch64", "-M", *board, "-dtb", str(with_led(board, folder / "tree"))]
        command += ["-accel", "tcg,thread=multi", "-nographic", "-no-reboot"]
        command += ["-kernel", str(folder / "kernel"), "-initrd", str(folder / "initramfs"), "-append", line]
        # Flushes are ignored: QEMU dies here, never this computer, so what was written is in its page cache either way.
        command += ["-drive", f"if=none,id=card,format=raw,file={self.image},cache=unsafe"]
        command += ["-device", "virtio-blk-pci,drive=card", "-device", "virtio-rng-pci"]
        # In place of the board's watchdog; with -no-reboot its reset ends QEMU, as every reset does.
        command += ["-device", "i6300esb", "-action", "watchdog=reset"]
        command += ["-netdev", f"user,id=net,hostfwd=tcp:127.0.0.1:{self.ssh_port}-:22"]
        # Without its boot ROM, which is in a package that Debian only recommends, and which nothing boots from.
        command += ["-device", "virtio-net-pci,netdev=net,romfile="]
        self._began = time.monotonic()
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with self.log.open("ab") as log:
            for line in process.stdout:
                log.write(line)
                log.flush()
                text = line.decode("utf-8", "replace").strip()
                self.lines.append((time.monotonic() - self._began, text))
                if found := RESTART.search(text):
                    self._restart = found[1] or ""
                elif POWER_DOWN.search(text):
                    self._restart = None

    def on(self) -> bool:
        """Whether the kernel runs."""
        return self._process is not None and self._process.poll() is None

    def uptime_s(self) -> float:
        """Seconds since the power came on, or the last reboot."""
        return time.monotonic() - self._began

    def wait_off(self, seconds: float) -> bool:
        """Waits for a reboot or power-off; True where it asked for a reboot, which `start` then does."""
        assert self._process is not None
        assert self._reader is not None
        self._process.wait(seconds)
        self._reader.join(10)
        self.tryboot = self._restart == "0 tryboot"
        return self._restart is not None

    def kill(self) -> None:
        """The power is gone; so is the tryboot flag."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._reader is not None:
            self._reader.join(10)
        self.tryboot = False

    def wait_line(self, pattern: str, seconds: float) -> str:
        """The first line of the console since the power came on that has it."""
        return self.wait(
            lambda: next((text for _, text in self.lines if re.search(pattern, text)), ""), pattern, seconds
        )

    def wait(self, found: Callable[[], str], what: str, seconds: float, *, every_s: float = 0.5) -> str:
        """What `found` returned as soon as it was not empty."""
        while not (said := found()):
            if not self.on():
                raise AssertionError(f"the machine went off while waiting for {what}; see {self.log}")
            if self.uptime_s() > seconds:
                raise AssertionError(f"waited {seconds:g} s in vain for {what}; see {self.log}")
            time.sleep(every_s)
        return said

    def open_ssh(self) -> bool:
        """Whether its sshd answers."""
        try:
            with socket.create_connection(("127.0.0.1", self.ssh_port), timeout=5) as connection:
                connection.settimeout(5)
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def ssh_options(self, key: Path) -> list[str]:
        """What comes between `ssh` and the command."""
        options = (
            # One connection for all: each of its own would cost the emulated sshd some seconds.
            "ControlMaster=auto",
            f"ControlPath={self.log.parent}/ssh-%p",
            "ControlPersist=yes",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
            "BatchMode=yes",
        )
        given = [word for option in (*options, "ConnectTimeout=20") for word in ("-o", option)]
        return [*given, "-i", str(key), "-p", str(self.ssh_port), "admin@127.0.0.1"]

    def ssh(
        self, key: Path, command: str, *, given: bytes = b"", seconds: float = 240, good: bool = True
    ) -> str:
        """Runs a shell command as admin, with the key that was put onto the card. What it printed."""
        done = subprocess.run(
            ["ssh", *self.ssh_options(key), command],
            input=given,
            capture_output=True,
            timeout=seconds,
            check=False,
        )
        if good and done.returncode:
            raise AssertionError(
                f"{command}: {done.returncode}: {done.stderr.decode()[-500:]}{done.stdout.decode()[-300:]}"
            )
        return done.stdout.decode()
