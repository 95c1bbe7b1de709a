# SPDX-License-Identifier: Apache-2.0
"""What the forwarder shows to whoever stands before the device, through a record that every local user may read.

The screen's page (`porter console`) is drawn from it by a process that may read nothing else of Porter. So what may not
be on a screen is not in the record: who is at the door, who was, a label, the opaque name of a subject. A number of
enrolled people is; how many are there now is not, since there may be one of them.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Literal

import msgspec

from device.announcements import vision_is_silent
from device.errors import StorageError
from device.payloads import Payload, Trouble

if TYPE_CHECKING:
    from collections.abc import Sequence

    from device.payloads import ServiceState
    from device.records import Stamp
    from device.shared_record import SharedRecord

log = logging.getLogger("porter.forward")

REFRESH_NS = 2_000_000_000
REF = re.compile(r"\bp_[0-9a-f]{4,32}\b")
MOST_TROUBLES = 40


class ScreenState(Payload, frozen=True):
    """The record. `boot_ns` (CLOCK_BOOTTIME) as in `ForwarderState`; fps: frames processed a second."""

    boot_ns: int
    device: str
    broker: str
    connection: str
    vision: Literal["looking", "paused", "stopped", "silent"]
    camera: str
    fps: float
    subjects: int
    troubles: list[Trouble]


class ScreenDesk:
    """Belongs to the forwarder's main thread."""

    def __init__(self, record: SharedRecord[ScreenState]) -> None:
        self._record = record
        self._shown_ns: int | None = None
        self._failed = False

    def show(
        self,
        device: str,
        broker: str,
        connection: str,
        vision: ServiceState | None,
        troubles: Sequence[Trouble],
        now: Stamp,
    ) -> None:
        """Says it every two seconds. Never raises. vision, troubles: the state board; the forwarder's own."""
        if self._shown_ns is not None and now.boot_ns - self._shown_ns < REFRESH_NS:
            return
        self._shown_ns = now.boot_ns
        try:
            self._record.show(screen_state(device, broker, connection, vision, troubles, now))
        except StorageError as error:  # an installation without the folder: nobody looks there
            if not self._failed:
                log.info("screen_not_shown text=%r", error.message)
            self._failed = True
            return
        self._failed = False


def screen_state(
    device: str,
    broker: str,
    connection: str,
    vision: ServiceState | None,
    troubles: Sequence[Trouble],
    now: Stamp,
) -> ScreenState:
    """The record of this moment."""
    word: Literal["looking", "paused", "stopped", "silent"] = "looking"
    if vision is not None and vision.stopping:
        word = "stopped"
    elif vision is None or vision_is_silent(vision, now):
        word = "silent"
    elif vision.paused:
        word = "paused"
    here = vision if word in ("looking", "paused") else None
    standing = {one.code: one for one in (*(here.troubles if here else ()), *troubles)}
    shown = [without_refs(standing[code]) for code in sorted(standing)]
    return ScreenState(
        boot_ns=now.boot_ns,
        device=device,
        broker=broker,
        connection=connection,
        vision=word,
        camera=", ".join(one.source + " (simulated)" * one.simulated for one in here.info.cameras)
        if here
        else "",
        fps=here.figures.fps if here and here.figures else 0.0,
        subjects=here.info.subjects if here else 0,
        troubles=shown[:MOST_TROUBLES],
    )


def without_refs(trouble: Trouble) -> Trouble:
    """An alert's text may name a subject by their opaque name (`lookalikes`); on a screen it says only that."""
    text, hint = (REF.sub("a subject", words) for words in (trouble.text, trouble.hint))
    return msgspec.structs.replace(trouble, text=text, hint=hint)
