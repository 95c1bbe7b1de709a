# SPDX-License-Identifier: Apache-2.0
"""From a `Config` to the parts that see: models and pipeline. Used by the vision service, replay and bench.

Nothing here starts a thread or opens a database. The camera's part is camera_assembly.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from device.adapters.models_folder import default_folder, load_manifest
from device.errors import InputError
from device.inference import open_interpreter
from device.payloads import InferenceTimes, ModelHashes, ModelInfo
from device.pipeline import Pipeline
from device.recognition.events import EventMaker
from device.recognition.operating_point import OperatingPoint
from device.recognition.presentation import Presentation
from device.recognition.sightings import DecisionRule, Sightings
from device.recognition.tracks import Tracker
from device.vision.align import CROP_PX
from device.vision.detect import Detector
from device.vision.embed import Embedder
from device.vision.motion import MotionGate
from device.vision.sample import Sampler
from device.vision.tensors import Normalisation

if TYPE_CHECKING:
    from collections.abc import Callable

    from device.adapters.models_folder import Manifest, Variant
    from device.errors import HardwareError
    from device.inference import Opened
    from device.options import Config
    from device.ports import Interpreter


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that is ready to run, and what its manifest says of it."""

    manifest: Manifest
    opened: Opened

    @property
    def interpreter(self) -> Interpreter:
        """What runs it."""
        return self.opened.interpreter

    @property
    def variant(self) -> Variant:
        """Which of its files runs."""
        return self.opened.variant

    @property
    def normalisation(self) -> Normalisation:
        """How it wants its pixels."""
        picture = self.manifest.input
        return Normalisation(picture.colour, picture.offset, picture.scale)


@dataclass(frozen=True, slots=True)
class Models:
    """The two models of a pipeline, each in an interpreter of its own."""

    detector: LoadedModel
    embedder: LoadedModel

    def infos(self) -> list[ModelInfo]:
        """Both, as they are told to subscribers."""
        return [
            ModelInfo(
                name=model.manifest.name,
                task=model.manifest.task,
                variant=model.variant.name,
                sha256=f"sha256:{model.variant.sha256}",
                delegate=model.opened.delegate,
            )
            for model in (self.detector, self.embedder)
        ]

    def hashes(self) -> ModelHashes:
        """Both files' hashes, as events carry them."""
        return ModelHashes(f"sha256:{self.detector.variant.sha256}", f"sha256:{self.embedder.variant.sha256}")

    def times(self) -> list[InferenceTimes]:
        """How long the last inferences of each took."""
        found = [
            (model.manifest.task, model.opened.interpreter.percentiles_ms())
            for model in (self.detector, self.embedder)
        ]
        return [InferenceTimes(task, *times) for task, times in found if times is not None]

    def lost(self) -> HardwareError | None:
        """Why a model does not run on the Edge TPU as configured; None when all is as it should be."""
        return self.detector.opened.lost or self.embedder.opened.lost


def load_models(config: Config) -> Models:
    """Loads both models as configured. Raises InputError (model, file) or HardwareError (Edge TPU)."""
    detector = load_model(config, config.models.detector, "detector")
    on_edgetpu = detector.opened.delegate == "edgetpu"
    return Models(detector, load_model(config, config.models.embedder, "embedder", probed=on_edgetpu))


def models_for(new: Config, old: Config, running: Models) -> Models:
    """The models of a changed configuration: those that run where they are still right, else newly loaded ones.

    Only one process at a time may have an Edge TPU, and another one that merely tries it, as the probe does, makes
    the first one's USB transfers fail (google-coral/edgetpu#237): while ours has it, it is not tried. Raises as
    `load_models` does.
    """
    same = (new.models, new.inference) == (old.models, old.inference)
    held = any(info.delegate == "edgetpu" for info in running.infos())
    if same and (held or running.lost() is None):
        return running
    if held and new.inference.delegate == "edgetpu":
        raise InputError(
            "models, inference: cannot change while the Edge TPU is in use",
            hint="systemctl restart porter-vision",
        )
    return load_models(new)


def models_folder(config: Config) -> Path:
    """Where the configured models are."""
    return Path(config.models.folder) if config.models.folder else default_folder()


