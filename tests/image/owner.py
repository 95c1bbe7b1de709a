# SPDX-License-Identifier: Apache-2.0
"""The owner of a device: a broker with a certificate, an ssh key, and the settings files for the card."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from device.loopback import free_ports
from tests.image.card import partitions, put_fat_file
from tests.system.certificates import Authority

if TYPE_CHECKING:
    from pathlib import Path

DEVICE = "door-1"
HOST = "10.0.2.2"  # what QEMU calls this machine
USER, PASSWORD = "door-1", "swordfish 7"
YAML = """\
device:
  id: {device}
camera:
  source: files
  path: {view.path}
  width_px: 640
  height_px: 480
  rate_hz: {view.rate_hz:g}
  stall_after_s: 20
motion:
  enabled: {view.motion}
# Under emulation a frame with a face takes seconds: a face is still the same when it comes again.
recognition:
  track_gap_s: 10
  visit_end_s: 30
enrolment:
  references: 5
  pose_wait_s: 0
  timeout_s: 600
mqtt:
  host: {host}
  port: {port}
"""
# Of faces, for a device that has other things to do; `track_gap_s` is longer than one frame of it.
SLOW_HZ = 0.125


@dataclass(frozen=True, slots=True)
class View:
    """What the device's camera shows."""

    path: str
    rate_hz: float
    motion: str  # whether the motion gate is on


FACES = View("/opt/porter/device/demo_data", 2.0, "false")
# Debian's logo: frames that come, and cost nothing.
NOBODY = View("/usr/share/pixmaps/debian-logo.png", 1.0, "true")


class Owner:
    """All of it in `folder`, which is thrown away."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_ports()[1]
        self.key = folder / "ssh-key"
        self._broker: subprocess.Popen[bytes] | None = None
        self._listener: subprocess.Popen[str] | None = None
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "owner", "-f", str(self.key))
        authority = Authority(folder)
        self._ca = authority.ca
        self._certificate, self._certificate_key = authority.issue("broker", f"IP:{HOST}")

    def start_broker(self) -> None:
        """A mosquitto that wants a password, with TLS; the first time with the ear of a subscriber, which stays."""
        config = self.folder / "mosquitto.conf"
        if self._listener is None:
            self._configure_broker(config)
        self._broker = subprocess.Popen(
            ["mosquitto", "-c", config], stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
        )
        time.sleep(1)
        if self._listener is None:
            self._listen()

    def stop_broker(self) -> None:
        """It is gone until `start_broker`."""
        assert self._broker is not None
        self._broker.terminate()
        self._broker.wait(10)

    def _configure_broker(self, config: Path) -> None:
        passwords = self.folder / "passwords"
        run("mosquitto_passwd", "-c", "-b", str(passwords), USER, PASSWORD)
        lines = [f"listener {self.port} 127.0.0.1", "allow_anonymous false", f"password_file {passwords}"]
        lines += [f"cafile {self._ca}", f"certfile {self._certificate}"]
        lines += [f"keyfile {self._certificate_key}", "user root"]
        config.write_text("\n".join(lines) + "\n")

    def _listen(self) -> None:
        command = ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(self.port), "--cafile", str(self._ca)]
        # The certificate is for the name by which the device knows this machine.
        command += ["--insecure", "-u", USER, "-P", PASSWORD, "-t", "porter/#", "-q", "1", "-F", "%t\t%p"]
        with (self.folder / "heard.txt").open("w") as heard:
            self._listener = subprocess.Popen(command, stdout=heard, text=True)

    def publish(self, topic: str) -> None:
        """An empty message on a topic of the device."""
        broker = ["-h", "127.0.0.1", "-p", str(self.port), "--cafile", str(self._ca), "--insecure"]
        run(
            "mosquitto_pub",
            *broker,
            "-u",
            USER,
            "-P",
            PASSWORD,
            "-t",
            f"porter/v1/{DEVICE}/{topic}",
            "-n",
            "-q",
            "1",
        )

    def said(self, suffix: str) -> list[str]:
        """What was published on topics that end so, in order."""
        # A last line without its end is still being written.
        whole, _, _ = (self.folder / "heard.txt").read_text().rpartition("\n")
        lines = [line.split("\t", 1) for line in whole.splitlines()]
        return [payload for topic, payload in lines if topic.endswith(suffix)]

    def heard(self, suffix: str) -> list[dict[str, Any]]:
        """The same, of topics whose payload is an object."""
        return [json.loads(payload) for payload in self.said(suffix) if payload]

    def put_settings(self, image: Path, view: View = FACES) -> None:
        """What the owner puts onto the card, from a computer with Windows: its line ends, its names."""
        yaml = YAML.format(device=DEVICE, host=HOST, port=self.port, view=view)
        settings = {
            "porter.yaml": yaml.replace("\n", "\r\n").encode(),
            "hostname.txt": b"Front-Door\r\n",
            "timezone": b"Europe/Berlin\n",
            "authorized_keys": self.key.with_suffix(".pub").read_bytes(),
            "mqtt-username": USER.encode(),
            "mqtt-password": PASSWORD.encode() + b"\n",
            "mqtt-ca": self._ca.read_bytes(),
            "wifi.conf": b'country=DE\nnetwork={\n  ssid="there is none"\n',
        }
        for name, data in settings.items():
            file = self.folder / name
            file.write_bytes(data)
            put_fat_file(image, partitions(image)[1], file, f"porter/{name}")

    def close(self) -> None:
        """Ends what was started."""
        for process in (self._listener, self._broker):
            if process is not None:
                process.terminate()
                process.wait(10)


def run(*command: str) -> str:
    """What a command printed; it must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"{' '.join(command)}: {done.stderr.strip()[-400:]}")
    return done.stdout
