# SPDX-License-Identifier: Apache-2.0
"""What RAUC asks of Porter around an install (system.conf, [handlers]), whatever started that: a person, or a server.

RAUC has checked the bundle's signature and mounted it; its manifest is read from there, since RAUC itself answers
nothing while it installs. A refusal is an exit code, and its reason a line in RAUC's journal.
"""

from __future__ import annotations

import configparser
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from device.errors import InputError
from device.update_record import INSTALLED, INSTALLING, UpdateRecord
from device.update_rules import check_install

if TYPE_CHECKING:
    from device.update_record import UpdateBook

MANIFEST = "manifest.raucm"
PERMIT = Path("/run/porter-update/allow-downgrade")
MANIFEST_BYTES = 64 * 1024
SLOTS = {"2": "a", "3": "b"}  # by the boot partition's number, which is RAUC's bootname for a slot


@dataclass(frozen=True, slots=True)
class Running:
    """The system that installs. slot, primary: the one that runs and the one that boots next, `a` or `b`."""

    version: str
    slot: str
    primary: str
    boot: str
    broker: bool


def slot_of(bootname: str) -> str:
    """Raises InputError for a bootname that system.conf does not have."""
    if bootname not in SLOTS:
        raise InputError(f"{bootname!r}: expected a slot's bootname, 2 or 3")
    return SLOTS[bootname]


def bundle_version(mounted: Path) -> str:
    """The version that the mounted bundle's manifest says. Raises InputError."""
    file, manifest = mounted / MANIFEST, configparser.ConfigParser(interpolation=None, strict=False)
    try:
        with file.open(encoding="utf-8") as opened:
            manifest.read_string(opened.read(MANIFEST_BYTES))
    except (OSError, ValueError, configparser.Error) as error:
        raise InputError(f"{file}: cannot be read as a bundle's manifest: {error}") from error
    version = manifest.get("update", "version", fallback="").strip().strip('"')
    if not version:
        raise InputError(f"{file}: says no version", hint="flash.sh bundle writes one")
    return version


def before_install(mounted: Path, running: Running, book: UpdateBook, permit: Path = PERMIT) -> None:
    """Refuses by raising InputError or StorageError, or remembers that an install begins."""
    version = bundle_version(mounted)
    check_install(
        version,
        running.version,
        trial=running.slot != running.primary,
        downgrade=_permitted(permit, version),
    )
    last = book.read()
    book.write(
        UpdateRecord(
            version,
            running.version,
            INSTALLING,
            running.broker,
            boot=running.boot,
            slot="b" if running.slot == "a" else "a",
            failed=last.failed if last is not None else "",
        )
    )


def after_install(mounted: Path, running: Running, book: UpdateBook) -> None:
    """Remembers that the next reboot tries it. Raises InputError, StorageError."""
    last = book.read()
    if last is None or (last.outcome, last.version) != (INSTALLING, bundle_version(mounted)):
        raise InputError("no such install was begun", hint="both handlers belong into RAUC's system.conf")
    book.write(replace(last, outcome=INSTALLED, boot=running.boot))


def _permitted(permit: Path, version: str) -> bool:
    """Whether `porter update --allow-downgrade` has just asked for this very version; good once."""
    try:
        said = permit.read_text("utf-8").strip()
        permit.unlink()
    except (OSError, UnicodeDecodeError):
        return False
    return said == version
