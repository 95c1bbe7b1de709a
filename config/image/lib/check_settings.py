# SPDX-License-Identifier: Apache-2.0
"""Settings files in a folder, checked by the very code that checks them on the device; one line for each problem.

check_settings.py FOLDER. Exit codes: 0 all can be taken, 2 not, 3 this Python lacks what Porter needs.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
try:
    from device.card_settings import setting_for
    from device.errors import InputError
except ImportError:
    sys.exit(3)

bad = False
for file in sorted(Path(sys.argv[1]).iterdir()):
    setting = setting_for(file.name)
    if setting is None:
        continue
    data = file.read_bytes()
    try:
        setting.check(data)
    except InputError as error:
        bad = True
        where = "" if str(error).startswith(setting.name) else f"{setting.name}: "
        print(f"flash.sh: {where}{error}", file=sys.stderr)
sys.exit(2 if bad else 0)
