# SPDX-License-Identifier: Apache-2.0
"""From a manifest to an interpreter that runs the model where the configuration says, or an error that says why not.

Never silently something else: who opens a model for the CPU because the Edge TPU is lost says so (`Opened.lost`), for
the alert. A model that was never compiled for the Edge TPU is an error even then: libedgetpu would take it, leave every
operator to the CPU and say nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from device.adapters.interpreter_tflite import TfliteInterpreter
from device.adapters.model_tflite import read_model
from device.adapters.models_folder import check_file, pick_variant
from device.errors import HardwareError, InputError
from device.inference_times import TimedInterpreter

if TYPE_CHECKING:
    from pathlib import Path

    from device.adapters.models_folder import Delegate, Manifest, Variant
    from device.edgetpu import EdgeTpu


@dataclass(frozen=True, slots=True)
class Opened:
    """A model that runs. `delegate` is what really runs it; `lost` says why it is not the one asked for."""

    variant: Variant
    interpreter: TimedInterpreter
    delegate: Delegate
    lost: HardwareError | None = None


def open_on_cpu(
    folder: Path,
    manifest: Manifest,
    *,
    runtime: str = "auto",
    threads: int = 1,
    variant: str | None = None,
    lost: HardwareError | None = None,
) -> Opened:
    """Opens `manifest`'s first variant for the CPU, or the one named `variant`, after checking its file.

    Raises InputError (file, tensors, runtime).
    """
    chosen = pick_variant(manifest, "cpu", variant)
    interpreter = TfliteInterpreter(
        check_file(folder, manifest, chosen),
        expected_input=chosen.input_detail,
        expected_outputs=chosen.output_details,
        runtime=runtime,
        threads=threads,
    )
    return Opened(chosen, TimedInterpreter(interpreter), "cpu", lost)


def open_on_edgetpu(folder: Path, manifest: Manifest, tpu: EdgeTpu, *, variant: str | None = None) -> Opened:
    """The same for the Edge TPU; it runs as soon as and as long as `tpu` is in use.

    Raises InputError (file, not compiled).
    """
    chosen = pick_variant(manifest, "edgetpu", variant)
    path = check_file(folder, manifest, chosen)
    _require_compiled(path)
    return Opened(chosen, TimedInterpreter(tpu.interpreter(path, chosen)), "edgetpu")


def _require_compiled(path: Path) -> None:
    if read_model(path).compiled:
        return
    hint = (
        "on an x86-64 machine: models/compile.sh; name the folder it makes in `models.folder`; or use the CPU"
    )
    raise InputError(f"{path}: not compiled for the Edge TPU: the CPU would run all of it", hint=hint)
