# SPDX-License-Identifier: Apache-2.0
"""A control desk with everything around it in memory, and what to ask it for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from device.adapters.camera_scripted import ScriptedCamera
from device.adapters.clock import ManualClock
from device.adapters.gallery_memory import MemoryGallery
from device.adapters.outbox_memory import MemoryOutbox
from device.adapters.state_file import MemoryStateBoard
from device.adapters.wish_file import MemoryWishes
from device.capture import Capture
from device.control import (
    Done,
    EnrolRequest,
    Peer,
)
from device.control_desk import ControlDesk
from device.errors import StorageError
from device.options import CameraOptions, Config, EnrolmentOptions
from device.payloads import CameraInfo, ModelHashes
from device.recogniser import Recogniser
from device.recognition.events import EventMaker
from device.records import Consent, Frame, Subject
from device.supervisor import LatestSlot
from device.troubles import Troubles
from tests.door import DIMENSION, LOOKS, Door, Painted, embedding_of
from tests.people import NS, at

if TYPE_CHECKING:
    from device.control import Reply, Request
    from device.enrolment_desk import Answer

R = TypeVar("R")

ANNA, BOB = Painted(1), Painted(3)
ALICE = Peer(pid=7, uid=1000, gid=1000, user="alice")
POLICY = "I agree.\n"
WHOLE = 7  # frames, half a second apart, after which five references are kept
OPTIONS = EnrolmentOptions(
    references=5, min_quality=0.0, pose_wait_s=0.0, timeout_s=20.0, purpose="the lab's door"
)


class Impatient(LatestSlot[Frame]):
    """A slot that does not wait for a frame: time is the tests' own."""

    def take(self, timeout_s: float) -> Frame | None:
        return super().take(0.0)


class HalfErased(MemoryGallery):
    """Erases, and then says that the medium may still hold older copies, as SqliteGallery does on a full disk."""

    def withdraw(self, label_or_ref: str) -> Subject:
        """Forgets the subject and complains."""
        super().withdraw(label_or_ref)
        raise StorageError("gallery: erased, but older copies may remain", hint="free some space")


class Desk:
    """A desk with everything around it in memory: painted people, a scripted camera, a clock moved by hand."""

    def __init__(
        self,
        *,
        gallery: MemoryGallery | None = None,
        clock: ManualClock | None = None,
        wishes: MemoryWishes | None = None,
    ) -> None:
        self.clock = clock or ManualClock()
        self.config = Config(camera=CameraOptions(source="files"), enrolment=OPTIONS)
        self.door = Door([])
        self.gallery = gallery or MemoryGallery(DIMENSION)
        self.outbox = MemoryOutbox()
        self.troubles = Troubles(self.clock)
        self.slot = Impatient()
        self.board = MemoryStateBoard()
        self.recogniser = Recogniser(
            slot=self.slot,
            pipeline=self.door.pipeline,
            maker=self.maker(),
            gallery=self.gallery,
            outbox=self.outbox,
            board=self.board,
            clock=self.clock,
            troubles=self.troubles,
            camera=CameraInfo("cam0", "files", True),
            models=[],
        )
        black = np.zeros((256, 320, 3), np.uint8)
        self.camera = ScriptedCamera([black], self.clock, lores_px=(320, 256), loop=True)
        self.capture = Capture(
            self.camera, LatestSlot(), self.troubles, stall_after_s=1.0, wait=lambda _: None
        )
        self.wishes = wishes or MemoryWishes()
        self.restarts = 0
        self.desk = ControlDesk(
            self.recogniser,
            lambda: self.capture,
            lambda: self.config,
            self.clock,
            self.troubles,
            self.wishes,
            self._restart,
        )
        self.recogniser.after_frame = self.desk.watch

    def _restart(self) -> None:
        self.restarts += 1

    def maker(self) -> EventMaker:
        return EventMaker(
            device="lobby-01",
            camera="cam0",
            boot_id=self.clock.boot_id,
            random_bits=lambda bits: 2**bits - 1,
            publish_labels=True,
            live_max_age_s=30,
            models=ModelHashes("sha256:1f", "sha256:a2"),
        )

    def show(self, *people: Painted, frames: int = 1) -> None:
        """So many frames with these people, alive and half a second apart, each through one step."""
        for n in range(frames):
            self.door.people = [replace(person, look=n % LOOKS) for person in people]
            self.clock.advance(0.5)
            main = self.door.picture()
            self.slot.put(Frame(1, self.clock.now(), main, main, main[::4, ::4, 0].copy()))
            self.recogniser.step()

    def wait(self, seconds: float) -> None:
        """Time passes, and one step finds no frame."""
        self.clock.advance(seconds)
        self.recogniser.step()

    def enrol(self, label: str = "anna", recorded_by: str | None = None) -> Answer:
        """Asks for an enrolment; it begins with the next step."""
        return self.desk.handle(
            EnrolRequest(label, POLICY, acknowledged=True, recorded_by=recorded_by), ALICE
        )

    def renew(self, label_or_ref: str = "anna") -> Answer:
        """Asks for new references of somebody who is enrolled."""
        return self.desk.handle(EnrolRequest(label_or_ref, POLICY, acknowledged=True, again=True), ALICE)

    def ask(self, request: Request, kind: type[R]) -> R:
        """Asks, and does one step; the one reply must be a `kind`, or a Done with one."""
        answer = self.desk.handle(request, ALICE)
        self.recogniser.step()
        (reply,) = answer.poll()
        found = reply.result if isinstance(reply, Done) else reply
        assert isinstance(found, kind), found
        return found

    def stored(self) -> list[str]:
        return [subject.label for subject in self.gallery.subjects()]

    def events(self) -> list[tuple[str, str]]:
        return [(event.phase, str(event.person.label)) for event in self.outbox.peek(100)]


def last(answer: Answer) -> Reply:
    """The last reply so far."""
    return list(answer.poll())[-1]


def consent(expires_s: float = 86_400.0 * 365) -> Consent:
    start = at(0).utc_ns
    return Consent("", "door", "ab" * 32, start - NS, start + round(expires_s * NS), "alice")


def with_anna(gallery: MemoryGallery | None = None) -> Desk:
    """A desk where Anna is enrolled already."""
    gallery = gallery or MemoryGallery(DIMENSION)
    gallery.enrol("anna", consent(), embedding_of(1)[np.newaxis])
    return Desk(gallery=gallery)
