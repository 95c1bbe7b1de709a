# SPDX-License-Identifier: Apache-2.0
"""One frame timed: whole, as its two bare invokes, and stage by stage, with the product's own parts.

The interpreters are shared by all three, so that the same weights are in the same memory. Whole and bare frames take
turns in going first: who comes second finds warmer caches.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import numpy as np

from device.errors import PorterError
from device.measure.frames import full_gallery, later
from device.records import Probe, Stamp
from device.vision.align import align
from device.vision.detect import STRIDES, StrideMaps, read_faces
from device.vision.embed import OUTPUT_NAME
from device.vision.quality import pose_of, quality_of
from device.vision.tensors import InputEncoder, dequantise, letterbox
from device.vision.views import lores_and_luma

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from device.loaded_models import LoadedModel, Models
    from device.pipeline import Pipeline
    from device.records import Detection, Frame

CAMERA_STAGE = "camera: lores, luma"


class Laps:
    """Milliseconds by name, in the order in which the names first came."""

    def __init__(self) -> None:
        self.ms: dict[str, list[float]] = {}
        self._last = 0

    def start(self) -> None:
        """The next lap begins now."""
        self._last = time.perf_counter_ns()

    def lap(self, name: str) -> None:
        """A lap ends, and the next one begins."""
        now = time.perf_counter_ns()
        self.ms.setdefault(name, []).append((now - self._last) / 1e6)
        self._last = time.perf_counter_ns()

    def median(self, name: str) -> float:
        """The median of a lap."""
        return float(np.median(self.ms[name]))

    def p95(self, name: str) -> float:
        """The 95th percentile of a lap."""
        return float(np.percentile(self.ms[name], 95))


class FrameTimer:
    """Times frames. `whole` and `staged` are two pipelines over the same models: their tracks must not mix."""

    def __init__(self, models: Models, whole: Pipeline, staged: Pipeline, frames: Sequence[Frame]) -> None:
        self.laps = Laps()
        self._models = models
        self._whole = whole
        self._staged = staged
        self._frames = frames
        gallery = full_gallery(whole.embedder.dimension)
        for pipeline in (whole, staged):
            pipeline.sightings.adopt(gallery, Stamp(0, 0, synced=True))
        self._picture_encoder = encoder(models.detector)
        self._crop_encoder = encoder(models.embedder)
        defaults = models.detector.manifest.detection
        if defaults is None:
            raise PorterError(f"model {models.detector.manifest.name}: expected a detector")
        self._nms_iou = defaults.nms_iou
        self._maps = [
            StrideMaps(models.detector.interpreter.outputs, stride, defaults.score_threshold)
            for stride in STRIDES
        ]
        self._count = 0

    def round(self) -> None:
        """One frame in all three ways."""
        self._count += 1
        frame = later(self._frames[self._count % len(self._frames)], self._count)
        crop = self._stages(frame)
        if self._count % 2:
            self._time_whole(frame)
            self._time_bare(frame, crop)
        else:
            self._time_bare(frame, crop)
            self._time_whole(frame)

    def _time_whole(self, frame: Frame) -> None:
        embedded = self._whole.counters.embedded
        self.laps.start()
        self._whole.process(frame)
        self.laps.lap("whole frame")
        if self._whole.counters.embedded != embedded + 1:
            raise PorterError(
                f"frame {frame.sequence}: expected one embedding, got {self._whole.counters.embedded - embedded}",
                hint="the detector does not find the one face of the benchmark's frames: `porter models` checks it",
            )

    def _time_bare(self, frame: Frame, crop: NDArray[np.uint8]) -> None:
        canvas, _ = letterbox(frame.lores, self._picture_encoder.width_px, self._picture_encoder.height_px)
        picture, face = self._picture_encoder.encode(canvas), self._crop_encoder.encode(crop)
        self.laps.start()
        self._models.detector.interpreter.invoke(picture)
        self._models.embedder.interpreter.invoke(face)
        self.laps.lap("both invokes")

    def _stages(self, frame: Frame) -> NDArray[np.uint8]:
        """The frame stage by stage, as `Pipeline.process` goes; returns the crop."""
        laps, parts, now = self.laps, self._staged, frame.captured
        width, height = self._picture_encoder.width_px, self._picture_encoder.height_px
        laps.start()
        lores_and_luma(frame.main, (width, height))
        laps.lap(CAMERA_STAGE)
        if parts.motion is not None and not parts.tracks.active:
            parts.motion.is_open(frame.luma, now.boot_ns)
        laps.lap("motion")
        detection = self._detect(frame)
        ((track, _),) = parts.tracks.update([detection], now.boot_ns)
        parts.sightings.open_frame(1, now)
        laps.lap("tracks")
        pose = pose_of(detection.landmarks)
        parts.presentation.refusal(detection, pose, frame.main.shape[1], frame.main.shape[0])
        parts.sightings.wants(track, now)
        laps.lap("pose, presentation")
        image = align(frame.main, detection.landmarks)
        laps.lap("align")
        quality = quality_of(image, pose, detection.box.w)
        laps.lap("quality")
        probe = Probe(self._embed(image), quality.overall)
        scores = parts.sightings.gallery.compare(probe.embedding, now)
        laps.lap("compare with 500")
        parts.sightings.offer(track, probe, scores, now)
        parts.close(now, (track,))
        laps.lap("sightings")
        return image

    def _detect(self, frame: Frame) -> Detection:
        laps = self.laps
        canvas, factor = letterbox(
            frame.lores, self._picture_encoder.width_px, self._picture_encoder.height_px
        )
        tensor = self._picture_encoder.encode(canvas)
        laps.lap("letterbox, encode")
        raw = self._models.detector.interpreter.invoke(tensor)
        laps.lap("detector invoke")
        to_main = frame.main.shape[1] / frame.lores.shape[1] / factor
        detections = read_faces(raw, self._maps, self._nms_iou, to_main)
        laps.lap("decode, NMS")
        if len(detections) != 1:
            raise PorterError(f"frame {frame.sequence}: expected one face, found {len(detections)}")
        return detections[0]

    def _embed(self, crop: NDArray[np.uint8]) -> NDArray[np.float32]:
        laps, interpreter = self.laps, self._models.embedder.interpreter
        tensor = self._crop_encoder.encode(crop)
        laps.lap("encode crop")
        raw = interpreter.invoke(tensor)[OUTPUT_NAME]
        laps.lap("embedder invoke")
        vector = dequantise(raw.reshape(-1), interpreter.outputs[OUTPUT_NAME])
        vector /= math.sqrt(float(vector @ vector))
        laps.lap("unit length")
        return vector


def encoder(model: LoadedModel) -> InputEncoder:
    """The encoder of a model's input."""
    return InputEncoder(model.interpreter.input, model.normalisation)
