# SPDX-License-Identifier: Apache-2.0
"""The emulated board's device tree with one thing more that a Raspberry Pi has: the green LED.

QEMU's board has pins (a PL061) and no LED. With this node the kernel's own driver, leds-gpio, makes a LED called ACT
of one of them, at the very path where a Raspberry Pi 4 and 5 have theirs: /sys/devices/platform/leds/leds/ACT.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PINS = "/pl061@9030000"
PIN = "4"  # 3 is the power button


def with_led(board: Sequence[str], tree: Path) -> Path:
    """Writes the tree that QEMU makes for the board of these options, LED added; returns it."""
    machine, *others = board
    dump = ["qemu-system-aarch64", "-M", f"{machine},dumpdtb={tree}", *others, "-nographic", "-nic", "none"]
    subprocess.run(dump, check=True, capture_output=True, timeout=60)
    asked = ["fdtget", "-t", "u", str(tree), PINS, "phandle"]
    pins = subprocess.run(asked, check=True, capture_output=True, text=True, timeout=60).stdout.strip()
    led = "/leds/led-act"
    for command in (
        ["-c", "/leds", led],
        ["-t", "s", "/leds", "compatible", "gpio-leds"],
        ["-t", "s", led, "label", "ACT"],
        ["-t", "s", led, "linux,default-trigger", "heartbeat"],
        ["-t", "u", led, "gpios", pins, PIN, "0"],
    ):
        options = 1 if command[0] == "-c" else 2
        subprocess.run(["fdtput", *command[:options], str(tree), *command[options:]], check=True, timeout=60)
    return tree
