# SPDX-License-Identifier: Apache-2.0
"""OpenCV's own YuNet and SFace (FaceDetectorYN, FaceRecognizerSF) on the same frames: a peer to be measured beside.

It gets what Porter gets: the same lores view on the same canvas for the detector, the same main picture for the crop,
the same thresholds and number of threads. Colours are in OpenCV's order beforehand, outside the timing. cv2 is needed
by nothing else (extra `bench`).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np

from device.errors import InputError, PorterError
from device.measure.variants import sha256_of
from device.vision.tensors import letterbox

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from device.adapters.models_folder import Manifest
    from device.records import Frame

TOP_K = 5000


class OpenCvPeer:
    """The pair. Raises InputError: cv2 missing, a source missing or other than the manifests say."""

    def __init__(self, sources: Path, detector: Manifest, embedder: Manifest, threads: int) -> None:
        detector_file, embedder_file = checked(sources, detector), checked(sources, embedder)
        try:
            self._cv2 = importlib.import_module("cv2")
        except ImportError as error:
            hint = "`pip install opencv-python-headless` (it is in the extra `bench`)"
            raise InputError(f"OpenCV cannot be imported: {error}", hint=hint) from error
        if detector.detection is None:
            raise InputError(f"model {detector.name}: expected a detector")
        self._size = detector.input.width_px, detector.input.height_px
        self._cv2.utils.logging.setLogLevel(self._cv2.utils.logging.LOG_LEVEL_ERROR)
        self._cv2.setNumThreads(threads)
        self._detector = self._cv2.FaceDetectorYN.create(
            detector_file,
            "",
            self._size,
            detector.detection.score_threshold,
            detector.detection.nms_iou,
            TOP_K,
        )
        self._recogniser = self._cv2.FaceRecognizerSF.create(embedder_file, "")
        self.version: str = self._cv2.__version__

    def prepare(self, frame: Frame) -> tuple[NDArray[np.uint8], NDArray[np.uint8], float]:
        """What `run` takes: canvas and main in BGR, and the factor from canvas to main pixels."""
        canvas, factor = letterbox(frame.lores, *self._size)
        to_main = frame.main.shape[1] / frame.lores.shape[1] / factor
        return bgr(canvas), bgr(frame.main), to_main

    def run(self, prepared: tuple[NDArray[np.uint8], NDArray[np.uint8], float]) -> NDArray[Any]:
        """Detects, cuts out, embeds; the feature of the best face."""
        canvas, main, to_main = prepared
        _, faces = self._detector.detect(canvas)
        if faces is None:
            raise PorterError("OpenCV found no face in the benchmark's frame")
        face = faces[0].copy()
        face[:14] *= to_main
        feature: NDArray[Any] = self._recogniser.feature(self._recogniser.alignCrop(main, face))
        return feature


def checked(sources: Path, manifest: Manifest) -> str:
    """The path of a model's source, after comparing its hash with the manifest."""
    path = sources / manifest.source_file
    found = sha256_of(path)
    if found != manifest.source_sha256:
        both = f"expected sha256 {manifest.source_sha256}, found {found}"
        raise InputError(f"{path}: not the source of {manifest.name}: {both}")
    return str(path)


def bgr(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB in OpenCV's order."""
    return np.ascontiguousarray(picture[..., ::-1])
