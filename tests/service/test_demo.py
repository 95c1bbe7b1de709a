# SPDX-License-Identifier: Apache-2.0
"""The demo where it cannot go well: it says so at once, and its exit code says it too."""

from __future__ import annotations

import subprocess
import sys


def test_a_demo_without_a_camera_fails_with_the_cameras_own_words() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "device", "demo", "--camera", "/dev/video999"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1, done.stderr
    assert "/dev/video999: expected a USB camera" in done.stderr
    assert "hint:" in done.stderr
    assert "enrolled" not in done.stdout
