# SPDX-License-Identifier: Apache-2.0
"""A rauc that says what it is told to, and a device that decides by it, for the tests of updates."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from device.adapters.slots_rauc import RaucSlots
from device.commands.commit import Decision
from device.errors import StorageError
from device.update_record import UpdateBook, UpdateRecord

if TYPE_CHECKING:
    from collections.abc import Iterator

BOARD = "porter-rpi4-debian"
BOOT = "b0070002"
LAST = UpdateRecord("0.2.0", "0.1.0", "installed", broker=True, boot="b0070001", slot="b")


class ScriptedRauc:
    """Says what rauc says, of a device that runs one slot and boots another; keeps what it was asked."""

    def __init__(
        self, *, booted: str = "a", primary: str = "a", version: str = "0.2.0", board: str = BOARD
    ) -> None:
        self.booted, self.primary, self.version, self.board = booted, primary, version, board
        self.asked: list[tuple[str, ...]] = []
        self.broken = ""

    def run(self, *arguments: str) -> Iterator[str]:
        self.asked.append(arguments)
        if self.broken:
            raise StorageError(f"rauc {arguments[0]}: {self.broken}")
        if arguments[:2] == ("status", "mark-good"):
            yield "rauc status: marked slot(s) rootfs.1 as good"
        elif arguments[0] == "status":
            yield json.dumps(self.status())
        elif arguments[0] == "info":
            yield "a word before"
            yield json.dumps({"compatible": self.board, "version": self.version})
        else:
            yield from ("installing", "  0% Installing", " 40% Copying image", "100% Installing done.")

    def status(self) -> dict[str, object]:
        slots = []
        for number, letter in enumerate("ab"):
            state = "booted" if letter == self.booted else "inactive"
            bundle = {"bundle": {"version": "0.1.0"}} if letter == "a" else {}
            slots.append({f"rootfs.{number}": {"class": "rootfs", "state": state, "slot_status": bundle}})
            slots.append({f"boot.{number}": {"class": "boot", "state": "inactive"}})
        return {
            "compatible": BOARD,
            "booted": "2",
            "boot_primary": f"rootfs.{'ab'.index(self.primary)}",
            "slots": slots,
        }


class Device:
    """A device that runs one slot and boots another, and what `porter commit` did to it, in order."""

    def __init__(self, book: UpdateBook, rauc: ScriptedRauc) -> None:
        self.book, self.rauc = book, rauc
        self.done: list[str] = []
        slots = RaucSlots(self.run)
        self.decision = Decision(
            slots, slots.slots(), "0.2.0", BOOT, book, lambda: self.done.append("new names")
        )

    def run(self, *arguments: str) -> Iterator[str]:
        yield from self.rauc.run(*arguments)
        if arguments == ("status", "mark-good"):
            last = self.book.read()
            self.done.append(f"mark-good while the record says {last.outcome if last else None}")

    def decide(self, why: str) -> int:
        return self.decision.decide(self.decision.begin(), why, lambda: self.done.append("reboot"))


def record_of(book: UpdateBook) -> UpdateRecord:
    """What is remembered; there must be something."""
    record = book.read()
    assert record is not None
    return record
