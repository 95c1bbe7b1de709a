# SPDX-License-Identifier: Apache-2.0
"""The recognise thread: frames out of the slot, events into the outbox, and everything that touches the gallery.

Pipeline, gallery store and outbox belong to this thread alone; other threads ask it with `ask`, and it answers
between two frames. Events are committed before the next frame is looked at; when the disk refuses them they wait in
memory, in order, and are tried again, while recognition goes on.
"""

from __future__ import annotations

import logging
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from device.control import utc_date
from device.errors import EdgeTpuLostError, StorageError
from device.payloads import ServiceState, VisionInfo, without_label
from device.recognition.consent_time import DAY_NS, ConsentTime
from device.recognition.gallery import Gallery

if TYPE_CHECKING:
    from collections.abc import Callable

    from device.payloads import CameraInfo, Event, ModelInfo, Presence, VisionFigures
    from device.pipeline import Pipeline
    from device.ports import Clock, GalleryStore, Outbox, StateBoard
    from device.recognition.events import EventMaker
    from device.records import Frame, Sighting, Stamp
    from device.supervisor import LatestSlot
    from device.troubles import Troubles

log = logging.getLogger("porter.recogniser")

FRAME_WAIT_S = 0.1
BOARD_PERIOD_NS = 5_000_000_000
EXPIRY_PERIOD_NS = 1_000_000_000
NOTE_PERIOD_NS = 3_600_000_000_000
DROPPING_NS = 3_600_000_000_000
SOON_PERIOD_NS = 60_000_000_000
SOON_NS = 14 * DAY_NS


