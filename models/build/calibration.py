# SPDX-License-Identifier: Apache-2.0
"""Calibration pictures: two public-domain portraits, varied by a seeded generator.

Only pictures that anyone may use, so that anyone can build the same files: astronaut.png (NASA, Eileen Collins) and
grace_hopper.jpg (United States Navy), as `device/demo_data/PROVENANCE.md` says. No face data set: those have no
licence, or hold people who were never asked. Random numbers come from numpy's PCG64, whose stream is stable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from sources import checked_file

from device.vision.align import align

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

PORTRAITS = {
    "astronaut.png": "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
    "grace_hopper.jpg": "a8ca6d734765703b09728ab47fe59f473d93ae3967fc24c7c0288c3c7adb7130",
}
SEED = 20261123


@dataclass(frozen=True, slots=True)
class Portrait:
    """A picture of one person and where the five landmarks are, in its pixels."""

    image: Image.Image
    landmarks: NDArray[np.float64]

    @property
    def eyes_px(self) -> float:
        """Distance between the eyes: the measure of the face's size."""
        return float(np.linalg.norm(self.landmarks[1] - self.landmarks[0]))


def load_portraits(folder: Path) -> list[Image.Image]:
    """The two portraits of `folder`, each checked by its SHA-256."""
    return [
        Image.open(checked_file(folder / name, digest)).convert("RGB") for name, digest in PORTRAITS.items()
    ]


def scenes(portraits: list[Portrait], width: int, height: int, count: int) -> list[NDArray[np.uint8]]:
    """Pictures (height, width, 3) uint8 RGB with up to four faces of 12 px and more between the eyes, or of none."""
    random = np.random.default_rng(SEED)
    made = []
    for index in range(count):
        scene = _background(random, width, height)
        for _ in range(int(random.integers(0, 5))):
            _paste(scene, portraits[int(random.integers(len(portraits)))], random)
        picture = _camera(scene, random).copy()
        if index % 3 == 0:  # the runtime letterboxes: what the camera's shape leaves over is black
            picture[int(height * random.uniform(0.6, 1.0)) :] = 0
        elif index % 3 == 1:
            picture[:, int(width * random.uniform(0.6, 1.0)) :] = 0
        made.append(picture)
    return made


def crops(portrait: Portrait, count: int) -> list[NDArray[np.uint8]]:
    """Aligned crops (112, 112, 3) uint8 RGB of one person, 25 to 110 px between the eyes before they were cut out."""
    random = np.random.default_rng(SEED)
    made = []
    for _ in range(count):
        factor = min(1.0, float(np.exp(random.uniform(np.log(25.0), np.log(110.0)))) / portrait.eyes_px)
        size = round(portrait.image.width * factor), round(portrait.image.height * factor)
        image = portrait.image.resize(size, Image.Resampling.BOX)
        crop = align(np.asarray(image), _misjudged(portrait.landmarks * factor, random))
        picture = _camera(Image.fromarray(crop), random)
        made.append(picture[:, ::-1].copy() if random.random() < 0.5 else picture)
    return made


def _misjudged(landmarks: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float32]:
    """Landmarks as a detector may find them: the whole turned, scaled and moved, and each a little off."""
    middle, eyes_px = landmarks.mean(0), float(np.linalg.norm(landmarks[1] - landmarks[0]))
    angle, scale = random.normal(0.0, 0.05), float(np.exp(random.normal(0.0, 0.04)))
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = (landmarks - middle) @ turn.T + middle + random.normal(0.0, 0.04 * eyes_px, 2)
    return (moved + random.normal(0.0, 0.015 * eyes_px, landmarks.shape)).astype(np.float32)


def _background(random: np.random.Generator, width: int, height: int) -> Image.Image:
    """Nothing in particular: a few colours blended, smooth or rough, so that no layer sees only faces."""
    cells = int(random.choice([2, 4, 12, 40]))
    colours = random.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
    smooth = Image.Resampling.BICUBIC if random.random() < 0.7 else Image.Resampling.NEAREST
    return Image.fromarray(colours).resize((width, height), smooth)


def _paste(scene: Image.Image, portrait: Portrait, random: np.random.Generator) -> None:
    largest = min(scene.size) / 3.0
    eyes_px = float(np.exp(random.uniform(np.log(8.0), np.log(largest))))
    factor = eyes_px / portrait.eyes_px
    size = max(1, round(portrait.image.width * factor)), max(1, round(portrait.image.height * factor))
    image = portrait.image.resize(size, Image.Resampling.BOX if factor < 1 else Image.Resampling.BILINEAR)
    if random.random() < 0.5:
        image = ImageOps.mirror(image)
    mask = Image.new("L", image.size, 255).rotate(angle := float(random.normal(0.0, 10.0)))
    centre = portrait.landmarks.mean(0) * factor
    left = int(random.uniform(0, scene.width) - centre[0])
    top = int(random.uniform(0, scene.height) - centre[1])
    scene.paste(image.rotate(angle), (left, top), mask)


def _camera(image: Image.Image, random: np.random.Generator) -> NDArray[np.uint8]:
    """Light, colour, focus and noise of an ordinary day at a door."""
    image = ImageEnhance.Brightness(image).enhance(float(np.exp(random.normal(0.0, 0.25))))
    image = ImageEnhance.Contrast(image).enhance(float(np.exp(random.normal(0.0, 0.2))))
    image = ImageEnhance.Color(image).enhance(float(random.uniform(0.3, 1.2)))
    if random.random() < 0.3:
        image = image.filter(ImageFilter.GaussianBlur(float(random.uniform(0.3, 1.2))))
    pixels = np.asarray(image, np.float64) * np.exp(random.normal(0.0, 0.05, 3))
    if random.random() < 0.3:
        pixels = pixels + random.normal(0.0, random.uniform(1.0, 6.0), pixels.shape)
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
