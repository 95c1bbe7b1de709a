# SPDX-License-Identifier: Apache-2.0
"""Answers the local commands: what `porter enrol`, `withdraw`, `subjects`, `status`, `pause` and `resume` reach.

The broker reaches `pause`, `resume` and `restart` alone, as a `Wish` that the forwarder writes down.

Requests come in on the control thread and are served on the recognise thread, between two frames, since pipeline
and gallery belong to that thread. Replies go back through one queue a conversation.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from device import __version__
from device.consent_desk import ConsentDesk
from device.control import (
    EnrolRequest,
    PauseRequest,
    RenameRequest,
    RenewRequest,
    ResumeRequest,
    Rotated,
    RotateRequest,
    ServiceStatus,
    State,
    StatusRequest,
    SubjectList,
    SubjectsRequest,
    Switched,
    WithdrawRequest,
    failed,
    recorder,
    subject_line,
)
from device.enrolment_desk import Answer, EnrolmentDesk
from device.errors import InputError, PorterError

if TYPE_CHECKING:
    from collections.abc import Callable

    from device.capture import Capture
    from device.control import Peer, Request
    from device.options import Config
    from device.payloads import Wish
    from device.ports import Clock, Wishes
    from device.recogniser import Recogniser
    from device.troubles import Troubles

log = logging.getLogger("porter.desk")

RATE_PERIOD_NS = 2_000_000_000


class ControlDesk:
    """Serves requests. `handle` is called by the control thread, everything else by the recognise thread."""

    def __init__(
        self,
        recogniser: Recogniser,
        capture: Callable[[], Capture],
        config: Callable[[], Config],
        clock: Clock,
        troubles: Troubles,
        wishes: Wishes | None = None,
        restart: Callable[[], None] = lambda: None,
    ) -> None:
        self._recogniser = recogniser
        self._wishes = wishes
        self._restart = restart
        # What stands there from before us was meant for our predecessor.
        self._heeded = self._newest_wish()
        self._capture = capture
        self._config = config
        self._clock = clock
        self._troubles = troubles
        self._started_ns = clock.now().boot_ns
        self._paused = False
        self._enrolments = EnrolmentDesk(recogniser, config, clock)
        self._consents = ConsentDesk(recogniser, self._enrolments.consent, clock)
        self._rate_from = (self._started_ns, 0)
        self._rate_hz = 0.0

    def handle(self, request: Request, peer: Peer) -> Answer:
        """Begins to answer; the recognise thread goes on with it."""
        answer = Answer()
        self._recogniser.ask(lambda: self._serve(request, peer, answer))
        return answer

    def watch(self) -> None:
        """After every step of the recogniser: measures the rate, and moves a running enrolment on."""
        now = self._clock.now()
        since_ns, frames = self._rate_from
        if now.boot_ns - since_ns >= RATE_PERIOD_NS:
            present = self._recogniser.pipeline.counters.frames
            self._rate_hz = (present - frames) * 1e9 / (now.boot_ns - since_ns)
            self._rate_from = (now.boot_ns, present)
        self._enrolments.watch(now.boot_ns)
        self._heed()

    @property
    def rate_hz(self) -> float:
        """Frames processed a second, of late."""
        return round(self._rate_hz, 1)

    def _newest_wish(self) -> Wish | None:
        return self._wishes.read() if self._wishes else None

    def _heed(self) -> None:
        """Grants what the broker asked for through the forwarder: to pause, to resume, to restart, and no more."""
        wish = self._newest_wish()
        if wish is None or (self._heeded is not None and wish.number == self._heeded.number):
            return
        self._heeded = wish
        log.info("wish verb=%s number=%d", wish.verb, wish.number)
        self._recogniser.wish = wish.number
        if wish.verb != "restart":
            self._switch(pause=wish.verb == "pause")
        self._recogniser.show_soon()
        if wish.verb == "restart":
            self._restart()

    def _serve(self, request: Request, peer: Peer, answer: Answer) -> None:
        if answer.cancelled:
            return
        try:
            match request:
                case StatusRequest():
                    answer.done(self._status())
                case PauseRequest() | ResumeRequest():
                    answer.done(self._switch(pause=isinstance(request, PauseRequest)))
                case SubjectsRequest():
                    now_ns = self._clock.now().utc_ns
                    answer.done(
                        SubjectList([subject_line(s, now_ns) for s in self._recogniser.gallery.subjects()])
                    )
                case WithdrawRequest() | RenewRequest() | RenameRequest():
                    answer.done(self._consents.serve(request, peer))
                case RotateRequest():
                    answer.done(self._rotate())
                case EnrolRequest():
                    if self._paused:
                        raise InputError("the service is paused", hint="porter resume")
                    self._enrolments.begin(request, recorder(request, peer), answer)
        except PorterError as error:
            answer.replies.put(failed(error))

    @property
    def _state(self) -> State:
        if self._enrolments.busy:
            return "enrolling"
        return "paused" if self._paused else "running"

    def _status(self) -> ServiceStatus:
        pipeline, config = self._recogniser.pipeline, self._config()
        counters = pipeline.counters
        return ServiceStatus(
            state=self._state,
            camera=config.camera.name,
            source=config.camera.source,
            simulated=config.camera.source == "files",
            fps=self.rate_hz,
            frames=counters.frames,
            faces_seen=counters.faces,
            embedded=counters.embedded,
            dropped=counters.dropped,
            strangers=pipeline.sightings.strangers,
            subjects=len(pipeline.sightings.gallery),
            present=len(pipeline.sightings.visits),
            models=self._recogniser.models,
            troubles=self._troubles.standing(),
            uptime_s=round((self._clock.now().boot_ns - self._started_ns) / 1e9, 1),
            threshold=pipeline.sightings.threshold,
            expected=pipeline.sightings.expected,
            firmware=__version__,
            light=self._capture().optics.light,
        )

    def _rotate(self) -> Rotated:
        try:
            device_key = self._recogniser.gallery.rotate()
        finally:  # what failed may have been the last step only: then the basis is new
            self._recogniser.refresh_gallery()
        log.info("keys_rotated device_key=%s", device_key)
        return Rotated(len(self._recogniser.gallery.subjects()), device_key)

    def _switch(self, *, pause: bool) -> Switched:
        changed = pause != self._paused
        self._paused = pause
        self._recogniser.looking = not pause
        if pause:
            self._capture().pause()
            self._recogniser.end_visits()
            self._enrolments.drop("the service was paused")
        else:
            self._capture().resume()
        self._recogniser.show_soon()
        return Switched(self._state, changed)
