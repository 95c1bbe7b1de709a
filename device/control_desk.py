# SPDX-License-Identifier: Apache-2.0
"""Answers the local commands: what `porter enrol`, `withdraw`, `subjects`, `status`, `pause` and `resume` reach.

Requests come in on the control thread and are served on the recognise thread, between two frames, since pipeline
and gallery belong to that thread. Replies go back through one queue a conversation.
"""

from __future__ import annotations

import logging
from calendar import monthrange
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from device.control import (
    Done,
    Enrolled,
    EnrolRequest,
    Failed,
    PauseRequest,
    Progress,
    ResumeRequest,
    ServiceStatus,
    State,
    StatusRequest,
    SubjectList,
    SubjectsRequest,
    Switched,
    Withdrawn,
    WithdrawRequest,
    failed,
    recorder,
    subject_line,
)
from device.errors import InputError, PorterError, StorageError
from device.recognition.consent import check_consent, checked_label, gallery_full, label_taken
from device.recognition.enrolment import EnrolmentSession
from device.recognition.gallery import MAX_SUBJECTS
from device.records import Consent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from device.capture import Capture
    from device.control import Peer, Reply, Request, Result
    from device.options import Config
    from device.ports import Clock
    from device.recogniser import Recogniser
    from device.recognition.enrolment import EnrolmentProgress
    from device.troubles import Troubles

log = logging.getLogger("porter.desk")

PROGRESS_PERIOD_NS = 1_000_000_000
RATE_PERIOD_NS = 2_000_000_000


@dataclass(slots=True)
class Answer:
    """One conversation: the recognise thread puts, the control thread polls."""

    replies: SimpleQueue[Reply] = field(default_factory=SimpleQueue)
    cancelled: bool = False

    def poll(self) -> Sequence[Reply]:
        """The replies so far, in order."""
        found: list[Reply] = []
        while True:
            try:
                found.append(self.replies.get_nowait())
            except Empty:
                return found

    def cancel(self) -> None:
        """The client is gone."""
        self.cancelled = True

    def done(self, result: Result) -> None:
        """The last reply of a request that was carried out."""
        self.replies.put(Done(result))


@dataclass(slots=True)
class Enrolment:
    """The one enrolment that may run."""

    request: EnrolRequest
    recorded_by: str
    answer: Answer
    session: EnrolmentSession
    told: EnrolmentProgress | None = None
    told_ns: int = 0


