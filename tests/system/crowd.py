# SPDX-License-Identifier: Apache-2.0
"""A crowd of strangers before a simulated camera, and what each of them would leave behind if Porter kept anything.

Who they are: strangers of the evaluation photos, where those are at hand, else one public-domain portrait in many
disguises. The pictures are drawn into a temporary folder and are never kept.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageEnhance

from device.adapters.camera_files import FilesCamera
from device.adapters.clock import SystemClock
from device.assembly import make_detector
from device.demo_scenes import cut_out, wall_picture
from device.loaded_models import load_models
from device.vision.align import align
from device.vision.embed import OUTPUT_NAME, Embedder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from device.options import Config
    from device.ports import Interpreter

SIZE_PX = (640, 480)
SHOWN_PX = 440  # a photo of 250 px, whose face is about 100 px wide, becomes one of 440
LOOKS = 6  # pictures of each stranger
GAP = 9  # pictures of nobody after each: longer than a track lives


@dataclass(frozen=True, slots=True)
class Look:
    """One picture of a stranger as the service sees it. crop: (112, 112, 3) uint8; embedding: (D,) float32.

    output: (D,) what the model said, before it was scaled to unit length.
    """

    stranger: int
    crop: NDArray[np.uint8]
    embedding: NDArray[np.float32]
    output: NDArray[np.float32]


class Overheard:
    """The embedder's interpreter, with a copy of what it said last."""

    def __init__(self, interpreter: Interpreter) -> None:
        self._interpreter = interpreter
        self.input, self.outputs = interpreter.input, interpreter.outputs
        self.said: NDArray[np.float32] = np.zeros(0, np.float32)

    def invoke(self, tensor: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
        """Runs the model."""
        result = self._interpreter.invoke(tensor)
        self.said = result[OUTPUT_NAME].reshape(-1).copy()
        return result


def strangers(data: Path | None, number: int) -> list[Image.Image]:
    """Portraits of so many people: a photo each of the open-set table, or disguises of a portrait that ships."""
    table = None if data is None else data / "lfw" / "openset_dev.csv"
    if table is None or not table.is_file():
        return [disguised(index) for index in range(number)]
    with table.open(newline="") as rows:
        paths = [row["path"] for row in csv.DictReader(rows) if row["role"] == "stranger"]
    step = max(1, len(paths) // number)
    return [Image.open(table.parent / path).convert("RGB") for path in paths[::step][:number]]


def disguised(index: int) -> Image.Image:
    """The portrait, a little taller or wider, mirrored, lit and coloured differently each time."""
    figure = cut_out("hopper")
    portrait = Image.new("RGB", figure.size, (90 + index % 60, 100, 110))
    portrait.paste(figure, (0, 0), figure)
    if index % 2:
        portrait = portrait.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    portrait = ImageEnhance.Brightness(portrait).enhance(0.7 + 0.6 * (index % 7) / 7)
    portrait = ImageEnhance.Color(portrait).enhance(0.4 + (index % 5) / 4)
    return portrait.resize((250 - 3 * (index % 9), 250))


def draw(folder: Path, portraits: list[Image.Image]) -> None:
    """Writes the crowd's pictures: everybody sways a little before the wall, and is gone for a while."""
    folder.mkdir()
    wall = wall_picture(*SIZE_PX)
    number = 0
    for portrait in portraits:
        for look in range(LOOKS + GAP):
            picture = wall.copy()
            if look < LOOKS:
                size = SHOWN_PX + 8 * look
                left = round((SIZE_PX[0] - size) / 2 + 12 * math.sin(look))
                picture.paste(portrait.resize((size, size), Image.Resampling.BICUBIC), (left, 20 - look))
            picture.save(folder / f"{number:06}.jpg", quality=92)
            number += 1


def looks(config: Config, folder: Path) -> list[Look]:
    """What the service computes of each picture with a face: the very crops and embeddings, by its own code."""
    models = load_models(config)
    overheard = Overheard(models.embedder.interpreter)
    detector = make_detector(config, models.detector)
    embedder = Embedder(overheard, models.embedder.normalisation)
    wanted = models.detector.manifest.input
    size = config.camera.width_px, config.camera.height_px
    lores = wanted.width_px, wanted.height_px
    camera = FilesCamera(str(folder), SystemClock(), *size, lores_px=lores, rate_hz=0, loop=False)
    found: list[Look] = []
    camera.open()
    number = 0
    while (frame := camera.capture(1.0)) is not None:
        for face in detector.detect(frame.lores, frame.main.shape[1]):
            crop = align(frame.main, face.landmarks)
            embedding = embedder.embed(crop)
            found.append(Look(number // (LOOKS + GAP), crop.copy(), embedding.copy(), overheard.said))
        number += 1
    camera.close()
    return found
