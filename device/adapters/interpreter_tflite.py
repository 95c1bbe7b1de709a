# SPDX-License-Identifier: Apache-2.0
"""The Interpreter on TFLite: ai-edge-litert or tflite-runtime, which share one Python API, with or without a delegate.

Surprises: `tensor()` views look cheaper than `get_tensor` and are not (0.6 against 0.5 us, measured), and one view that
anybody still holds makes the next `invoke` raise; so the outputs are copies, which nothing overwrites.
Loading a delegate that does not fit the runtime kills the process, not the call: ask `delegate_probe` first.
The runtime itself prints "INFO: Created TensorFlow Lite XNNPACK delegate for CPU." to standard error, once a process;
silencing it would mean redirecting the descriptor that the log is written to, so it stays.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from device.errors import HardwareError, InputError
from device.ports import TensorDetail

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

RUNTIMES = {"ai-edge-litert": "ai_edge_litert.interpreter", "tflite-runtime": "tflite_runtime.interpreter"}
UNRESOLVED = "unresolved custom op"


def is_installed(package: str) -> bool:
    """Whether `package` can be found; it is not imported."""
    return importlib.util.find_spec(package) is not None


def find_runtime(wanted: str = "auto", installed: Callable[[str], bool] = is_installed) -> str:
    """The module of the runtime `wanted`; `auto`: of the first installed one, LiteRT first. Raises InputError."""
    for name, module in RUNTIMES.items():
        if wanted in {"auto", name} and installed(module.partition(".")[0]):
            return module
    if wanted == "auto":
        hint = "`pip install ai-edge-litert`, or on Python 3.11 `pip install tflite-runtime 'numpy<2'`"
        raise InputError("inference.runtime: no TFLite runtime is installed", hint=hint)
    hint = f"`pip install {wanted}`" + (
        " (Python 3.11 or older, with 'numpy<2')" if wanted == "tflite-runtime" else ""
    )
    raise InputError(f"inference.runtime: the runtime {wanted} is not installed", hint=hint)


class TfliteInterpreter:
    """One .tflite model, loaded and checked against what its manifest says of the tensors.

    runtime: `auto`, `ai-edge-litert` or `tflite-runtime`. delegate_library: empty for the CPU, else the library of an
    external delegate, loaded with `delegate_options`. expected_input, expected_outputs: the manifest's tensors.
    Raises InputError (runtime missing, not a model, tensors other than the manifest's, a model compiled for the Edge
    TPU without it) and HardwareError (the delegate cannot be loaded or refuses the model).
    """

    def __init__(
        self,
        path: Path,
        *,
        expected_input: TensorDetail,
        expected_outputs: Mapping[str, TensorDetail],
        runtime: str = "auto",
        threads: int = 1,
        delegate_library: str = "",
        delegate_options: Mapping[str, str] | None = None,
    ) -> None:
        self._path = path
        module = _import_runtime(find_runtime(runtime))
        delegates = []
        if delegate_library:
            delegates = [_load_delegate(module, delegate_library, delegate_options or {})]
        try:
            self._interpreter = module.Interpreter(
                model_path=str(path), num_threads=threads, experimental_delegates=delegates
            )
            self._interpreter.allocate_tensors()
        except ValueError as error:
            raise InputError(f"{path}: not a model that TFLite can load: {_line(error)}") from error
        except RuntimeError as error:
            raise _refusal(path, delegate_library, error) from error

        raw_inputs, raw_outputs = _named(self._interpreter, expected_outputs)
        inputs = {name: _detail(name, raw) for name, raw in raw_inputs.items()}
        outputs = {name: _detail(name, raw) for name, raw in raw_outputs.items()}
        problems = differences(expected_input, expected_outputs, inputs, outputs)
        if problems:
            text = f"{path}: not the tensors of the manifest: " + "; ".join(problems)
            raise InputError(
                text, hint="the file and its model.toml belong to different builds: install both again"
            )
        self._input = inputs[expected_input.name]
        self._input_index = int(raw_inputs[expected_input.name]["index"])
        self._outputs = {name: outputs[name] for name in expected_outputs}
        self._output_indices = [(name, int(raw_outputs[name]["index"])) for name in expected_outputs]

    @property
    def input(self) -> TensorDetail:
        """The single input tensor."""
        return self._input

    @property
    def outputs(self) -> Mapping[str, TensorDetail]:
        """The output tensors by name."""
        return self._outputs

    def invoke(self, tensor: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
        """Runs the model; copies `tensor` in and the outputs out.

        Raises ValueError where `tensor` has another shape or dtype than the input, HardwareError where the run fails.
        """
        interpreter = self._interpreter
        interpreter.set_tensor(self._input_index, tensor)
        try:
            interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise HardwareError(f"{self._path.name}: inference failed: {_line(error)}") from error
        return {name: interpreter.get_tensor(index) for name, index in self._output_indices}


def differences(
    expected_input: TensorDetail,
    expected_outputs: Mapping[str, TensorDetail],
    inputs: Mapping[str, TensorDetail],
    outputs: Mapping[str, TensorDetail],
) -> list[str]:
    """What a file's tensors, by name, have other than the manifest's; both sides in each line."""
    problems = []
    for kind, expected, found in (
        ("input", {expected_input.name: expected_input}, inputs),
        ("output", expected_outputs, outputs),
    ):
        if set(expected) != set(found):
            problems.append(
                f"{kind}s: expected {', '.join(sorted(expected))}; found {', '.join(sorted(found))}"
            )
        problems += [
            f"{kind} {name}: expected {_described(expected[name])}; found {_described(found[name])}"
            for name in expected
            if name in found and not _same(expected[name], found[name])
        ]
    return problems


def _same(one: TensorDetail, other: TensorDetail) -> bool:
    """Equal, where a scale written in decimal may differ from the file's float32 in its last place."""
    return (one.shape, one.dtype, one.zero_point) == (
        other.shape,
        other.dtype,
        other.zero_point,
    ) and math.isclose(one.scale, other.scale, rel_tol=1e-6)


