# SPDX-License-Identifier: Apache-2.0
"""The image's two slots: which runs, whether on trial, how the last update went; and a bootloader that can do it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from device import update_record
from device.adapters.board_pi import bootloader_built_s, built_on, knows_tryboot
from device.adapters.slots_rauc import BUSY, RaucSlots
from device.checkup.finding import Finding
from device.errors import PorterError, StorageError
from device.update_record import UpdateBook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from device.checkup.finding import Level
    from device.checkup.host import Host

IMAGE = "etc/rauc/system.conf"  # only flash.sh writes one
OLD = "sudo rpi-eeprom-update -a, then reboot (from Raspberry Pi OS on another card where the image lacks it)"


class BusyError(PorterError):
    """RAUC does something else at the moment."""


def update_findings(host: Host) -> Iterator[Finding]:
    """All of it; on a system of one's own only that there are no slots."""
    image = host.path(IMAGE).exists()
    yield from bootloader(host, image=image)
    if not image:
        hint = "that is so for all but flash.sh's image: update the checkout and restart"
        yield Finding("update", "note", "this system has no slots for updates", hint)
        return
    try:
        slots = RaucSlots(lambda *words: lines(host, *words)).slots()
    except BusyError as error:
        yield Finding("update", "note", error.message, error.hint)
    except StorageError as error:
        level: Level = "wrong" if host.root_user else "note"
        yield Finding("update", level, error.message, error.hint or "sudo porter doctor; journalctl -u rauc")
    else:
        text = f"slot {slots.booted} runs"
        if slots.trial:
            hint = "porter-commit decides within minutes; the next power-on boots the other slot until it has"
            yield Finding("update", "note", f"{text}, on trial", hint)
        else:
            yield Finding("update", "ok", f"{text}, and boots next")
    yield from last(host)


def lines(host: Host, *words: str) -> Iterator[str]:
    """rauc's lines, as `slots_rauc.run_rauc` gives them, but within a time limit. Raises StorageError, BusyError."""
    said = host.run("rauc", *words)
    if said.well:
        yield from said.text.splitlines()
        return
    if BUSY in said.text:
        raise BusyError("an update is being installed now", hint="porter update --status, when it is done")
    raise StorageError(f"rauc {words[0]}: {(said.text.splitlines() or ['no reason given'])[-1]}")


def last(host: Host) -> Iterator[Finding]:
    """How the last update went."""
    record = UpdateBook(host.path(str(update_record.RECORD))).read()
    if record is None:
        return
    text = f"the last update, to {record.version}"
    if record.failed:
        hint = "docs/updates.md; sudo porter update --acknowledge ends this line and the alert"
        yield Finding("update", "wrong", f"an update fell back: {record.failed}", hint)
    if record.outcome == update_record.KEPT:
        yield Finding("update", "ok", f"{text}, was kept")
    elif record.outcome == update_record.INSTALLED:
        yield Finding("update", "note", f"{text}, is installed; the next reboot tries it")
    elif record.outcome != update_record.FELL_BACK:
        yield Finding("update", "note", f"{text}: {record.outcome}", record.why)


def bootloader(host: Host, *, image: bool) -> Iterator[Finding]:
    """Whether the board's bootloader knows how to try a slot."""
    built = bootloader_built_s(host.root)
    if built is None:
        return
    text = f"the board's bootloader is of {built_on(built)}"
    if knows_tryboot(built):
        yield Finding("update", "ok", text)
    else:
        said = f"{text}: it may not know how to try an update's slot (tryboot_a_b)"
        yield Finding("update", "wrong" if image else "note", said, OLD)
