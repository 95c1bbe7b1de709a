# SPDX-License-Identifier: Apache-2.0
"""From a manifest to an interpreter that runs the model where the configuration says, or an error that says why not.

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
from device.adapters.models_folder import check_file, pick_variant
from device.errors import HardwareError, InputError
from device.inference_times import TimedInterpreter

if TYPE_CHECKING:
    from pathlib import Path

    from device.adapters.models_folder import Delegate, Manifest, Variant


@dataclass(frozen=True, slots=True)
class Opened:
    """A model that runs. `delegate` is what really runs it; `lost` says why it is not the one asked for."""

    variant: Variant
    interpreter: TimedInterpreter
    delegate: Delegate
    lost: HardwareError | None = None

    @property
    def fallback(self) -> str:
        """The reason of a fallback as one line for an alert; empty where all is as asked. Its hint is `lost.hint`."""
        return "" if self.lost is None else self.lost.message


def open_interpreter(
    folder: Path,
    manifest: Manifest,
    *,
    delegate: Delegate,
    fallback: str = "none",
    runtime: str = "auto",
    threads: int = 1,
    library: str = "libedgetpu.so.1",
    device: str = "",
    variant: str | None = None,
    probed: bool = False,
    probe_timeout_s: float = 20.0,
    python: str = sys.executable,
) -> Opened:
    """Opens `manifest`'s first variant for `delegate`, or the one named `variant`, after checking its file.

    library, device: the Edge TPU's delegate library, and which one (empty: the first). python runs the probe's child.
    probed: this process runs a model on that Edge TPU already, so the library is known to work, and a child that tried
    it now would make our transfers fail (google-coral/edgetpu#237): there is no probe.
    Raises InputError (file, tensors, runtime, not compiled) and HardwareError (the Edge TPU cannot be used and
    `fallback` is `none`).
    """
    if delegate == "cpu":
        return Opened(*_on_cpu(folder, manifest, variant, runtime, threads), "cpu")
    chosen = pick_variant(manifest, "edgetpu", variant)
    path = check_file(folder, manifest, chosen)
    _require_compiled(path)
    options = {"device": device} if device else {}
    try:
        if not probed:
            probe = probe_delegate(
                path,
                runtime_module=find_runtime(runtime),
                library=library,
                options=options,
                timeout_s=probe_timeout_s,
                python=python,
            )
            if (error := probe.error(library)) is not None:
                raise error
        interpreter = TfliteInterpreter(
            path,
            expected_input=chosen.input_detail,
            expected_outputs=chosen.output_details,
            runtime=runtime,
            threads=threads,
            delegate_library=library,
            delegate_options=options,
        )
    except HardwareError as lost:
        if fallback != "cpu":
            raise
        return Opened(*_on_cpu(folder, manifest, None, runtime, threads), "cpu", lost)
    return Opened(chosen, TimedInterpreter(interpreter), "edgetpu")


def _on_cpu(
    folder: Path, manifest: Manifest, name: str | None, runtime: str, threads: int
) -> tuple[Variant, TimedInterpreter]:
    variant = pick_variant(manifest, "cpu", name)
    interpreter = TfliteInterpreter(
        check_file(folder, manifest, variant),
        expected_input=variant.input_detail,
        expected_outputs=variant.output_details,
        runtime=runtime,
        threads=threads,
    )
    return variant, TimedInterpreter(interpreter)


def _require_compiled(path: Path) -> None:
    if read_model(path).compiled:
        return
    hint = (
        f"on an x86-64 machine: `edgetpu_compiler -s {path.name}`; then write the file it makes into "
        f"{path.parent / 'model.toml'} as the first variant, with `delegates = ['edgetpu']`; or set `delegate: cpu`"
    )
    raise InputError(f"{path}: not compiled for the Edge TPU: the CPU would run all of it", hint=hint)
