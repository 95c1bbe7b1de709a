# SPDX-License-Identifier: Apache-2.0
"""A sample from near by: which part of the picture is looked at, and what is made of what is found there."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from device.assembly import make_detector
from device.demo_scenes import scene
from device.geometry import Box
from device.loaded_models import load_models
from device.measure.degrade import in_frame
from device.measure.turned import turned
from device.options import Config, InferenceOptions
from device.recognition.poses import FARTHEST_YAW_DEG
from device.records import Detection
from device.vision.detect import Detector
from device.vision.quality import pose_of
from device.vision.sample import AROUND, NOWHERE, SAME_FACE_IOU, SURE, Sampler, part_around
from device.vision.views import fitted, lores_and_luma, scaled

CONFIG = Config(inference=InferenceOptions(threads=1))
SHAPE = (320, 256)


@cache
def detector() -> Detector:
    """The default one."""
    return make_detector(CONFIG, load_models(CONFIG).detector)


@cache
def portrait() -> NDArray[np.uint8]:
    """Somebody in the middle of a 1280x720 picture, the face about 100 px wide."""
    return in_frame(np.asarray(scene("astronaut", face_px=100, frames=1)[0]), 1280, 720)


def first_look(main: NDArray[np.uint8]) -> Detection:
    """As the pipeline has it: the whole picture at a quarter of its size."""
    lores, _ = lores_and_luma(main, SHAPE)
    return detector().detect(lores, main.shape[1])[0]


def test_the_part_has_the_detectors_shape_and_the_face_in_its_middle() -> None:
    main = np.zeros((720, 1280, 3), np.uint8)
    part, left, top = part_around(main, Box(600, 300, 100, 120), SHAPE)
    assert part.shape == (200, round(100 * AROUND), 3)
    assert (left + part.shape[1] / 2, top + part.shape[0] / 2) == (650, 360)


@pytest.mark.parametrize("box", [Box(-20, -30, 100, 120), Box(1250, 700, 100, 120), Box(0, 0, 3000, 3000)])
def test_at_the_edge_the_part_is_moved_inwards_and_never_larger_than_the_picture(box: Box) -> None:
    main = np.zeros((720, 1280, 3), np.uint8)
    part, left, top = part_around(main, box, SHAPE)
    assert part.size > 0
    assert 0 <= left <= 1280 - part.shape[1]
    assert 0 <= top <= 720 - part.shape[0]


def test_a_closer_look_finds_the_landmarks_of_the_same_face() -> None:
    face = first_look(portrait())
    near = Sampler(detector()).landmarks(portrait(), face)
    assert near is not None
    assert np.abs(near - face.landmarks).max() < 0.15 * face.box.w
    crop, quality, pose = Sampler(detector()).sample(portrait(), face, closer=True)
    assert crop.shape == (112, 112, 3)
    assert abs(pose.yaw_deg) < 15
    assert quality.overall > 0.5


@pytest.mark.parametrize("yaw", [-50.0, 50.0])
def test_a_turned_head_looks_aside_from_near_by_more_than_from_afar(yaw: float) -> None:
    face = first_look(portrait())
    aside = turned(portrait(), face.landmarks, yaw)
    far = first_look(aside)
    _, quality, pose = Sampler(detector()).sample(aside, far, closer=True)
    assert pose.yaw_deg * yaw > 0
    assert abs(pose.yaw_deg) > abs(pose_of(far.landmarks).yaw_deg)
    assert abs(pose.yaw_deg) > 35
    assert quality.pose < 0.4


@pytest.mark.parametrize("yaw", [80.0, 85.0])
def test_a_profile_that_the_closer_look_takes_for_a_face_that_looks_ahead_is_not_sure_enough(
    yaw: float,
) -> None:
    face = first_look(portrait())
    profile = turned(portrait(), face.landmarks, yaw)
    part, left, top = part_around(profile, face.box, SHAPE)
    seen = np.asarray(scaled(Image.fromarray(part), fitted((part.shape[1], part.shape[0]), SHAPE)))
    (near,) = detector().detect(seen, part.shape[1])
    assert near.box.iou(Box(face.box.x - left, face.box.y - top, face.box.w, face.box.h)) > SAME_FACE_IOU
    assert abs(pose_of(near.landmarks).yaw_deg) < FARTHEST_YAW_DEG
    assert near.score < SURE
    _, quality, pose = Sampler(detector()).sample(profile, face, closer=True)
    assert pose == NOWHERE
    assert quality.overall == 0.0


def test_where_there_is_no_face_near_by_the_sample_looks_nowhere_and_is_worth_nothing() -> None:
    face = first_look(portrait())
    wall = np.full_like(portrait(), 118)
    _, quality, pose = Sampler(detector()).sample(wall, face, closer=True)
    assert pose == NOWHERE
    assert quality.overall == 0.0


def test_without_a_detector_the_first_looks_landmarks_are_taken() -> None:
    face = first_look(portrait())
    assert Sampler().landmarks(portrait(), face) is face.landmarks
