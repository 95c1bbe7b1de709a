# SPDX-License-Identifier: Apache-2.0
"""The scripted camera fails exactly when it was told to."""

from __future__ import annotations

import pytest

from device.adapters.camera_scripted import ScriptedCamera
from device.adapters.clock import ManualClock
from device.errors import CameraStalledError, HardwareError
from tests.pictures import Waits, drawn


def test_a_stall_lasts_its_timeout_and_ends_with_a_reset() -> None:
    """Before it and after it frames come."""
    clock = ManualClock()
    waits = Waits(clock)
    camera = ScriptedCamera([drawn(0)], clock, lores_px=(32, 32), loop=True, stall_after=2, wait=waits)
    camera.open()
    assert camera.capture(3.0) is not None
    assert camera.capture(3.0) is not None
    for _ in range(2):
        with pytest.raises(CameraStalledError):
            camera.capture(3.0)
    assert waits.seconds == [3.0, 3.0]
    camera.close()
    camera.open()
    assert camera.capture(3.0) is not None
    assert camera.resets == 1


def test_a_camera_that_is_gone_stays_gone() -> None:
    """No reset brings it back."""
    camera = ScriptedCamera([drawn(0)], ManualClock(), lores_px=(32, 32), loop=True, fail_after=1)
    camera.open()
    assert camera.capture(1.0) is not None
    with pytest.raises(HardwareError):
        camera.capture(1.0)
    camera.close()
    with pytest.raises(HardwareError):
        camera.open()


def test_no_pictures_end_at_once_even_in_a_loop() -> None:
    """Rather than looping over nothing for ever."""
    camera = ScriptedCamera([], ManualClock(), lores_px=(32, 32), loop=True)
    camera.open()
    assert camera.capture(1.0) is None
