# SPDX-License-Identifier: Apache-2.0
"""Plays `edgetpu_compiler` 16.0 for models/compile.sh: what it prints and logs has the form of the real one.

The form is that of the outputs in google-coral/edgetpu's issues 427, 572, 671 and 903. STUB_COMPILER in the environment
says what becomes of it: full, partial, failed, aborted, short-log, empty-log, no-log. The compiled file is one that the
tests' stub of libedgetpu runs.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.edgetpu_models import compile_as_copy

VERSION = "Edge TPU Compiler version 16.0.384591198"
SAID = """
Model compiled successfully in 2270 ms.

Input model: {source}
Input size: 116.27KiB
Output model: {base}_edgetpu.tflite
Output size: 209.05KiB
On-chip memory used for caching model parameters: {on_chip}
On-chip memory remaining for caching model parameters: 1.02MiB
Off-chip memory used for streaming uncached model parameters: {off_chip}
Number of Edge TPU subgraphs: 1
Total number of operations: {total}
Operation log: {base}_edgetpu.log
"""
PARTIAL = """
Model successfully compiled but not all operations are supported by the Edge TPU. A percentage of the model will \
instead run on the CPU, which is slower. If possible, consider updating your model to use only operations supported \
by the Edge TPU. For details, visit g.co/coral/model-reqs.
Number of operations that will run on Edge TPU: {mapped}
Number of operations that will run on CPU: {other}
"""
HEAD = "Operator                       Count      Status\n\n"


def table(*, partial: bool) -> tuple[str, int, int]:
    """The operators' table, how many are mapped, how many not."""
    rows = [("CONV_2D", 27, "Mapped to Edge TPU"), ("DEPTHWISE_CONV_2D", 13, "Mapped to Edge TPU")]
    if partial:
        why = "Operation is otherwise supported, but not mapped due to some unspecified limitation"
        rows += [("TRANSPOSE", 2, why), ("LOGISTIC", 1, "More than one subgraph is not supported")]
    text = HEAD + "".join(f"{name:<31}{count:<11}{status}\n" for name, count, status in rows)
    other = sum(count for _, count, status in rows if not status.startswith("Mapped"))
    return text, 40, other


def main() -> int:
    """As the real one is called: `-s -o FOLDER A.tflite B.tflite`, or `--version`."""
    how = os.environ.get("STUB_COMPILER", "full")
    if sys.argv[1:] == ["--version"]:
        print(VERSION)
        return 0
    assert sys.argv[1:3] == ["-s", "-o"]
    folder, sources = Path(sys.argv[3]), [Path(name) for name in sys.argv[4:]]
    print(VERSION)
    print("Started a compilation timeout timer of 180 seconds.")
    if how == "failed":
        print("Compilation child process completed within timeout period.\nCompilation failed! ")
        return 1
    if how == "aborted":
        print("Internal compiler error. Aborting! ")
        return 0
    for number, source in enumerate(sources):
        base = source.stem
        text, mapped, other = table(partial=how == "partial" and number == 1)
        sizes = ("108.50KiB", "0.00B") if number == 0 else ("6.91MiB", "2.40MiB")
        said = SAID.format(
            source=source, base=base, total=mapped + other, on_chip=sizes[0], off_chip=sizes[1]
        )
        print(said, end="")
        if other:
            print(PARTIAL.format(mapped=mapped, other=other), end="")
        print("\n" + text, end="")
        compile_as_copy(source, folder / f"{base}_edgetpu.tflite")
        log = f"{VERSION}\nInput: {source}\nOutput: {folder}/{base}_edgetpu.tflite\n\n{text}"
        if how == "short-log" and number == 1:
            log = log[: log.index("DEPTHWISE")]
        if how == "empty-log" and number == 1:
            log = log[: log.index("Operator")]
        if how != "no-log" or number == 0:
            (folder / f"{base}_edgetpu.log").write_text(log)
    print("Compilation child process completed within timeout period.\nCompilation succeeded! ")
    return 0


if __name__ == "__main__":
    sys.exit(main())
