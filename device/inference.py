# SPDX-License-Identifier: Apache-2.0
"""From a model's name to an interpreter that runs it where the configuration says, or an error that says why not.

Never silently something else: with `delegate="edgetpu"` and `fallback="cpu"` a lost Edge TPU gives the CPU variant
*and* the reason, for the alert. A model that was never compiled for the Edge TPU is an error even then: libedgetpu
would take it, leave every operator to the CPU and say nothing.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from device.adapters.delegate_probe import probe_delegate
from device.adapters.interpreter_tflite import TfliteInterpreter, find_runtime
from device.adapters.model_tflite import read_model
from device.adapters.models_folder import Manifest, check_file, load_manifest, pick_variant
from device.errors import HardwareError, InputError

if TYPE_CHECKING:
    from pathlib import Path

    from device.adapters.models_folder import Delegate, Task, Variant
    from device.ports import Interpreter


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that runs. `delegate` is the one that really runs it; `lost` says why it is not the one asked for."""

    manifest: Manifest
    variant: Variant
    interpreter: Interpreter
    delegate: Delegate
    lost: HardwareError | None = None


@dataclass(frozen=True, slots=True)
class Inference:
    """What models run on: the `inference` section of the configuration, as plain values.

    edgetpu_device: empty (the first), `usb`, `pci`, `usb:0` ... probe_timeout_s: see `probe_delegate`; `python` is the
    interpreter of the probe's child.
    """

    delegate: Delegate = "cpu"
    fallback: str = "none"
    runtime: str = "auto"
    threads: int = 2
    edgetpu_library: str = "libedgetpu.so.1"
    edgetpu_device: str = ""
    probe_timeout_s: float = 20.0
    python: str = sys.executable

    def load(self, folder: Path, name: str, task: Task, variant_name: str | None = None) -> LoadedModel:
        """Loads model `name` of `folder`, in the first variant for the delegate or in the one named.

        Raises InputError and ConfigError (manifest, file, tensors, runtime), HardwareError (the Edge TPU cannot be
        used and `fallback` is `none`).
        """
        manifest = load_manifest(folder, name)
        if manifest.task != task:
            raise InputError(
                f"model {name}: expected a {task}, found a {manifest.task}", hint="see `porter models`"
            )
        if self.delegate == "cpu":
            return self._on_cpu(folder, manifest, variant_name, None)
        try:
            return self._on_edgetpu(folder, manifest, variant_name)
        except HardwareError as lost:
            if self.fallback != "cpu":
                raise
            return self._on_cpu(folder, manifest, None, lost)

    def _on_cpu(
        self, folder: Path, manifest: Manifest, variant_name: str | None, lost: HardwareError | None
    ) -> LoadedModel:
        variant = pick_variant(manifest, "cpu", variant_name)
        interpreter = TfliteInterpreter(
            check_file(folder, manifest, variant),
            expected_input=variant.input_detail,
            expected_outputs=variant.output_details,
            runtime=self.runtime,
            threads=self.threads,
        )
        return LoadedModel(manifest, variant, interpreter, "cpu", lost)

    def _on_edgetpu(self, folder: Path, manifest: Manifest, variant_name: str | None) -> LoadedModel:
        variant = pick_variant(manifest, "edgetpu", variant_name)
        path = check_file(folder, manifest, variant)
        if not read_model(path).compiled:
            hint = (
                f"on an x86-64 machine: `edgetpu_compiler -s {path.name}`; then add the file it writes as the first "
                f"variant of {path.parent / 'model.toml'} with `delegates = ['edgetpu']`; or set `delegate: cpu`"
            )
            raise InputError(f"{path}: not compiled for the Edge TPU: the CPU would run all of it", hint=hint)
        options = {"device": self.edgetpu_device} if self.edgetpu_device else {}
        probe = probe_delegate(
            path,
            runtime_module=find_runtime(self.runtime),
            library=self.edgetpu_library,
            options=options,
            timeout_s=self.probe_timeout_s,
            python=self.python,
        )
        error = probe.error(self.edgetpu_library)
        if error is not None:
            raise error
        interpreter = TfliteInterpreter(
            path,
            expected_input=variant.input_detail,
            expected_outputs=variant.output_details,
            runtime=self.runtime,
            threads=self.threads,
            delegate_library=self.edgetpu_library,
            delegate_options=options,
        )
        return LoadedModel(manifest, variant, interpreter, "edgetpu", None)
