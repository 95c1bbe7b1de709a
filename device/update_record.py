# SPDX-License-Identifier: Apache-2.0
"""What is remembered of an update, from its first byte to the decision: one small file on the data partition.

    installing -> installed -> trying -> kept | fell back        and, where the power went: interrupted, not tried

RAUC's handlers write the first two, whatever started the install; `trying` is written by the old system as it goes down
for the reboot that tries the update, and by the tried one as it comes up. Each record has the boot it was written in:
what is found in a later boot tells what happened. A copy lies in /run for the forwarder, which has no business on the
data partition.
"""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec
from msgspec.structs import replace

from device.durable import write_whole
from device.errors import StorageError

log = logging.getLogger("porter.update")

RECORD = Path("/data/update/last.json")
SHOWN = Path("/run/porter-update/last.json")

INSTALLING, INSTALLED, TRYING, KEPT = "installing", "installed", "trying", "kept"
FELL_BACK, INTERRUPTED, NOT_TRIED = "fell back", "interrupted", "not tried"


class UpdateRecord(msgspec.Struct, frozen=True):
    """The last update. Fields may be added, never taken away or changed: an older Porter reads what a newer one wrote.

    outcome: one of the words above; a text, so that an older Porter can read a newer one's. broker: whether the broker
    was reached before it. why: what a trial failed on. boot: the boot in which this was written; slot: where the update
    lies, `a` or `b`. failed: the last update that fell back, and why, until one is kept or somebody acknowledges it.
    """

    version: str
    from_version: str
    outcome: str
    broker: bool
    why: str = ""
    boot: str = ""
    slot: str = ""
    failed: str = ""


class UpdateBook:
    """The record on the data partition, and its copy in /run."""

    def __init__(self, path: Path = RECORD, shown: Path = SHOWN) -> None:
        self._path, self._shown = path, shown

    def read(self) -> UpdateRecord | None:
        """The record; None where there was no update, or what is there is damaged."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=UpdateRecord)
        except (OSError, msgspec.MsgspecError):
            return None

    def write(self, record: UpdateRecord) -> None:
        """Whole or not at all. Raises StorageError."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._path, msgspec.json.encode(record), 0o644)
        except OSError as error:
            raise StorageError(f"{self._path}: cannot be written: {error.strerror}") from error
        self.show(record)

    def show(self, record: UpdateRecord) -> None:
        """The copy alone: what went wrong with it is logged, since nothing is decided by it."""
        try:
            self._shown.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            write_whole(self._shown, msgspec.json.encode(record), 0o644)
        except OSError as error:
            log.warning("update_not_shown path=%s error=%r", self._shown, error.strerror)


def fell_back(record: UpdateRecord, why: str) -> UpdateRecord:
    """The record of an update that was not kept."""
    return replace(record, outcome=FELL_BACK, why=why, failed=f"{record.version}: {why}")


def kept(record: UpdateRecord) -> UpdateRecord:
    """The record of an update that stays."""
    return replace(record, outcome=KEPT, why="", failed="")


def found_later(last: UpdateRecord, booted: str, boot: str) -> UpdateRecord:
    """What a boot that tries nothing makes of the record. booted: the slot that runs and stays; boot: this boot."""
    if last.boot == boot:
        return last
    if last.outcome in (INSTALLED, TRYING) and last.slot == booted:
        return kept(last)  # the power went between the decision and its record
    if last.outcome == TRYING:
        return fell_back(last, "it did not come up, or lost its power before it was kept")
    if last.outcome == INSTALLED:
        why = "the device went down without the reboot that tries it (power, reset): install it again"
        return replace(last, outcome=NOT_TRIED, why=why)
    if last.outcome == INSTALLING:
        why = "the device went down while it was installed, or the install failed: install it again"
        return replace(last, outcome=INTERRUPTED, why=why)
    return last