def _described(detail: TensorDetail) -> str:
    shape = "x".join(str(size) for size in detail.shape)
    return f"{detail.dtype} {shape}" + (
        f" scale {detail.scale:.9g} zero point {detail.zero_point}" if detail.scale else ""
    )


def _line(error: BaseException) -> str:
    """The runtimes' messages, which may have several lines, as one."""
    return " ".join(str(error).split())


def _import_runtime(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:  # installed, but e.g. tflite-runtime beside numpy 2
        hint = "tflite-runtime needs numpy<2" if name.startswith("tflite") else "install it again"
        raise InputError(
            f"inference.runtime: {name} cannot be imported: {_line(error)}", hint=hint
        ) from error


def _load_delegate(module: Any, library: str, options: Mapping[str, str]) -> Any:
    """Loads an external delegate into this process.

    The library is opened first on our own: the runtimes' Delegate class prints a traceback from `__del__` otherwise.
    """
    try:
        if not hasattr(ctypes.PyDLL(library), "tflite_plugin_create_delegate"):
            raise HardwareError(f"{library}: not a TFLite delegate: it has no tflite_plugin_create_delegate")
        return module.load_delegate(library, dict(options))
    except OSError as error:
        raise HardwareError(f"the delegate library cannot be loaded: {_line(error)}") from error
    except ValueError as error:
        raise HardwareError(f"the delegate refused: {_line(error)}") from error


def _refusal(path: Path, delegate_library: str, error: RuntimeError) -> HardwareError | InputError:
    if delegate_library:
        return HardwareError(f"{path.name}: {delegate_library} cannot run it: {_line(error)}")
    if UNRESOLVED in str(error):
        hint = "set `inference.delegate: edgetpu`, or use a variant for the CPU"
        return InputError(
            f"{path}: compiled for the Edge TPU, and cannot run without: {_line(error)}", hint=hint
        )
    return InputError(f"{path}: TFLite cannot prepare it: {_line(error)}")


Named = dict[str, Mapping[str, Any]]


def _named(interpreter: Any, expected_outputs: Mapping[str, TensorDetail]) -> tuple[Named, Named]:
    """Inputs and outputs by name: the tensors' own names or, where those are a converter's, the signature's."""
    inputs: Named = {str(raw["name"]): raw for raw in interpreter.get_input_details()}
    outputs: Named = {str(raw["name"]): raw for raw in interpreter.get_output_details()}
    if not set(expected_outputs) <= set(outputs) and len(interpreter.get_signature_list()) == 1:
        runner = interpreter.get_signature_runner()
        return runner.get_input_details(), runner.get_output_details()
    return inputs, outputs


def _detail(name: str, raw: Mapping[str, Any]) -> TensorDetail:
    quantisation = raw["quantization_parameters"]
    scales, zero_points = quantisation["scales"], quantisation["zero_points"]
    quantised = len(scales) == 1
    return TensorDetail(
        name=name,
        shape=tuple(int(size) for size in raw["shape"]),
        dtype=np.dtype(raw["dtype"]).name,
        scale=float(scales[0]) if quantised else 0.0,
        zero_point=int(zero_points[0]) if quantised else 0,
    )
