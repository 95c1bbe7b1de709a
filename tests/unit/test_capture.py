# SPDX-License-Identifier: Apache-2.0
"""The capture step: frames into the slot, a reset on a stall, naps instead of long waits, and pausing."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from device.adapters.camera_scripted import ScriptedCamera
from device.adapters.clock import ManualClock
from device.capture import FIRST_RETRY_S, LAST_RETRY_S, NAP_S, Capture
from device.errors import InputError
from device.records import Frame
from device.supervisor import LatestSlot
from device.troubles import Troubles
from tests.pictures import Waits, drawn


class Stage:
    """A capture over a scripted camera, on a clock that only waiting moves."""

    def __init__(self, pictures: int = 3, **camera: object) -> None:
        self.clock = ManualClock()
        self.waits = Waits(self.clock)
        self.camera = ScriptedCamera(
            [drawn(n) for n in range(pictures)],
            self.clock,
            lores_px=(32, 24),
            wait=self.waits,
            **camera,  # type: ignore[arg-type]
        )
        self.slot: LatestSlot[Frame] = LatestSlot()
        self.troubles = Troubles(self.clock)
        self.capture = Capture(self.camera, self.slot, self.troubles, stall_after_s=3.0, wait=self.waits)

    def steps(self, times: int) -> list[int | None]:
        """The sequence number that each step left in the slot."""
        left = []
        for _ in range(times):
            self.capture.step()
            frame = self.slot.take(0.0)
            left.append(None if frame is None else frame.sequence)
        return left

    def codes(self) -> list[str]:
        return [trouble.code for trouble in self.troubles.standing()]


def steps_of(seconds: float) -> int:
    return round(seconds / NAP_S)


def test_every_step_leaves_one_frame_in_the_slot() -> None:
    stage = Stage()
    assert stage.steps(3) == [1, 2, 3]
    assert (stage.capture.frames, stage.capture.finished) == (3, False)


def test_the_newest_frame_replaces_one_nobody_took() -> None:
    stage = Stage()
    for _ in range(3):
        stage.capture.step()
    frame = stage.slot.take(0.0)
    assert frame is not None
    assert (frame.sequence, stage.slot.replaced) == (3, 2)
    assert np.array_equal(frame.main, drawn(2))


def test_a_source_that_ends_is_finished_and_given_back() -> None:
    stage = Stage(pictures=1)
    assert stage.steps(4) == [1, None, None, None]
    assert stage.capture.finished
    with pytest.raises(RuntimeError, match="before open"):
        stage.camera.capture(1.0)


def test_a_stalled_camera_is_reset_and_the_alert_goes_with_the_next_frame() -> None:
    stage = Stage(stall_after=2)
    assert stage.steps(3) == [1, 2, None]
    assert stage.codes() == ["camera_lost"]
    assert stage.steps(steps_of(FIRST_RETRY_S) + 1)[-1] == 3
    assert (stage.camera.resets, stage.capture.resets, stage.codes()) == (1, 1, [])


def test_no_step_waits_longer_than_a_nap_on_its_own_account() -> None:
    stage = Stage(fail_after=1)
    stage.steps(3000)
    assert max(stage.waits.seconds) == NAP_S


def test_tries_for_a_camera_that_is_gone_get_rarer_up_to_half_a_minute() -> None:
    stage, tries = Stage(fail_after=1), list[int]()
    for step in range(steps_of(200)):
        before = stage.capture.resets
        stage.capture.step()
        if stage.capture.resets > before:
            tries.append(step)
    gaps = [(after - before - 1) * NAP_S for before, after in pairwise(tries)]
    assert gaps[:7] == pytest.approx([0.5, 1, 2, 4, 8, 16, LAST_RETRY_S])
    assert gaps[7:] == pytest.approx([LAST_RETRY_S] * len(gaps[7:]))
    assert stage.codes() == ["camera_lost"]


def test_after_a_frame_the_next_reset_waits_briefly_again() -> None:
    stage = Stage(pictures=5, stall_after=1)
    stage.steps(2 + steps_of(FIRST_RETRY_S))
    assert stage.steps(1) == [2]
    stage.camera._stall_after = 2
    assert stage.steps(1 + steps_of(FIRST_RETRY_S) + 1)[-1] == 3


def test_pausing_closes_the_camera_and_resuming_opens_it() -> None:
    stage = Stage()
    stage.steps(1)
    stage.capture.pause()
    assert stage.steps(3) == [None] * 3
    with pytest.raises(RuntimeError, match="before open"):
        stage.camera.capture(1.0)
    stage.capture.resume()
    assert stage.steps(2) == [2, 3]


def test_resuming_does_not_wait_for_an_old_retry() -> None:
    stage = Stage(stall_after=1)
    stage.steps(2)
    stage.capture.pause()
    stage.steps(1)
    stage.capture.resume()
    assert stage.steps(1) == [2]


def test_a_source_that_was_never_usable_is_an_error_for_whoever_configured_it() -> None:
    class NoCamera(ScriptedCamera):
        def open(self) -> None:
            raise InputError("no such folder")

    stage = Stage()
    stage.capture = Capture(
        NoCamera([], stage.clock, lores_px=(32, 24)), stage.slot, stage.troubles, stall_after_s=3.0
    )
    with pytest.raises(InputError, match="no such folder"):
        stage.capture.step()


def test_closing_twice_is_harmless() -> None:
    stage = Stage()
    stage.steps(1)
    stage.capture.close()
    stage.capture.close()
    assert stage.steps(1) == [2]


def test_a_camera_that_goes_on_showing_the_same_picture_is_reset() -> None:
    """Alive, frame after frame, and frozen."""
    stage = Stage(pictures=1, loop=True, period_s=1.0)
    assert stage.steps(10) == list(range(1, 11))
    assert stage.codes() == []
    assert stage.steps(1) == [None]
    assert (stage.capture.resets, stage.codes()) == (1, ["camera_lost"])
    assert "very same picture for 10 s" in stage.troubles.standing()[0].text
    stage.steps(steps_of(FIRST_RETRY_S) + 1)
    assert stage.camera.resets == 1


@pytest.mark.parametrize("live", [True, False])
def test_what_moves_is_never_taken_for_frozen_and_neither_is_a_file(live: bool) -> None:
    stage = Stage(pictures=2 if live else 1, loop=True, period_s=1.0, live=live)
    stage.steps(60)
    assert stage.capture.resets == 0


def test_a_covered_lens_is_not_a_frozen_camera() -> None:
    stage = Stage()
    stage.camera = ScriptedCamera(
        [np.zeros((48, 64, 3), np.uint8)],
        stage.clock,
        lores_px=(32, 24),
        loop=True,
        period_s=1.0,
        wait=stage.waits,
    )
    stage.capture = Capture(stage.camera, stage.slot, stage.troubles, stall_after_s=3.0, wait=stage.waits)
    stage.steps(60)
    assert stage.capture.resets == 0
