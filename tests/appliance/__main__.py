# SPDX-License-Identifier: Apache-2.0
"""Makes a Debian root with Porter's dependencies (once), installs Porter into a copy-on-write view of it and boots it.

Inside, `inside.py` runs as a service after the boot, prints one line a check to the console and powers off. What is
installed is what README.md's way by hand installs: the checkout in /opt/porter, an environment that sees the system's
packages, the units, users and folders of `systemd/`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from device.demo_scenes import write_scene
from tests.debian_root import MissingError, entered, made, main, need, only_the_root

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent
REQUIREMENTS, INSTALL = HERE / "requirements.txt", HERE / "install.sh"
PACKAGES = (
    "systemd",
    "systemd-sysv",
    "dbus",
    "udev",
    "iproute2",
    "python3",
    "python3-venv",
    "python3-numpy",
    "python3-pil",
    "python3-yaml",
    "python3-msgspec",
    "python3-nacl",
    "python3-paho-mqtt",
    "python3-prometheus-client",
    "mosquitto",
    "mosquitto-clients",
    "prometheus-node-exporter",
)
PATIENCE_S = 400
END = "APPLIANCE"


def finish(root: Path) -> None:
    """The environment, with the one thing that Debian does not have: the runtime of the models."""
    code = entered(root, {}, ["python3", "-m", "venv", "--system-site-packages", "/opt/porter/.venv"], {})
    if code:
        raise MissingError(f"the environment could not be made in {root} ({code})")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    site = f"{root}/opt/porter/.venv/lib/python3.13/site-packages"
    target = ["--only-binary=:all:", "--python-version=3.13", f"--target={site}"]
    subprocess.run([*pip, *target, "-r", str(REQUIREMENTS)], check=True)


def boot(root: Path, frames: Path) -> int:
    """Boots with a camera that shows `frames`, prints what the checks say, and returns 0 where every one passed."""
    command = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        str(INSTALL),
        str(root),
        str(REPOSITORY),
        str(frames),
    ]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    verdict = ""
    assert process.stdout is not None
    for line in process.stdout:
        said = line.strip()
        if END in said:
            print(said[said.index(END) :], flush=True)
            verdict = said
        elif "--verbose" in sys.argv:
            print(said, flush=True)
    process.wait(PATIENCE_S)
    return 0 if verdict.endswith("0 failed") else 1


def suite() -> int:
    """Returns 0 where all is well."""
    need("mmdebstrap", "unshare", "systemd-nspawn")
    root = made("appliance", PACKAGES, [REQUIREMENTS.read_bytes(), Path(__file__).read_bytes()], finish)
    if only_the_root():
        return 0
    with tempfile.TemporaryDirectory() as folder:
        frames = write_scene(Path(folder) / "frames", "astronaut", width_px=640, height_px=480, face_px=160)
        return boot(root, frames)


if __name__ == "__main__":
    main(suite)
