# SPDX-License-Identifier: Apache-2.0
"""Finds out in a child process whether a delegate works: loads it with a model and runs that once.

A libedgetpu built for another TFLite does not raise: it is a segmentation fault (google-coral/edgetpu#812). In a
child that is an answer; in the service it would be a restart loop.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from device.errors import HardwareError

if TYPE_CHECKING:
    from collections.abc import Mapping

CHILD = Path(__file__).with_name("delegate_child.py")
MARK = "porter-probe "
MAX_BYTES = 65_536

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


class DelegateProbe:
    """One child that runs `model` once with the delegate: begun when made, asked by `poll`. Failing is an answer.

    runtime_module: e.g. `ai_edge_litert.interpreter`. timeout_s: a USB stick's first start uploads its firmware, which
    takes seconds. The child has this process's environment and is killed when its time is over.
    """

    def __init__(
        self,
        model: Path,
        *,
        runtime_module: str,
        library: str,
        options: Mapping[str, str],
        timeout_s: float = 20.0,
        python: str = sys.executable,
    ) -> None:
        asked = {
            "runtime": runtime_module,
            "library": library,
            "options": dict(options),
            "model": str(model),
            "ends_after_s": math.ceil(timeout_s) + 2,
        }
        self._timeout_s = timeout_s
        self._ends = time.monotonic() + timeout_s
        self._result: ProbeResult | None = None
        # In memory and not pipes, which a library that talks much would fill while nobody reads.
        self._said, self._errors = os.memfd_create("said"), os.memfd_create("errors")
        try:
            self._child = subprocess.Popen(
                [python, "-P", str(CHILD), json.dumps(asked)],
                stdin=subprocess.DEVNULL,
                stdout=self._said,
                stderr=self._errors,
            )
        except OSError as error:
            self._end(ProbeResult("untried", f"the probe could not be started: {error}"))

    def poll(self) -> ProbeResult | None:
        """What it found; None where it is not done."""
        if self._result is not None:
            return self._result
        if self._child.poll() is not None:
            return self._end(self._found(self._child.returncode))
        if time.monotonic() < self._ends:
            return None
        self.stop()
        return self._end(ProbeResult("timeout", f"no answer within {self._timeout_s:g} s"))

    def wait(self) -> ProbeResult:
        """Waits for what it finds."""
        if self._result is None:
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(max(0.0, self._ends - time.monotonic()))
        return self.poll() or self.wait()

    def stop(self) -> None:
        """Kills the child where it still runs."""
        if self._result is None and self._child.poll() is None:
            self._child.kill()
            self._child.wait()

    def _found(self, code: int) -> ProbeResult:
        for line in reversed(_text(self._said).splitlines()):
            if line.startswith(MARK):
                verdict, text = json.loads(line.removeprefix(MARK))
                return ProbeResult(verdict, text)
        if code < 0:
            return ProbeResult("crashed", _signal_name(-code))
        last = _text(self._errors).strip().rpartition("\n")[2]
        return ProbeResult("untried", f"the probe ended with code {code}: {last}")

    def _end(self, result: ProbeResult) -> ProbeResult:
        os.close(self._said)
        os.close(self._errors)
        self._result = result
        return result


def _text(file: int) -> str:
    """The last of what was written to a file in memory."""
    size = os.fstat(file).st_size
    return os.pread(file, MAX_BYTES, max(0, size - MAX_BYTES)).decode("utf-8", "replace")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
