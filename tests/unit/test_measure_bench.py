# SPDX-License-Identifier: Apache-2.0
"""The benchmark's parts: no figure is asserted here, only that what is timed is what is said."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from device.adapters.models_folder import default_folder, load_manifest
from device.assembly import make_events, make_pipeline
from device.errors import InputError, PorterError
from device.loaded_models import load_models
from device.measure.bench import BARE, PEER, WHOLE, as_json, over
from device.measure.children import child, memory_mb
from device.measure.frames import BETWEEN_NS, bench_frames, full_gallery, later
from device.measure.peer_opencv import OpenCvPeer
from device.measure.stages import FrameTimer, Laps
from device.options import Config

if TYPE_CHECKING:
    from device.loaded_models import Models
    from device.pipeline import Pipeline

ROUNDS = 3


@pytest.fixture(scope="module")
def models() -> Models:
    """The shipped models at the default configuration."""
    return load_models(Config())


def pipeline_of(models: Models, config: Config | None = None) -> Pipeline:
    config = config or Config()
    return make_pipeline(config, models, make_events(config, models, "0" * 8, secrets.randbits))


def test_every_frame_is_a_new_face_that_is_embedded(models: Models) -> None:
    whole, staged = pipeline_of(models), pipeline_of(models)
    timer = FrameTimer(models, whole, staged, bench_frames((320, 256), count=2))
    for _ in range(ROUNDS):
        timer.round()
    assert (whole.counters.frames, whole.counters.faces, whole.counters.embedded) == (ROUNDS, ROUNDS, ROUNDS)
    assert {name: len(ms) for name, ms in timer.laps.ms.items()} == dict.fromkeys(timer.laps.ms, ROUNDS)
    assert {WHOLE, BARE, "detector invoke", "embedder invoke", "align"} <= set(timer.laps.ms)


def test_a_frame_without_its_face_ends_the_benchmark(models: Models) -> None:
    (frame,) = bench_frames((320, 256), count=1)
    wall = [later(frame, 0)]
    wall[0].lores.setflags(write=True)
    wall[0].lores[:] = 120
    timer = FrameTimer(models, pipeline_of(models), pipeline_of(models), wall)
    with pytest.raises(PorterError, match="expected one face, found 0"):
        timer.round()


def test_the_frames_are_the_same_at_every_call() -> None:
    one, other = (bench_frames((320, 256), count=2) for _ in range(2))
    assert len(one) == 2
    assert one[0].main.shape == (720, 1280, 3)
    assert one[0].lores.shape == (180, 320, 3)
    assert all(np.array_equal(a.main, b.main) for a, b in zip(one, other, strict=True))
    assert later(one[0], 3).captured.boot_ns == 3 * BETWEEN_NS


def test_the_gallery_is_full() -> None:
    assert len(full_gallery(128)) == 500


def test_laps_give_median_p95_and_ratios() -> None:
    laps = Laps()
    laps.ms = {WHOLE: [3.0, 1.0, 2.0], BARE: [1.0, 1.0, 4.0]}
    assert over(laps, WHOLE, BARE) == 2.0
    assert over(laps, WHOLE, PEER) is None
    assert as_json(laps)["stages"][WHOLE]["median_ms"] == 2.0
    assert laps.p95(WHOLE) == pytest.approx(2.9)


def test_a_source_that_is_missing_or_another_leaves_opencv_out_by_name(tmp_path: Path) -> None:
    folder = default_folder()
    detector, embedder = load_manifest(folder, "yunet-320x256"), load_manifest(folder, "sface")
    with pytest.raises(InputError, match="cannot be read"):
        OpenCvPeer(tmp_path, detector, embedder, 1)
    (tmp_path / detector.source_file).write_bytes(b"another")
    with pytest.raises(InputError, match="expected sha256"):
        OpenCvPeer(tmp_path, detector, embedder, 1)


def test_a_service_that_does_not_come_up_is_an_error_with_what_it_said(tmp_path: Path) -> None:
    missing = tmp_path / "none.yaml"
    with (
        child("vision", missing) as running,
        pytest.raises(PorterError, match=r"never said first_frame.*none\.yaml"),
    ):
        running.wait_for("first_frame")
    assert running.process.returncode is not None


def test_the_memory_of_a_process_is_read_in_megabytes() -> None:
    assert 10 < memory_mb(os.getpid(), "VmRSS") <= memory_mb(os.getpid(), "VmHWM")
    with pytest.raises(PorterError, match="the process has ended"):
        memory_mb(os.getpid(), "VmNothing")
