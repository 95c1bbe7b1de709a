# SPDX-License-Identifier: Apache-2.0
"""Whether the configured models' files are what their manifests say: size, hash, and the tensors inside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from device.adapters.interpreter_tflite import differences
from device.adapters.model_tflite import read_model
from device.adapters.models_folder import check_file, load_manifest, pick_variant
from device.checkup.finding import Finding
from device.errors import PorterError
from device.loaded_models import models_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from device.options import Config


def model_findings(config: Config) -> Iterator[Finding]:
    """One for each of the two models. No runtime is loaded."""
    for task, name in (("detector", config.models.detector), ("embedder", config.models.embedder)):
        try:
            yield look_at(config, task, name)
        except PorterError as error:
            yield Finding("models", "wrong", error.message, error.hint)


def look_at(config: Config, task: str, name: str) -> Finding:
    """One model. Raises what the loader raises."""
    folder = models_folder(config)
    manifest = load_manifest(folder, name)
    variant = pick_variant(manifest, config.inference.delegate)
    path = check_file(folder, manifest, variant)
    if manifest.task != task:
        hint = f"name a {task}: `porter models` lists what there is"
        return Finding("models", "wrong", f"models.{task}: {name}: its manifest says {manifest.task}", hint)
    inputs, outputs = (model := read_model(path)).named(variant.outputs)
    wrong = differences(variant.input_detail, variant.output_details, inputs, outputs)
    if wrong:
        hint = "porter models shows both sides; install the models again"
        return Finding("models", "wrong", f"{path}: not the tensors of the manifest: {wrong[0]}", hint)
    if config.inference.delegate == "edgetpu" and not model.compiled:
        hint = "compile it with edgetpu_compiler (porter models NAME), or set `delegate: cpu`"
        return Finding("models", "wrong", f"{path}: not compiled for the Edge TPU", hint)
    return Finding("models", "ok", f"{name} ({variant.name}) is what its manifest says")
