# SPDX-License-Identifier: Apache-2.0
"""Which update may be installed now: asked by `porter update`, and by RAUC before any install, whatever started it."""

from __future__ import annotations

from device.config_upgrade import release
from device.errors import InputError, StorageError


def check_install(version: str, present: str, *, trial: bool, downgrade: bool) -> None:
    """version: the update's; present: what runs. Raises StorageError in a trial, InputError for an older version."""
    if trial:
        raise StorageError(
            "the running system is itself on trial",
            hint="wait until porter update --status says that it was kept",
        )
    if older(version, present) and not downgrade:
        raise InputError(
            f"{version} is older than {present}, which runs",
            hint="an older Porter may refuse what a newer one stored; porter update --allow-downgrade tries it",
        )


def older(one: str, other: str) -> bool:
    """Whether a version is older, by the numbers it begins with: 0.2.0+gabc is newer than 0.1.9."""
    return release(one) < release(other)
