# SPDX-License-Identifier: Apache-2.0
"""The enrolments that the control desk serves: begins one, tells its progress, stores the subject or drops all.

All of it runs on the recognise thread. One enrolment at a time; its samples live in its session and nowhere else, so
dropping the session is all it takes to leave nothing.
"""

from __future__ import annotations

import logging
from calendar import monthrange
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from device.control import Done, Enrolled, Failed, Progress, failed, subject_line
from device.errors import HardwareError, InputError, PorterError
from device.recognition.consent import (
    check_consent,
    checked_label,
    gallery_full,
    label_taken,
    subject_called,
)
from device.recognition.enrolment import EnrolmentSession
from device.recognition.gallery import MAX_SUBJECTS
from device.records import Consent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from device.control import EnrolRequest, Reply, Result
    from device.options import Config
    from device.ports import Clock
    from device.recogniser import Recogniser
    from device.recognition.enrolment import EnrolmentProgress
    from device.recognition.gallery import Gallery
    from device.records import Subject

log = logging.getLogger("porter.desk")

PROGRESS_PERIOD_NS = 1_000_000_000
START_AGAIN = "the same command starts again"


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
    gallery: Gallery
    renews: Subject | None
    told: EnrolmentProgress | None = None
    told_ns: int = 0


class EnrolmentDesk:
    """Serves enrolments, one at a time."""

    def __init__(self, recogniser: Recogniser, config: Callable[[], Config], clock: Clock) -> None:
        self._recogniser = recogniser
        self._config = config
        self._clock = clock
        self._running: Enrolment | None = None

    @property
    def busy(self) -> bool:
        """Whether somebody is being enrolled."""
        return self._running is not None

    def begin(self, request: EnrolRequest, recorded_by: str, answer: Answer) -> None:
        """Begins an enrolment. Raises InputError where it is refused at once."""
        if self._running is not None:
            raise InputError("somebody is being enrolled already", hint="wait until that is done")
        if self._recogniser.blind:
            raise HardwareError("no model runs: the Edge TPU was left", hint="porter status says why")
        # Better now than after the capture: a clock in 1970, say, or a name that is taken.
        check_consent(self.consent(request.policy_text, recorded_by))
        options, pipeline = self._config().enrolment, self._recogniser.pipeline
        gallery = pipeline.sightings.gallery
        renews = subject_called(request.label, gallery.subjects) if request.again else None
        if renews is None:
            self._check_new(request.label)
        session = EnrolmentSession(
            most=options.references,
            min_quality=options.min_quality,
            pose_wait_ns=round(options.pose_wait_s * 1e9),
            timeout_ns=round(options.timeout_s * 1e9),
            too_close=pipeline.sightings.threshold,
            own=None if renews is None else gallery.subjects.index(renews),
        )
        pipeline.enrolment = session
        self._running = Enrolment(request, recorded_by, answer, session, gallery, renews)
        log.info("enrolment_started again=%s", request.again)

    def _check_new(self, wanted: str) -> None:
        """Makes sure that somebody new may be enrolled under this label."""
        label = checked_label(wanted)
        subjects = self._recogniser.gallery.subjects()
        if any(subject.label == label for subject in subjects):
            raise label_taken(label)
        if len(subjects) >= MAX_SUBJECTS:
            raise gallery_full()

    def watch(self, now_ns: int) -> None:
        """After every step of the recogniser: moves the running enrolment on."""
        if self._running is not None:
            self._watch(self._running, now_ns)

    def _watch(self, enrolment: Enrolment, now_ns: int) -> None:
        session = enrolment.session
        session.tick(now_ns)
        if enrolment.answer.cancelled:
            self.drop("cancelled")
        elif self._recogniser.pipeline.enrolment is not session:
            self.drop("the configuration was read again, or other models came, meanwhile")
        elif enrolment.renews and self._recogniser.pipeline.sightings.gallery is not enrolment.gallery:
            self.drop("the gallery changed meanwhile")  # the scores are in another order, and who is it now?
        elif session.progress.state == "complete":
            self._complete(enrolment)
        elif session.progress.state != "running":
            self.drop(session.progress.hint, session.progress.way_out)
        elif session.progress != enrolment.told or now_ns - enrolment.told_ns >= PROGRESS_PERIOD_NS:
            enrolment.told, enrolment.told_ns = session.progress, now_ns
            told = session.progress
            left_s = round(session.seconds_left(now_ns), 1)
            enrolment.answer.replies.put(
                Progress(told.hint, told.taken, told.needed, left_s, dict(told.poses))
            )

    def drop(self, why: str, way_out: str = START_AGAIN) -> None:
        """Ends the running enrolment without a subject. Its samples go with the session; nothing was written."""
        if self._running is None:
            return
        enrolment, self._running = self._running, None
        enrolment.session.forget()
        self._recogniser.pipeline.enrolment = None
        nothing = "nothing was renewed" if enrolment.renews else "nobody was enrolled"
        enrolment.answer.replies.put(
            Failed(f"{nothing}: {why}", f"nothing was kept; {way_out or START_AGAIN}")
        )
        log.info("enrolment_dropped why=%r", why)

    def _complete(self, enrolment: Enrolment) -> None:
        try:
            consent = self.consent(enrolment.request.policy_text, enrolment.recorded_by)
            subject = self._store(enrolment, consent)
        except PorterError as error:
            # A renewal may stand although it failed to be written down: who is matched is what is stored.
            if enrolment.renews:
                self._recogniser.refresh_gallery()
            enrolment.answer.replies.put(failed(error))
            return
        finally:
            summary = enrolment.session.summary()
            enrolment.session.forget()
            self._running = None
            self._recogniser.pipeline.enrolment = None
        self._recogniser.refresh_gallery()
        enrolment.answer.done(Enrolled(subject_line(subject, consent.given_at_ns), summary))
        log.info("subject_enrolled ref=%s references=%d", subject.ref, subject.references)

    def _store(self, enrolment: Enrolment, consent: Consent) -> Subject:
        """A new subject, or new references for one; durable on return."""
        references = enrolment.session.references()
        if enrolment.renews:
            return self._recogniser.gallery.renew(enrolment.renews.ref, consent, references)
        return self._recogniser.gallery.enrol(enrolment.request.label, consent, references)

    def consent(self, policy_text: str, recorded_by: str) -> Consent:
        """The consent record of somebody who agrees now; the store gives it its number. Raises InputError."""
        now = self._clock.now()
        if self._recogniser.time.leaps(now):
            raise InputError(
                "the clock may be far ahead of the time: a consent given now could last too long",
                hint="set it right (timedatectl); where it is right, wait for a day with it synchronised",
            )
        now_ns, options = now.utc_ns, self._config().enrolment
        return Consent(
            consent_id="",
            purpose=options.purpose,
            policy_sha256=sha256(policy_text.encode()).hexdigest(),
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