class Recogniser:
    """The step of the recognise worker."""

    def __init__(
        self,
        *,
        slot: LatestSlot[Frame],
        pipeline: Pipeline,
        maker: EventMaker,
        gallery: GalleryStore,
        outbox: Outbox,
        board: StateBoard,
        clock: Clock,
        troubles: Troubles,
        camera: CameraInfo,
        models: list[ModelInfo],
        consent_time: ConsentTime | None = None,
        note_time: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._slot = slot
        self.pipeline = pipeline
        self._maker = maker
        self.gallery = gallery
        self._outbox = outbox
        self._board = board
        self._clock = clock
        self.time = consent_time or ConsentTime()
        self._note_time = note_time
        self._noted_ns = -NOTE_PERIOD_NS
        self._troubles = troubles
        self._camera = camera
        self.models = models
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._unsaved: list[Event] = []
        self._nameless: set[str] = set()  # refs whose label has yet to go from waiting events
        self._presence: Presence | None = None
        self._shown_ns = 0
        self._expiry_ns = 0
        self._soon_ns = 0
        self._troubles_shown = 0
        self._dropped: int | None = None  # how many events the outbox had dropped
        self._dropping_until_ns = 0  # so long that is an alert
        self.looking = True  # False while paused: a frame that was on its way then is dropped
        self.blind = False  # the models' Edge TPU was left, and no others are here yet
        self.wish = 0  # the number of the last one of the broker's that was granted
        self.figures: Callable[[], VisionFigures | None] = lambda: None
        self.after_frame: Callable[[], None] = lambda: None
        self.refresh_gallery()

    def ask(self, work: Callable[[], None]) -> None:
        """From any thread: has `work` done on the recognise thread before the next frame."""
        self._inbox.put(work)

    def step(self) -> None:
        """Does what was asked, then one frame if there is one, then what is due."""
        self._do_asked()
        frame = self._slot.take(FRAME_WAIT_S)
        if frame is not None and self.blind:
            self.pipeline.counters.dropped += 1
        if not self.looking or self.blind:
            frame = None
        now = self._clock.now() if frame is None else frame.captured
        try:
            self.commit(self.pipeline.close(now) if frame is None else self._recognised(frame))
        except EdgeTpuLostError as error:
            self._go_blind(error)
        self._look_after(now)
        self.after_frame()

    def _recognised(self, frame: Frame) -> list[Sighting]:
        sightings = self.pipeline.process(frame)
        if self.pipeline.counters.frames == 1:
            log.info("first_frame sequence=%d", frame.sequence)
        return sightings

    def forget_face(self) -> None:
        """Overwrites what the interpreter holds of the last face, before another pipeline has it."""
        try:
            self.pipeline.embedder.forget()
        except EdgeTpuLostError as error:
            self._go_blind(error)

    def _go_blind(self, error: EdgeTpuLostError) -> None:
        """Until other models come, or the same again (`adopt`); visits end by their time, or then."""
        log.error("edgetpu_left error=%r", error.message)
        self.blind = True
        self.pipeline.embedder.dropped()
        self.pipeline.sampler.dropped()
        decided, self.pipeline.decided = self.pipeline.decided, []
        self.commit(decided)

    def adopt(self, pipeline: Pipeline, maker: EventMaker, models: list[ModelInfo]) -> None:
        """Swaps in what a reload or other models made; visits end: their scores were those of another pipeline."""
        self.end_visits()
        self.blind = False
        pipeline.counters = self.pipeline.counters
        pipeline.sightings.strangers = self.pipeline.sightings.strangers
        self.pipeline, self._maker, self.models = pipeline, maker, models
        self.refresh_gallery()

    def refresh_gallery(self) -> None:
        """Takes a new snapshot of the store: after an enrolment, a withdrawal, an expiry."""
        now = self._clock.now()
        # By what is certain: whom only a wrong clock has ended scores -1 until it is right again.
        enrolled = self.gallery.load(self.time.certain_ns(now))
        snapshot = Gallery(enrolled, basis=self.gallery.basis, time=self.time)
        self.commit(self.pipeline.sightings.adopt(snapshot, now))
        self._report_expiring(now)
        self._report_lookalikes()
        self._shown_ns = 0

    def forget_label(self, ref: str) -> None:
        """Takes the label of somebody who was erased out of the events that still wait; tries again until it can."""
        self._unsaved = [without_label(e) if e.person.ref == ref else e for e in self._unsaved]
        self._nameless.add(ref)
        self._forget_labels()

    def show_soon(self) -> None:
        """The board is shown with the next step, whether or not something changed on it."""
        self._shown_ns = -BOARD_PERIOD_NS

    def end_visits(self) -> None:
        """Ends every visit: paused, reloading or stopping."""
        self.commit(self.pipeline.sightings.end_all(self._clock.now()))

    def close(self) -> None:
        """The worker's cleanup: visits end, nothing unsaved stays behind silently, the databases close."""
        self.end_visits()
        self._show(self._clock.now(), stopping=True)
        if self._unsaved:
            log.error("events_lost count=%d", len(self._unsaved))
        self.gallery.close()
        self._outbox.close()

    def commit(self, sightings: list[Sighting]) -> None:
        """Commits the events of these sightings, after those that could not be committed before."""
        self._unsaved += [self._maker.event(sighting) for sighting in sightings]
        if self._unsaved and not self._save():
            return
        if self._clock.now().boot_ns >= self._dropping_until_ns:
            self._troubles.clear("outbox_full")

    def _save(self) -> bool:
        try:
            self._outbox.append(self._unsaved)
            self._unsaved = []
            dropped = self._outbox.dropped()
        except StorageError as error:
            self._troubles.raise_("outbox_full", error.message, error.hint)
            return False
        if self._dropped is not None and dropped > self._dropped:
            self._dropping_until_ns = self._clock.now().boot_ns + DROPPING_NS
            self._troubles.raise_(
                "outbox_full",
                "the outbox holds as many events as it may: the oldest are dropped (porter outbox)",
                "why does the broker not take them? events.outbox_max_mb says how many may wait",
            )
        self._dropped = dropped
        return True

    def _do_asked(self) -> None:
        while True:
            try:
                work = self._inbox.get_nowait()
            except Empty:
                return
            work()

    def _look_after(self, now: Stamp) -> None:
        """Expired consents go within a second; unsaved events are tried again; the board is kept fresh."""
        if now.boot_ns - self._expiry_ns >= EXPIRY_PERIOD_NS:
            self._expiry_ns = now.boot_ns
            self._erase_expired(now)
            if now.boot_ns - self._soon_ns >= SOON_PERIOD_NS:
                self._report_expiring(now)
            self.commit([])
            self._forget_labels()
        presence = self._maker.presence(self.pipeline.sightings.visits.values(), now)
        changed = self._presence is None or presence.present != self._presence.present
        if changed or now.boot_ns - self._shown_ns >= BOARD_PERIOD_NS or self._troubles_changed():
            self._presence = presence
            self._show(now)

    def _erase_expired(self, now: Stamp) -> None:
        # A clock that nobody set may be a year ahead: it ends matching, by `latest_ns`, but erases nobody.
        self._look_at_clock(now)
        try:
            gone = self.gallery.erase_expired(self.time.certain_ns(now))
        except StorageError as error:
            # The snapshot scores the expired -1 by itself: erasing late never means matching late.
            self._troubles.raise_("gallery_failed", error.message, error.hint)
            return
        self._troubles.clear("gallery_failed")
        if gone:
            log.info("consents_expired count=%d", len(gone))
            self.refresh_gallery()
            for subject in gone:
                self.forget_label(subject.ref)

    def _report_expiring(self, now: Stamp) -> None:
        """By refs and days, soonest first: labels are for those who may ask `porter subjects`."""
        self._soon_ns = now.boot_ns
        time_ns = self.time.certain_ns(now) if self.time.leaps(now) else self.time.latest_ns(now)
        ends = [(one.consent.expires_at_ns, one.ref) for one in self.pipeline.sightings.gallery.subjects]
        soon = sorted((end, ref) for end, ref in ends if 0 < end - time_ns <= SOON_NS)
        if soon:
            named = ", ".join(f"{ref} on {utc_date(end)}" for end, ref in soon[:5])
            more = f", and {len(soon) - 5} more" if len(soon) > 5 else ""
            self._troubles.raise_(
                "consent_expiring",
                f"consents end within 14 days: {named}{more}",
                "`porter subjects` says who; ask them, and `porter renew` where they agree again",
            )
        else:
            self._troubles.clear("consent_expiring")

    def _look_at_clock(self, now: Stamp) -> None:
        self.time.seen(now)
        if now.synced and self.time.leaps(now):
            days = self.time.ahead_ns(now) // DAY_NS
            self._troubles.raise_(
                "clock_leapt",
                f"the clock is synchronised, and {days} days ahead of what Porter is certain of",
                "set it right, or leave it so for a day where it is right; until then consents that it says have "
                "ended match nobody, and nobody is erased",
            )
        else:
            self._troubles.clear("clock_leapt")
        if now.synced and now.boot_ns - self._noted_ns >= NOTE_PERIOD_NS:
            self._noted_ns = now.boot_ns
            self._note_time(self.time.certain_ns(now))

    def _report_lookalikes(self) -> None:
        """By their refs: which two they are `porter subjects` tells those who may ask it."""
        pairs = [f"{one.ref} and {other.ref}" for one, other, _ in self.pipeline.sightings.lookalikes()]
        if pairs:
            more = f", and {len(pairs) - 3} more pairs" if len(pairs) > 3 else ""
            self._troubles.raise_(
                "lookalikes",
                f"references so near each other that one may pass for the other: {', '.join(pairs[:3])}{more}",
                "is one person enrolled twice? withdraw one; else let both enrol again in good light",
            )
        else:
            self._troubles.clear("lookalikes")

    def _forget_labels(self) -> None:
        while self._nameless:
            ref = next(iter(self._nameless))
            try:
                self._outbox.forget_label(ref)
            except StorageError as error:
                self._troubles.raise_("outbox_full", error.message, error.hint)
                return
            self._nameless.remove(ref)

    def _troubles_changed(self) -> bool:
        present = hash(tuple(self._troubles.standing()))
        changed, self._troubles_shown = present != self._troubles_shown, present
        return changed

    def _show(self, now: Stamp, *, stopping: bool = False) -> None:
        self._shown_ns = now.boot_ns
        presence = self._maker.presence(self.pipeline.sightings.visits.values(), now)
        info = VisionInfo(
            cameras=[self._camera], models=self.models, subjects=len(self.pipeline.sightings.gallery)
        )
        state = ServiceState(
            boot_ns=now.boot_ns,
            stopping=stopping,
            info=info,
            presence=[presence],
            troubles=self._troubles.standing(),
            paused=not self.looking,
            wish=self.wish,
            figures=self.figures(),
        )
        try:
            self._board.show(state)
        except StorageError as error:
            log.error("board_failed text=%r", error.message)