def load_model(config: Config, name: str, task: str, *, probed: bool = False) -> LoadedModel:
    """Loads one model, which must be for `task`. probed: as `open_interpreter` says."""
    folder = models_folder(config)
    manifest = load_manifest(folder, name)
    if manifest.task != task:
        raise InputError(
            f"models.{task}: {name}: its manifest says {manifest.task}",
            hint=f"name a {task}: `porter models` lists what there is",
        )
    options = config.inference
    opened = open_interpreter(
        folder,
        manifest,
        delegate=options.delegate,
        fallback=options.fallback,
        runtime=options.runtime,
        threads=options.threads,
        library=options.edgetpu_library,
        device=options.edgetpu_device,
        probed=probed,
    )
    return LoadedModel(manifest, opened)


def operating_point(config: Config, embedder: Variant) -> OperatingPoint:
    """How the threshold is chosen: by the embedder's measured scores, or as the configuration insists."""
    rule = config.recognition
    return OperatingPoint(
        table=embedder.scores,
        target_fpir=rule.target_fpir,
        min_frames=rule.min_frames,
        fixed=rule.threshold,
    )


def make_events(
    config: Config, models: Models, boot_id: str, random_bits: Callable[[int], int]
) -> EventMaker:
    """The maker of this camera's events."""
    return EventMaker(
        device=config.device.id,
        camera=config.camera.name,
        boot_id=boot_id,
        random_bits=random_bits,
        publish_labels=config.events.publish_labels,
        live_max_age_s=config.events.live_max_age_s,
        models=models.hashes(),
    )


def make_pipeline(config: Config, models: Models, maker: EventMaker) -> Pipeline:
    """A pipeline with an empty gallery."""
    motion, zone, rule = config.motion, config.zone, config.recognition
    detector = make_detector(config, models.detector)
    return Pipeline(
        motion=MotionGate(level=motion.level, area=motion.area, hold_ns=ns(motion.hold_s))
        if motion.enabled
        else None,
        detector=detector,
        sampler=Sampler(detector),
        tracks=Tracker(gap_ns=ns(rule.track_gap_s)),
        presentation=Presentation(
            [(x, y) for x, y in zone.polygon],
            min_face_px=zone.min_face_px,
            max_yaw_deg=zone.max_yaw_deg,
            max_pitch_deg=zone.max_pitch_deg,
            max_roll_deg=zone.max_roll_deg,
        ),
        embedder=make_embedder(models.embedder),
        sightings=Sightings(
            DecisionRule(
                point=operating_point(config, models.embedder.variant),
                margin=rule.margin,
                hysteresis=rule.hysteresis,
                min_quality=rule.min_quality,
                min_frames=rule.min_frames,
                max_frames=rule.max_frames,
                recheck_ns=ns(rule.recheck_s),
                visit_end_ns=ns(rule.visit_end_s),
            ),
            maker.new_id,
        ),
    )


def make_detector(config: Config, model: LoadedModel) -> Detector:
    """The detector on its model. Raises InputError where the model is none that we can decode."""
    try:
        return Detector(
            model.interpreter,
            model.normalisation,
            score_threshold=config.detection.score_threshold,
            nms_iou=config.detection.nms_iou,
        )
    except ValueError as error:
        raise unfit("detector", model, str(error)) from error


def make_embedder(model: LoadedModel) -> Embedder:
    """The embedder on its model. Raises InputError where the model is none for aligned faces."""
    picture = model.manifest.input
    if (picture.width_px, picture.height_px) != (CROP_PX, CROP_PX):
        size = f"{picture.width_px}x{picture.height_px}"
        raise unfit(
            "embedder", model, f"expected an input of {CROP_PX}x{CROP_PX} px, its manifest says {size}"
        )
    try:
        return Embedder(model.interpreter, model.normalisation)
    except ValueError as error:
        raise unfit("embedder", model, str(error)) from error


def unfit(task: str, model: LoadedModel, why: str) -> InputError:
    """The error of a model that loads, but not for what Porter does with it."""
    return InputError(
        f"models.{task}: {model.manifest.name}: {why}",
        hint="the models that ship with Porter fit: `porter models` lists them",
    )


def ns(seconds: float) -> int:
    """Nanoseconds of a duration in seconds."""
    return round(seconds * 1e9)
