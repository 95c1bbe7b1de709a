# SPDX-License-Identifier: Apache-2.0
"""A door with painted people: the real pipeline over two interpreters that answer from what is in the picture.

A person is a square of one colour. The detector's stand-in is told where they are; the embedder's stand-in sees only
the crop, and makes the embedding from its colour: person k's is the k-th of a set of orthogonal vectors. Who is alive
also looks a little different every time: `look` moves the embedding, by a cosine of 0.96 from one look to another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from device.adapters.interpreter_recorded import RecordedInterpreter
from device.pipeline import Pipeline
from device.ports import EnrolledReferences, TensorDetail
from device.recognition.enrolment import EnrolmentSession
from device.recognition.gallery import Gallery
from device.recognition.presentation import Presentation
from device.recognition.sightings import DecisionRule, Sightings
from device.recognition.tracks import Tracker
from device.records import Frame
from device.vision.align import CROP_PX, TEMPLATE
from device.vision.detect import Detector
from device.vision.embed import Embedder
from device.vision.motion import MotionGate
from device.vision.tensors import Normalisation
from tests.people import NS, at, at_threshold, subject
from tests.yunet import HEIGHT_PX, WIDTH_PX, yunet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from device.records import Sighting

DIMENSION = 16
LOOKS = 7
RAW = Normalisation("rgb", 0.0, 1.0)
RULE = DecisionRule(
    point=at_threshold(0.5, fmr=1e-4),
    margin=0.1,
    hysteresis=0.1,
    min_quality=0.0,  # a square of one colour is as poor a sample as there is
    min_frames=3,
    max_frames=6,
    recheck_ns=3 * NS,
    visit_end_ns=5 * NS,
)
LEFT_THREE_QUARTERS = [(0.0, 0.0), (0.75, 0.0), (0.75, 1.0), (0.0, 1.0)]


@dataclass(frozen=True)
class Painted:
    """Person `who` in a picture of 320 x 256 pixels; `turned_px` is how far the nose is to the side."""

    who: int
    x: float = 60
    y: float = 60
    width: float = 100
    turned_px: float = 0.0
    look: int = 0

    @property
    def landmarks(self) -> NDArray[np.float32]:
        """The template's, on this face."""
        points = TEMPLATE * (self.width / CROP_PX) + np.array([self.x, self.y])
        points[2, 0] += self.turned_px
        landmarks: NDArray[np.float32] = points.astype(np.float32)
        return landmarks

    @property
    def colour(self) -> tuple[int, int, int]:
        """What this person is painted with; red tells who it is."""
        return 30 + 10 * self.who, 37 + 10 * self.look, 113


def embedding_of(who: int) -> NDArray[np.float32]:
    """(16,) float32 of unit length: the who-th cosine wave, orthogonal to all others, no two numbers plain."""
    wave = [math.cos(math.pi * (k + 0.5) * who / DIMENSION) for k in range(DIMENSION)]
    vector = np.array(wave, np.float32)
    vector /= np.linalg.norm(vector)
    return vector


def embed_painted(tensor: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
    """The embedder's stand-in: reads the colour in the crop's middle; black (nobody) gives the zeroth vector."""
    red = float(tensor[0, 40:72, 40:72, 0].mean())
    who = max(0, round((red - 30) / 10))
    look = max(0, round((float(tensor[0, 40:72, 40:72, 1].mean()) - 37) / 10))
    embedding = embedding_of(who)
    if look:
        embedding = embedding + np.float32(0.2) * embedding_of(DIMENSION - look)
    return {"embedding": embedding[np.newaxis] * np.float32(3.5)}


def enrolment(*, min_quality: float = 0.0, pose_wait_s: float = 0.0) -> EnrolmentSession:
    """A session that keeps five references and asks for no turns of the head."""
    return EnrolmentSession(
        most=5,
        min_quality=min_quality,
        pose_wait_ns=round(pose_wait_s * NS),
        timeout_ns=60 * NS,
        too_close=0.5,
    )


class Door:
    """The pipeline, and a way to show it people."""

    def __init__(
        self,
        known: list[int],
        *,
        rule: DecisionRule = RULE,
        motion: bool = False,
        embed: Callable[[NDArray[Any]], Mapping[str, NDArray[Any]]] = embed_painted,
    ) -> None:
        self.people: list[Painted] = []
        self.yunet = yunet(lambda _: [((p.x, p.y, p.width, p.width), p.landmarks, 0.9) for p in self.people])
        self.embedder = RecordedInterpreter(
            TensorDetail("input", (1, CROP_PX, CROP_PX, 3), "float32"),
            {"embedding": TensorDetail("embedding", (1, DIMENSION), "float32")},
            embed,
        )
        ids = count(1)
        self.pipeline = Pipeline(
            motion=MotionGate(level=12, area=0.005, hold_ns=NS) if motion else None,
            detector=Detector(self.yunet, RAW, score_threshold=0.6, nms_iou=0.3),
            tracks=Tracker(gap_ns=NS),
            presentation=Presentation(
                LEFT_THREE_QUARTERS, min_face_px=80, max_yaw_deg=35, max_pitch_deg=30, max_roll_deg=30
            ),
            embedder=Embedder(self.embedder, RAW),
            sightings=Sightings(rule, lambda _now: f"visit-{next(ids)}"),
        )
        self.seconds = 0.0
        self.pipeline.sightings.adopt(gallery_of(known), at(0))

    def picture(self) -> NDArray[np.uint8]:
        """The present people before a black wall."""
        main = np.zeros((HEIGHT_PX, WIDTH_PX, 3), np.uint8)
        for p in self.people:
            main[round(p.y) : round(p.y + p.width), round(p.x) : round(p.x + p.width)] = p.colour
        return main

    def frame(self) -> Frame:
        """The present picture as a frame, 0.1 s after the last."""
        self.seconds += 0.1
        main = self.picture()
        return Frame(round(self.seconds * 10), at(self.seconds), main, main, main[::4, ::4, 0].copy())

    def show(self, *people: Painted, frames: int = 1) -> list[str]:
        """Shows these people for so many frames; returns what was decided, e.g. ["start p_0001"]."""
        self.people = list(people)
        decided: list[Sighting] = []
        for _ in range(frames):
            decided += self.pipeline.process(self.frame())
        return [f"{one.phase} {one.subject.ref}" for one in decided]

    def show_alive(self, person: Painted, frames: int) -> list[str]:
        """As `show`, of one person who looks a little different in every frame."""
        return [told for n in range(frames) for told in self.show(replace(person, look=n % LOOKS))]


def gallery_of(known: list[int]) -> Gallery:
    """A gallery of these persons."""
    return Gallery([EnrolledReferences(subject(who), embedding_of(who)[np.newaxis]) for who in known])
