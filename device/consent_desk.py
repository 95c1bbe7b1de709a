# SPDX-License-Identifier: Apache-2.0
"""Serves what is asked about a consent that was given: withdrawing it, renewing it, another label.

On the recognise thread, between two frames, and in force with the next one.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from device.control import (
    Receipt,
    Renamed,
    RenameRequest,
    Renewed,
    RenewRequest,
    Withdrawn,
    WithdrawRequest,
    recorder,
    subject_line,
)
from device.errors import StorageError
from device.payloads import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable

    from device.control import Peer, Result
    from device.ports import Clock
    from device.recogniser import Recogniser
    from device.records import Consent

log = logging.getLogger("porter.desk")


class ConsentDesk:
    """consent: makes the consent record of an agreement that is given now, by policy text and recorder."""

    def __init__(self, recogniser: Recogniser, consent: Callable[[str, str], Consent], clock: Clock) -> None:
        self._recogniser = recogniser
        self._consent = consent
        self._clock = clock

    def serve(self, request: WithdrawRequest | RenewRequest | RenameRequest, peer: Peer) -> Result:
        """Does what is asked. Raises InputError, StorageError."""
        match request:
            case WithdrawRequest():
                return self._withdraw(request)
            case RenewRequest():
                return self._renew(request, recorder(request, peer))
            case RenameRequest():
                return self._rename(request)

    def _withdraw(self, request: WithdrawRequest) -> Withdrawn:
        """Erases a subject; who it was, and where the ledger says so. Raises InputError, StorageError."""
        gallery = self._recogniser.gallery
        try:
            subject = gallery.withdraw(request.subject)
        except StorageError:
            # Erased, perhaps, but not for certain from the medium: who is gone must not be matched meanwhile.
            self._recogniser.refresh_gallery()
            raise
        self._recogniser.refresh_gallery()
        self._recogniser.forget_label(subject.ref)
        log.info("subject_withdrawn ref=%s", subject.ref)
        now, head = self._clock.now(), gallery.marked
        receipt = Receipt(
            ref=subject.ref,
            consent=subject.consent.consent_id,
            references=subject.references,
            erased_at=rfc3339(now.utc_ns),
            clock="synced" if self._recogniser.time.believes(now) else "unsynced",
            ledger_entry=head.seq if head else None,
            ledger_sha256=head.sha256 if head else None,
        )
        return Withdrawn(subject_line(subject, now.utc_ns), receipt)

    def _renew(self, request: RenewRequest, recorded_by: str) -> Renewed:
        """Puts a new consent in the old one's place. Raises InputError, StorageError."""
        consent = self._consent(request.policy_text, recorded_by)
        try:
            subject = self._recogniser.gallery.renew(request.subject, consent)
        except StorageError:  # renewed, perhaps, but not written down: who is matched is what is stored
            self._recogniser.refresh_gallery()
            raise
        self._recogniser.refresh_gallery()
        log.info("consent_renewed ref=%s", subject.ref)
        return Renewed(subject_line(subject, consent.given_at_ns))

    def _rename(self, request: RenameRequest) -> Renamed:
        """Gives a subject another label; events that wait lose the old one. Raises InputError, StorageError."""
        subject = self._recogniser.gallery.rename(request.subject, request.label)
        self._recogniser.refresh_gallery()
        self._recogniser.forget_label(subject.ref)
        log.info("subject_renamed ref=%s", subject.ref)
        return Renamed(subject_line(subject, self._clock.now().utc_ns))
