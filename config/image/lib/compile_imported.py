# SPDX-License-Identifier: Apache-2.0
"""Imports what both services import, so that it is compiled: a read-only root cannot do that at its first start.

Runs inside the image's root while it is made. All of the wheels would take minutes under emulation; most of them is
never imported. Python writes what it compiles beside the source, with the source's time, which is fixed by then.
"""

import importlib

from device.cli import VERBS

WHEELS = ("ai_edge_litert.interpreter", "av")
LOCAL = ("demo", "evaluate", "bench", "bench-delivery", "fleet")  # not on a device

for name in WHEELS:
    importlib.import_module(name)
for word, verb in VERBS.items():
    if word not in LOCAL:
        importlib.import_module(verb.module)
