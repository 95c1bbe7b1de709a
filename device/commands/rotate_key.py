# SPDX-License-Identifier: Apache-2.0
"""Renew every key of the gallery and the secret basis of its references. Nobody has to enrol again; no score changes.

For when a copy of the gallery or its key may have been taken: neither opens what is written from now on. Where the
device key is the file `device.key` it is renewed as well. A credential is yours to replace: put the old one beside the
new one as `porter.device-key.previous` and restart porter-vision, which renews everything (docs/privacy.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from device.commands.common import add_service_arguments, client
from device.control import Rotated, RotateRequest

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    add_service_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Renews; 0 done."""
    done = client(args).ask(RotateRequest(), Rotated)
    also = "and the device key are" if done.device_key else "are"
    print(
        f"the gallery's keys, its basis {also} new; subjects whose references were sealed anew: {done.subjects}"
    )
    if not done.device_key:
        print("the device key is a credential: docs/privacy.md says how to replace it")
    return 0
