# SPDX-License-Identifier: Apache-2.0
"""Which configuration a command goes by. Not in `common.py`: what speaks MQTT must not reach the control socket."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from device.config import load
from device.options import Config

if TYPE_CHECKING:
    import argparse

DEFAULT_CONFIG = Path("/etc/porter/porter.yaml")


def service_config(args: argparse.Namespace, default: Path = DEFAULT_CONFIG) -> Config:
    """The configuration of `--config`, of `default` where that is there, or of a device without either."""
    named: Path | None = args.config
    return load(named or default) if named or there(default) else Config()


def there(path: Path) -> bool:
    """Whether there is a file, readable or not: `load` says what is wrong with it."""
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True
