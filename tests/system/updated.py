# SPDX-License-Identifier: Apache-2.0
"""`porter forward`, the record of the last update in a test's folder: `python -m tests.system.updated RECORD ...`."""

from __future__ import annotations

import sys
from pathlib import Path

from device.adapters.clock import SystemClock
from device.config import load
from device.forward_service import ForwardService
from device.logs import setup_logging

if __name__ == "__main__":
    record, _verb, _option, config_path = sys.argv[1:]
    setup_logging("info", journal=False)
    ForwardService(
        Path(config_path), load(Path(config_path)), SystemClock(), None, last_update=Path(record)
    ).run()
