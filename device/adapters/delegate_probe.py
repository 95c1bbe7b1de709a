# SPDX-License-Identifier: Apache-2.0
"""Finds out in a child process whether a delegate works: loads it with a model and runs that once.

A libedgetpu built for another TFLite does not raise: it is a segmentation fault (google-coral/edgetpu#812). In a
child that is an answer; in the service it would be a restart loop.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from device.errors import HardwareError

if TYPE_CHECKING:
    from collections.abc import Mapping

CHILD = Path(__file__).with_name("delegate_child.py")
MARK = "porter-probe "

Verdict = Literal["ok", "missing", "refused", "failed", "crashed", "timeout", "untried"]

# What went wrong, and what to do: by verdict.
ADVICE: dict[str, tuple[str, str]] = {
    "missing": (
        "the library cannot be loaded",
        "install libedgetpu (package libedgetpu1-std), name it in `inference.edgetpu_library`, or set `delegate: cpu`",
    ),
    "refused": (
        "no Edge TPU answers",
        "plug it in: `lsusb` must show 1a6e:089a or 18d1:9302 (PCIe: /dev/apex_0); and check that this user may use it",
    ),
    "failed": (
        "it does not run the model",
        "compile the model for this Edge TPU runtime (`edgetpu_compiler --min_runtime_version`), or update libedgetpu",
    ),
    "crashed": (
        "it crashed; most likely this libedgetpu was built for another TFLite",
        "pairs that work: tflite-runtime 2.14 with libedgetpu 16.0 for TF 2.14; ai-edge-litert 2 with one for TF 2.17+",
    ),
    "timeout": ("it does not answer", "unplug it and plug it in again; use a powered port"),
    "untried": (
        "it could not be tried",
        "see what the probe said; free memory and file handles are the usual lack",
    ),
}


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """How a delegate did. `text` is what it or the system said, one line."""

    verdict: Verdict
    text: str = ""

    def error(self, library: str) -> HardwareError | None:
        """The verdict as an error with its hint; None where all is well."""
        if self.verdict == "ok":
            return None
        what, hint = ADVICE[self.verdict]
        said = f" ({self.text})" if self.text else ""
        return HardwareError(f"Edge TPU: {library}: {what}{said}", hint=hint)


def probe_delegate(
    model: Path,
    *,
    runtime_module: str,
    library: str,
    options: Mapping[str, str],
    timeout_s: float = 20.0,
    python: str = sys.executable,
) -> ProbeResult:
    """Runs `model` once with the delegate, in a child of its own. Never raises for what the delegate does.

    runtime_module: e.g. `ai_edge_litert.interpreter`. timeout_s: a USB stick's first start uploads its firmware, which
    takes seconds. The child has this process's environment and is killed when its time is over.
    """
    asked = {"runtime": runtime_module, "library": library, "options": dict(options), "model": str(model)}
    command = [python, "-P", str(CHILD), json.dumps(asked)]
    try:
        child = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
            text=True,
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        return ProbeResult("timeout", f"no answer within {timeout_s:g} s")
    except OSError as error:
        return ProbeResult("untried", f"the probe could not be started: {error}")
    for line in reversed(child.stdout.splitlines()):
        if line.startswith(MARK):
            verdict, text = json.loads(line.removeprefix(MARK))
            return ProbeResult(verdict, text)
    if child.returncode < 0:
        return ProbeResult("crashed", _signal_name(-child.returncode))
    last = child.stderr.strip().rpartition("\n")[2]
    return ProbeResult("untried", f"the probe ended with code {child.returncode}: {last}")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
