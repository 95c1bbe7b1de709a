# SPDX-License-Identifier: Apache-2.0
"""Gallery and consent ledger together: whoever is enrolled or erased goes through here, and leaves a line.

It is a gallery store itself, around another. What ends a consent is written into the ledger first and then carried
out; an enrolment is stored first and counts once its line is written. So wherever the power goes, the next start finds
out from the ledger alone who may be in the gallery: nobody else stays in it, be it from an enrolment that was never
finished, a withdrawal that was, or an old copy of the gallery's file.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from device.errors import GalleryLocked, PorterError, StorageError
from device.ledger import LedgerEntry, Terms, consenting
from device.payloads import rfc3339, utc_ns_of
from device.recognition.consent import EARLIEST_NS, subject_called
from device.recognition.consent_time import ConsentTime

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from device.ledger import Kind
    from device.ports import Clock, EnrolledReferences, GalleryStore, Ledger
    from device.records import Consent, LedgerHead, Subject

log = logging.getLogger("porter.registrar")


class Registrar:
    """`ports.GalleryStore` around another, with a ledger.

    last_seen_ns: the time that an earlier run was certain of last, UTC; 0: not known.
    returned: how many subjects the gallery held at the start whose consent the ledger says is none; they were erased.
    Raises GalleryLocked where gallery and ledger do not belong together, StorageError.
    """

    def __init__(
        self, store: GalleryStore, ledger: Ledger, clock: Clock, *, camera: str, last_seen_ns: int = 0
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._clock = clock
        self._camera = camera
        self._check_head()
        self._time = self._time_at_start(last_seen_ns)
        self._write_rotation()
        self.returned = self._reconcile()

    @property
    def basis(self) -> NDArray[np.float32]:
        """The store's."""
        return self._store.basis

    @property
    def marked(self) -> LedgerHead | None:
        """The store's."""
        return self._store.marked

    def mark(self, head: LedgerHead) -> None:
        """Notes it in the store."""
        self._store.mark(head)

    @property
    def rotation_unwritten(self) -> bool:
        """The store's."""
        return self._store.rotation_unwritten

    def rotate(self) -> bool:
        """Renews all keys and writes it down; where that fails, it is written before anything else is.

        Raises StorageError.
        """
        device_key = self._store.rotate()
        try:
            self._write_rotation()
        except StorageError as error:
            raise StorageError(
                f"the keys are new, but that is not written into the ledger yet: {error.message}",
                hint=error.hint,
            ) from error
        return device_key

    @property
    def consent_time(self) -> ConsentTime:
        """By which consents end, and by which is told whether an entry's time can be believed."""
        return self._time

    @property
    def entries(self) -> Sequence[LedgerEntry]:
        """The ledger's."""
        return self._ledger.entries

    def load(self, now_utc_ns: int) -> Sequence[EnrolledReferences]:
        """Everyone whose consent holds at `now_utc_ns`. Raises StorageError."""
        return self._store.load(now_utc_ns)

    def subjects(self) -> Sequence[Subject]:
        """Everyone stored, by label. Raises StorageError."""
        return self._store.subjects()

    def enrol(self, label: str, consent: Consent, references: NDArray[np.float32]) -> Subject:
        """Stores a new subject and writes it down; neither without the other. Raises InputError, StorageError."""
        subject = self._store.enrol(label, consent, references)
        try:
            self._write("enrolled", subject, terms=terms_of(subject.consent, self._camera))
        except StorageError:
            self._store.withdraw(subject.ref)
            raise
        return subject

    def renew(
        self, label_or_ref: str, consent: Consent, references: NDArray[np.float32] | None = None
    ) -> Subject:
        """Puts a new consent in the old one's place and writes it down. Raises InputError, StorageError.

        Where the ledger cannot be written the new consent stands all the same, and the next start writes it down.
        """
        subject = self._store.renew(label_or_ref, consent, references)
        try:
            self._write("renewed", subject, terms=terms_of(subject.consent, self._camera))
        except StorageError as error:
            raise StorageError(
                f"renewed, but not written into the ledger yet: {error.message}",
                hint=f"{error.hint}; then restart porter-vision, which writes it down",
            ) from error
        return subject

    def rename(self, label_or_ref: str, label: str) -> Subject:
        """Gives a subject another label. The ledger knows no labels. Raises InputError, StorageError."""
        return self._store.rename(label_or_ref, label)

    def withdraw(self, label_or_ref: str) -> Subject:
        """Ends a subject's consent and erases them. Raises InputError, StorageError."""
        subject = subject_called(label_or_ref, self._store.subjects())
        self._end("withdrawn", [subject])
        return subject

    def erase_expired(self, now_utc_ns: int) -> Sequence[Subject]:
        """Erases everyone whose consent has ended; returns them. Raises StorageError."""
        ended = [one for one in self._store.subjects() if one.consent.expires_at_ns <= now_utc_ns]
        self._end("expired", ended)
        return ended

    def close(self) -> None:
        """Closes both."""
        self._store.close()
        self._ledger.close()

    def _end(self, kind: Kind, subjects: Sequence[Subject]) -> None:
        """Ends consents. Where the ledger cannot be written people are erased all the same: they asked for it."""
        for subject in subjects:
            failure: PorterError | None = None
            try:
                self._write(kind, subject)
            except StorageError as error:
                failure = error
            self._store.withdraw(subject.ref)
            if failure is not None:
                raise StorageError(
                    f"erased, but not written into the ledger: {failure.message}", hint=failure.hint
                ) from failure
            self._write("erased", subject, reason=kind)

    def _time_at_start(self, last_seen_ns: int) -> ConsentTime:
        """What is certain at a start: Porter is not older than 2026, the ledger's entries, the time seen last."""
        written = [utc_ns_of(entry.at) for entry in self._ledger.entries if entry.clock == "synced"]
        floor_ns = max(EARLIEST_NS, last_seen_ns, *written)
        known = floor_ns > EARLIEST_NS
        return ConsentTime(floor_ns, self._clock.now().boot_ns, known)

    def _check_head(self) -> None:
        mark, entries = self._store.marked, self._ledger.entries
        if mark is None:
            return
        if mark.seq > len(entries) or entries[mark.seq - 1].sha256 != mark.sha256:
            raise GalleryLocked(
                f"the consent ledger has {len(entries)} entries, but the gallery has seen entry {mark.seq} "
                f"({mark.sha256[:16]}), which is not in it: it was shortened or exchanged",
                hint="put back the ledger as it was, or move gallery and ledger away and let people enrol again",
            )

    def _reconcile(self) -> int:
        """Makes the gallery what the ledger says; returns how many had to go whose consent had ended."""
        standing = consenting(self._ledger.entries)
        known = {entry.subject for entry in self._ledger.entries}
        present = {subject.subject_id: subject for subject in self._store.subjects()}
        returned = 0
        for subject_id, subject in present.items():
            entry = standing.get(subject_id)
            if entry is not None and entry.terms == terms_of(subject.consent, *cameras_of(entry)):
                continue
            if entry is not None and number_of(subject) > number_in(entry):
                # Stopped between the renewal and its line: the consent was given, and only its line is missing.
                terms = terms_of(subject.consent, self._camera)
                self._write("renewed", subject, terms=terms, reason="written down at the next start")
                continue
            returned += subject_id in known
            self._store.withdraw(subject.ref)
            self._write("erased", subject, reason="no consent with these terms stands in the ledger")
            log.warning("erased_without_consent ref=%s", subject.ref)
        for subject_id, entry in standing.items():
            if subject_id not in present:
                self._append("erased", subject_id, entry.ref, 0, reason="the gallery had nothing of them")
        return returned

    def _write_rotation(self) -> None:
        """Writes a rotation down that is not yet, once."""
        if not self._store.rotation_unwritten:
            return
        newest, mark = self._ledger.entries[-1:], self._store.marked
        if newest and newest[0].kind == "key_rotated" and (mark is None or mark.seq < newest[0].seq):
            self._store.mark(newest[0].head)  # the power went between its line and the mark
            return
        references = sum(subject.references for subject in self._store.subjects())
        self._append("key_rotated", "", "", references)

    def _write(self, kind: Kind, subject: Subject, *, terms: Terms | None = None, reason: str = "") -> None:
        self._append(kind, subject.subject_id, subject.ref, subject.references, terms=terms, reason=reason)

    def _append(
        self,
        kind: Kind,
        subject_id: str,
        ref: str,
        references: int,
        *,
        terms: Terms | None = None,
        reason: str = "",
    ) -> None:
        if kind != "key_rotated":
            self._write_rotation()
        now = self._clock.now()
        entry = LedgerEntry(
            seq=1,
            at=rfc3339(now.utc_ns),
            clock="synced" if self._time.believes(now) else "unsynced",
            boot=self._clock.boot_id,
            kind=kind,
            subject=subject_id,
            ref=ref,
            references=references,
            reason=reason,
            terms=terms,
            prev="0" * 64,
            sha256="0" * 64,
        )
        self._store.mark(self._ledger.append(entry).head)


def number_of(subject: Subject) -> int:
    """The number of a subject's consent: every new consent of a gallery has a higher one."""
    return int(subject.consent.consent_id.removeprefix("c_"))


def number_in(entry: LedgerEntry) -> int:
    """The number of the consent that an entry tells of."""
    return int(entry.terms.consent.removeprefix("c_")) if entry.terms else 0


def cameras_of(entry: LedgerEntry) -> list[str]:
    """The cameras that an entry's consent is for."""
    return entry.terms.cameras if entry.terms else []


def terms_of(consent: Consent, *cameras: str) -> Terms:
    """What the ledger says of a consent."""
    return Terms(
        consent=consent.consent_id,
        policy_sha256=consent.policy_sha256,
        purpose=consent.purpose,
        cameras=list(cameras),
        given_at_ns=consent.given_at_ns,
        expires_at_ns=consent.expires_at_ns,
        recorded_by=consent.recorded_by,
    )