class ControlDesk:
    """Serves requests. `handle` is called by the control thread, everything else by the recognise thread."""

    def __init__(
        self,
        recogniser: Recogniser,
        capture: Callable[[], Capture],
        config: Callable[[], Config],
        clock: Clock,
        troubles: Troubles,
    ) -> None:
        self._recogniser = recogniser
        self._capture = capture
        self._config = config
        self._clock = clock
        self._troubles = troubles
        self._started_ns = clock.now().boot_ns
        self._paused = False
        self._enrolment: Enrolment | None = None
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
        if self._enrolment is not None:
            self._watch_enrolment(self._enrolment, now.boot_ns)

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
                case WithdrawRequest():
                    answer.done(self._withdraw(request))
                case EnrolRequest():
                    self._begin_enrolment(request, recorder(request, peer), answer)
        except PorterError as error:
            answer.replies.put(failed(error))

    @property
    def _state(self) -> State:
        if self._enrolment is not None:
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
            fps=round(self._rate_hz, 1),
            frames=counters.frames,
            faces_seen=counters.faces,
            embedded=counters.embedded,
            strangers=pipeline.sightings.strangers,
            subjects=len(pipeline.sightings.gallery),
            present=len(pipeline.sightings.visits),
            models=self._recogniser.models,
            troubles=self._troubles.standing(),
            uptime_s=round((self._clock.now().boot_ns - self._started_ns) / 1e9, 1),
        )

    def _switch(self, *, pause: bool) -> Switched:
        changed = pause != self._paused
        self._paused = pause
        self._recogniser.looking = not pause
        if pause:
            self._capture().pause()
            self._recogniser.end_visits()
            self._drop_enrolment("the service was paused")
        else:
            self._capture().resume()
        return Switched(self._state, changed)

    def _withdraw(self, request: WithdrawRequest) -> Withdrawn:
        try:
            subject = self._recogniser.gallery.withdraw(request.subject)
        except StorageError:
            # Erased, perhaps, but not for certain from the medium: who is gone must not be matched meanwhile.
            self._recogniser.refresh_gallery()
            raise
        self._recogniser.refresh_gallery()
        self._recogniser.forget_label(subject.ref)
        log.info("subject_withdrawn ref=%s", subject.ref)
        return Withdrawn(subject_line(subject, self._clock.now().utc_ns))

    def _begin_enrolment(self, request: EnrolRequest, recorded_by: str, answer: Answer) -> None:
        if self._enrolment is not None:
            raise InputError("somebody is being enrolled already", hint="wait until that is done")
        if self._paused:
            raise InputError("the service is paused", hint="porter resume")
        label = checked_label(request.label)
        # Better now than after the capture: a clock in 1970, say, or a name that is taken.
        check_consent(self._consent(request, recorded_by))
        subjects = self._recogniser.gallery.subjects()
        if any(subject.label == label for subject in subjects):
            raise label_taken(label)
        if len(subjects) >= MAX_SUBJECTS:
            raise gallery_full()
        options, pipeline = self._config().enrolment, self._recogniser.pipeline
        session = EnrolmentSession(
            needed=options.references,
            min_quality=options.min_quality,
            timeout_ns=round(options.timeout_s * 1e9),
            too_close=pipeline.sightings.threshold,
        )
        pipeline.enrolment = session
        self._enrolment = Enrolment(request, recorded_by, answer, session)
        log.info("enrolment_started")

    def _watch_enrolment(self, enrolment: Enrolment, now_ns: int) -> None:
        session = enrolment.session
        session.tick(now_ns)
        if enrolment.answer.cancelled:
            self._drop_enrolment("cancelled")
        elif self._recogniser.pipeline.enrolment is not session:
            self._drop_enrolment("the configuration was read again meanwhile")
        elif session.progress.state == "complete":
            self._complete(enrolment)
        elif session.progress.state != "running":
            self._drop_enrolment(session.progress.hint)
        elif session.progress != enrolment.told or now_ns - enrolment.told_ns >= PROGRESS_PERIOD_NS:
            enrolment.told, enrolment.told_ns = session.progress, now_ns
            told = session.progress
            left_s = round(session.seconds_left(now_ns), 1)
            enrolment.answer.replies.put(Progress(told.hint, told.taken, told.needed, left_s))

    def _drop_enrolment(self, why: str) -> None:
        """Ends the running enrolment without a subject. Its samples go with the session; nothing was written."""
        if self._enrolment is None:
            return
        enrolment, self._enrolment = self._enrolment, None
        self._recogniser.pipeline.enrolment = None
        enrolment.answer.replies.put(
            Failed(f"nobody was enrolled: {why}", "nothing was kept; the same command starts again")
        )
        log.info("enrolment_dropped why=%r", why)

    def _complete(self, enrolment: Enrolment) -> None:
        consent = self._consent(enrolment.request, enrolment.recorded_by)
        try:
            subject = self._recogniser.gallery.enrol(
                enrolment.request.label, consent, enrolment.session.references()
            )
        except PorterError as error:
            enrolment.answer.replies.put(failed(error))
            return
        finally:
            self._enrolment = None
            self._recogniser.pipeline.enrolment = None
        self._recogniser.refresh_gallery()
        enrolment.answer.done(Enrolled(subject_line(subject, consent.given_at_ns)))
        log.info("subject_enrolled ref=%s references=%d", subject.ref, subject.references)

    def _consent(self, request: EnrolRequest, recorded_by: str) -> Consent:
        """The consent record that an enrolment now would rest on; the store gives it its number."""
        now_ns = self._clock.now().utc_ns
        options = self._config().enrolment
        return Consent(
            consent_id="",
            purpose=options.purpose,
            policy_sha256=sha256(request.policy_text.encode()).hexdigest(),
            given_at_ns=now_ns,
            expires_at_ns=months_later(now_ns, options.consent_months),
            recorded_by=recorded_by,
        )


def months_later(utc_ns: int, months: int) -> int:
    """The same moment `months` calendar months later; the 31st becomes a shorter month's last day."""
    seconds, rest = divmod(utc_ns, 1_000_000_000)
    start = datetime.fromtimestamp(seconds, UTC)
    years, month = divmod(start.month - 1 + months, 12)
    year, month = start.year + years, month + 1
    end = start.replace(year=year, month=month, day=min(start.day, monthrange(year, month)[1]))
    return round(end.timestamp()) * 1_000_000_000 + rest
