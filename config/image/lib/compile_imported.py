# SPDX-License-Identifier: Apache-2.0
"""Compiles what both services import and nobody has compiled: a read-only root cannot do that at its first start.

Runs inside the image's root while it is made. All of the wheels would take minutes under emulation; most of them is
never imported.
"""

import importlib
import py_compile
import sys
from pathlib import Path

from device.cli import VERBS

WHEELS = ("ai_edge_litert.interpreter", "av")
LOCAL = ("demo", "evaluate", "bench", "bench-delivery", "fleet")  # not on a device

for name in WHEELS:
    importlib.import_module(name)
for word, verb in VERBS.items():
    if word not in LOCAL:
        importlib.import_module(verb.module)
for module in list(sys.modules.values()):
    source = getattr(module, "__file__", None) or ""
    if source.endswith(".py"):
        made = py_compile.compile(source, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
        Path(made or "").chmod(0o644)
