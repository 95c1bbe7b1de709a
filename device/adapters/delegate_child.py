# SPDX-License-Identifier: Apache-2.0
"""The child process of `delegate_probe`: loads a delegate and a model, runs the model once, says how it went.

Run as a file, on purpose without Porter's own modules: it starts faster, and whatever breaks here is the runtime or
the delegate. It may be killed by the delegate it loads; that is what it is for.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import resource
import signal
import sys

import numpy as np

MARK = "porter-probe "


def examine(runtime: str, library: str, options: dict[str, str], model: str) -> tuple[str, str]:
    """Returns (verdict, text); the verdicts are those of `delegate_probe.ProbeResult`."""
    module = importlib.import_module(runtime)
    try:
        if not hasattr(ctypes.PyDLL(library), "tflite_plugin_create_delegate"):
            return "refused", f"{library} is not a TFLite delegate: it has no tflite_plugin_create_delegate"
        delegate = module.load_delegate(library, options)
    except OSError as error:
        return "missing", str(error)
    except ValueError as error:
        return "refused", str(error)
    try:
        interpreter = module.Interpreter(model_path=model, experimental_delegates=[delegate])
        interpreter.allocate_tensors()
        (detail,) = interpreter.get_input_details()
        interpreter.set_tensor(detail["index"], np.zeros(detail["shape"], detail["dtype"]))
        interpreter.invoke()
    except (RuntimeError, ValueError) as error:
        return "failed", str(error)
    return "ok", ""


def main() -> None:
    """Takes one JSON object as argument and prints one marked line: libraries print to standard output too."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash here is an answer, not worth a core file
    asked = json.loads(sys.argv[1])
    signal.alarm(
        asked.pop("ends_after_s")
    )  # also where nobody is left to kill it: it would keep the Edge TPU
    verdict, text = examine(**asked)
    print(f"\n{MARK}{json.dumps([verdict, ' '.join(text.split())])}", flush=True)
    os._exit(0)  # a delegate that refused may still crash in its destructor


if __name__ == "__main__":
    main()
