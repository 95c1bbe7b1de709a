# SPDX-License-Identifier: Apache-2.0
"""From a `Config` to the parts that see: the pipeline. Used by the vision service, replay and bench.

Nothing here starts a thread or opens a database. The camera's part is camera_assembly.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from device.errors import InputError
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

if TYPE_CHECKING:
    from collections.abc import Callable

    from device.adapters.models_folder import Variant
    from device.loaded_models import LoadedModel, Models
    from device.options import Config


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
