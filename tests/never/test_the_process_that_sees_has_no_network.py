# SPDX-License-Identifier: Apache-2.0
"""Never 9: the process that sees has no network; the process with the network cannot see.

By what each service really imports when it runs, and by what its unit file allows it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).parents[2] / "systemd"
NETWORK = {
    "ssl", "paho", "iotcore", "asyncio", "http.client", "urllib.request", "urllib3", "requests", "smtplib", "ftplib",
    "socketserver", "xmlrpc", "device.adapters.broker_mqtt", "device.adapters.broker_embedded", "device.forwarder",
    "device.forward_service",
}  # fmt: skip
SIGHT = {
    "numpy", "PIL", "av", "cv2", "ai_edge_litert", "tflite_runtime", "picamera2", "libcamera", "device.vision",
    "device.pipeline", "device.recognition", "device.recogniser", "device.capture", "device.inference",
    "device.assembly", "device.control", "device.adapters.gallery_sqlite", "device.adapters.control_client",
    "device.adapters.control_socket", "device.vision_service",
}  # fmt: skip


def loaded_by(module: str) -> set[str]:
    """Every module that a fresh Python has after importing `module`."""
    program = f"import sys, {module}; print(*sorted(sys.modules), sep='\\n')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def directives(name: str) -> dict[str, list[str]]:
    """The unit's directives with all their values, in order; an empty one has [''] and clears what came before."""
    found: dict[str, list[str]] = {}
    for line in (SYSTEMD / name).read_text("utf-8").splitlines():
        if line and line[0] not in "#;[":
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def test_the_vision_service_loads_no_network_client() -> None:
    loaded = loaded_by("device.vision_service")
    assert "device.pipeline" in loaded
    assert not loaded & NETWORK


def test_the_local_commands_load_no_network_client() -> None:
    assert not loaded_by("device.cli") & NETWORK
    for command in ("enrol", "withdraw", "subjects", "status", "pause", "resume"):
        assert not loaded_by(f"device.commands.{command}") & NETWORK, command


def test_the_forwarder_loads_nothing_that_sees() -> None:
    loaded = loaded_by("device.forward_service")
    assert "paho.mqtt.client" in loaded
    assert not loaded & SIGHT


def test_the_unit_of_the_vision_service_allows_no_network() -> None:
    unit = directives("porter-vision.service")
    assert unit["RestrictAddressFamilies"] == ["AF_UNIX AF_NETLINK"]
    assert unit["IPAddressDeny"] == ["any"]
    assert "IPAddressAllow" not in unit
    assert unit["InaccessiblePaths"] == ["-/etc/porter/forward"]
    assert unit["User"] == ["porter-vision"]


def test_the_unit_of_the_vision_service_keeps_faces_in_memory() -> None:
    unit = directives("porter-vision.service")
    assert unit["LimitCORE"] == ["0"]
    assert unit["MemorySwapMax"] == ["0"]
    assert unit["ProtectSystem"] == ["strict"]
    assert unit["ReadWritePaths"] == ["/var/lib/porter /run/porter"]


def test_the_unit_of_the_forwarder_shows_it_no_camera_no_gallery_and_no_control_socket() -> None:
    unit = directives("porter-forward.service")
    assert unit["PrivateDevices"] == ["yes"]
    assert unit["DevicePolicy"] == ["closed"]
    assert "DeviceAllow" not in unit
    assert unit["TemporaryFileSystem"] == ["/var/lib/porter:ro /run/porter:ro"]
    assert unit["BindPaths"] == ["/var/lib/porter/shared /run/porter/forward", "-/run/porter/public"]
    assert unit["BindReadOnlyPaths"] == ["/run/porter/shared"]
    assert unit["ProtectSystem"] == ["strict"]
    assert unit["ReadWritePaths"] == ["-/sys/devices/platform/leds"], "the board's LEDs and nothing else"
    assert unit["SupplementaryGroups"] == ["porter-shared"]
    assert unit["User"] == ["porter-forward"]


def test_the_unit_of_the_screen_shows_it_nothing_but_what_everybody_may_see() -> None:
    unit = directives("porter-console.service")
    assert unit["User"] == ["porter-console"]
    assert "SupplementaryGroups" not in unit, "not the control socket, not the state board"
    assert unit["TemporaryFileSystem"] == ["/var/lib/porter:ro /run/porter:ro"]
    assert unit["BindReadOnlyPaths"] == ["-/run/porter/public"]
    assert unit["DeviceAllow"] == ["/dev/tty1 rw"]
    assert not {"BindPaths", "ReadWritePaths", "IPAddressAllow"} & unit.keys()
    assert unit["RestrictAddressFamilies"] == ["AF_UNIX AF_NETLINK"]
    assert unit["IPAddressDeny"] == ["any"]
    assert unit["StandardInput"] == ["null"], "nobody types there"
    assert (unit["PrivateDevices"], unit["CapabilityBoundingSet"]) == (["yes"], [""])


@pytest.mark.parametrize("name", ["porter-vision.service", "porter-forward.service"])
def test_both_units_give_no_privilege_and_are_watched(name: str) -> None:
    unit = directives(name)
    assert unit["CapabilityBoundingSet"] == [""]
    assert unit["NoNewPrivileges"] == ["yes"]
    assert unit["RestrictNamespaces"] == ["yes"]
    assert unit["Type"] == ["notify"]
    assert "WatchdogSec" in unit
    # Reading whether the clock is synchronised takes adjtimex: without it no consent would ever be seen to end.
    assert "ProtectClock" not in unit
    wanted, taken, given_back = unit["SystemCallFilter"]  # read from top to bottom
    assert (wanted, taken) == ("@system-service", "~@privileged @resources")
    assert given_back == "adjtimex clock_adjtime clock_adjtime64"


@pytest.mark.parametrize(
    "name", ["porter-vision.service", "porter-forward.service", "porter-console.service", "porter.target"]
)
def test_every_unit_opens_with_why_it_exists(name: str) -> None:
    lines = (SYSTEMD / name).read_text("utf-8").splitlines()
    assert lines[0] == "# SPDX-License-Identifier: Apache-2.0"
    assert lines[1].startswith("# ")
    assert len(lines[1]) > 40


def test_no_unit_hands_anything_over_by_the_environment() -> None:
    for file in SYSTEMD.glob("*.service"):
        assert not {"Environment", "EnvironmentFile", "PassEnvironment"} & directives(file.name).keys(), file
