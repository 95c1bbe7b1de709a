# SPDX-License-Identifier: Apache-2.0
"""The two models of a configuration: on the CPU, on the Edge TPU, or on the CPU since the Edge TPU is lost.

Nothing here starts a thread or opens a camera or a database.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from device.adapters.clock import SystemClock
from device.adapters.edgetpu_lock import LOCK, EdgeTpuLock
from device.adapters.models_folder import check_file, default_folder, load_manifest, pick_variant
from device.edgetpu import DelegateOptions, EdgeTpu
from device.errors import InputError
from device.inference import open_on_cpu, open_on_edgetpu
from device.payloads import InferenceTimes, ModelHashes, ModelInfo
from device.vision.tensors import Normalisation

if TYPE_CHECKING:
    from device.adapters.models_folder import Manifest, Variant
    from device.edgetpu import PortReset
    from device.errors import HardwareError
    from device.inference import Opened
    from device.options import Config
    from device.ports import Clock, Interpreter


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
    """Loads both models as configured, for a program that works for a while: the service cares for its Edge TPU itself.

    Raises InputError (model, file) or HardwareError (the Edge TPU, and `fallback` is `none`).
    """
    if config.inference.delegate == "cpu":
        return cpu_models(config)
    tpu = make_edgetpu(config, SystemClock(), "porter")
    models = edgetpu_models(config, tpu)
    tpu.start()
    return models if tpu.lost is None else fallen_back(config, tpu.lost)


def cpu_models(config: Config, lost: HardwareError | None = None) -> Models:
    """Both on the CPU. lost: why, where they should be on the Edge TPU."""
    return Models(*(_on_cpu(config, manifest, lost) for manifest in manifests(config)))


def edgetpu_models(config: Config, tpu: EdgeTpu) -> Models:
    """Both on the Edge TPU, as soon as it is in use. What the fallback would need is checked now."""
    detector, embedder = manifests(config)
    if config.inference.fallback == "cpu":
        for manifest in (detector, embedder):
            check_file(models_folder(config), manifest, pick_variant(manifest, "cpu"))
    return Models(_on_edgetpu(config, detector, tpu), _on_edgetpu(config, embedder, tpu))


def fallen_back(config: Config, lost: HardwareError) -> Models:
    """Both on the CPU, where the configuration allows it; else raises `lost`."""
    if config.inference.fallback != "cpu":
        raise lost
    return cpu_models(config, lost)


def models_for(new: Config, old: Config, running: Models) -> Models:
    """The models of a changed configuration: those that run where they are still right, else newly loaded ones.

    On the Edge TPU nothing can change under a running service: it has one owner. Raises as `load_models` does.
    """
    if (new.models, new.inference) == (old.models, old.inference):
        return running
    if new.inference.delegate == "edgetpu":
        raise InputError(
            "models, inference: cannot change while the Edge TPU is in use",
            hint="systemctl restart porter-vision",
        )
    return load_models(new)


def models_folder(config: Config) -> Path:
    """Where the configured models are."""
    return Path(config.models.folder) if config.models.folder else default_folder()


def make_edgetpu(config: Config, clock: Clock, what: str, reset: PortReset | None = None) -> EdgeTpu:
    """The configured Edge TPU, not yet taken. what: who has it, for others that want it."""
    options = config.inference
    how = DelegateOptions(options.edgetpu_library, options.edgetpu_device, options.runtime, options.threads)
    return EdgeTpu(how, EdgeTpuLock(Path(config.device.run_dir) / LOCK, what), clock, reset=reset)


def manifests(config: Config) -> tuple[Manifest, Manifest]:
    """The detector's and the embedder's. Raises InputError."""
    return (
        manifest_for(config, config.models.detector, "detector"),
        manifest_for(config, config.models.embedder, "embedder"),
    )


def manifest_for(config: Config, name: str, task: str) -> Manifest:
    """A model's manifest; it must be for `task`. Raises InputError."""
    manifest = load_manifest(models_folder(config), name)
    if manifest.task != task:
        raise InputError(
            f"models.{task}: {name}: its manifest says {manifest.task}",
            hint=f"name a {task}: `porter models` lists what there is",
        )
    return manifest


def load_model(config: Config, name: str, task: str) -> LoadedModel:
    """Loads one model, which must be for `task`. Raises as `load_models` does."""
    manifest = manifest_for(config, name, task)
    if config.inference.delegate == "cpu":
        return _on_cpu(config, manifest, None)
    tpu = make_edgetpu(config, SystemClock(), "porter")
    model = _on_edgetpu(config, manifest, tpu)
    tpu.start()
    if tpu.lost is None:
        return model
    if config.inference.fallback != "cpu":
        raise tpu.lost
    return _on_cpu(config, manifest, tpu.lost)


def _on_cpu(config: Config, manifest: Manifest, lost: HardwareError | None) -> LoadedModel:
    options = config.inference
    opened = open_on_cpu(
        models_folder(config), manifest, runtime=options.runtime, threads=options.threads, lost=lost
    )
    return LoadedModel(manifest, opened)


def _on_edgetpu(config: Config, manifest: Manifest, tpu: EdgeTpu) -> LoadedModel:
    return LoadedModel(manifest, open_on_edgetpu(models_folder(config), manifest, tpu))
