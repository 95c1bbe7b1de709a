# SPDX-License-Identifier: Apache-2.0
"""A gallery that forgets everything when the process ends: for replays, benchmarks and tests.

Takes its failures in the constructor: `MemoryGallery(128, fail_after=3)` has no space left after three writes.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from device.errors import StorageError
from device.ports import EnrolledReferences
from device.recognition.consent import (
    check_consent,
    checked_label,
    checked_references,
    gallery_full,
    label_taken,
    new_ref,
    subject_called,
)
from device.recognition.gallery import MAX_SUBJECTS
from device.records import Consent, LedgerHead, Subject

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray


class MemoryGallery:
    """`ports.GalleryStore` in memory. `dimension` is the length of an embedding."""

    def __init__(
        self,
        dimension: int,
        *,
        random_token: Callable[[], str] = secrets.token_hex,
        fail_after: int | None = None,
    ) -> None:
        self._dimension = dimension
        self._random_token = random_token
        self._writes_left = fail_after
        self._consents = 0
        self._marked: LedgerHead | None = None
        self._enrolled: dict[str, EnrolledReferences] = {}
        # Every axis becomes the next one: exact in float32, and whoever forgets the basis gets wrong scores.
        self._basis = np.roll(np.eye(dimension, dtype=np.float32), 1, axis=0)
        self._rotation_unwritten = False

    @property
    def basis(self) -> NDArray[np.float32]:
        """An orthogonal matrix, (D, D) float32, that only `rotate` changes."""
        return self._basis

    def load(self, now_utc_ns: int) -> Sequence[EnrolledReferences]:
        """Everyone whose consent holds at `now_utc_ns`."""
        return [one for one in self._by_label() if one.subject.consent.expires_at_ns > now_utc_ns]

    def enrol(self, label: str, consent: Consent, references: NDArray[np.float32]) -> Subject:
        """Keeps a new subject. Raises InputError, StorageError."""
        label = checked_label(label)
        check_consent(consent)
        rows = checked_references(references, self._dimension).copy()
        if label in self._enrolled:
            raise label_taken(label)
        if len(self._enrolled) >= MAX_SUBJECTS:
            raise gallery_full()
        self._write()
        self._consents += 1
        subject = Subject(
            subject_id=self._random_token()[:32],
            ref=new_ref(self._random_token, {one.subject.ref for one in self._enrolled.values()}),
            label=label,
            consent=replace(consent, consent_id=f"c_{self._consents}"),
            references=len(rows),
        )
        self._enrolled[label] = EnrolledReferences(subject, rows @ self._basis.T)
        return subject

    def renew(
        self, label_or_ref: str, consent: Consent, references: NDArray[np.float32] | None = None
    ) -> Subject:
        """Puts a new consent, and new references where some are given, in the old ones' place."""
        old = subject_called(label_or_ref, self.subjects())
        check_consent(consent)
        rows = self._enrolled[old.label].references
        if references is not None:
            rows = checked_references(references, self._dimension) @ self._basis.T
        self._write()
        self._consents += 1
        consent = replace(consent, consent_id=f"c_{self._consents}")
        subject = replace(old, consent=consent, references=len(rows))
        self._enrolled[old.label] = EnrolledReferences(subject, rows)
        return subject

    def rename(self, label_or_ref: str, label: str) -> Subject:
        """Gives a subject another label."""
        old = subject_called(label_or_ref, self.subjects())
        label = checked_label(label)
        if label != old.label and label in self._enrolled:
            raise label_taken(label)
        self._write()
        subject = replace(old, label=label)
        self._enrolled[label] = EnrolledReferences(subject, self._enrolled.pop(old.label).references)
        return subject

    def subjects(self) -> Sequence[Subject]:
        """Everyone kept, by label."""
        return [one.subject for one in self._by_label()]

    def withdraw(self, label_or_ref: str) -> Subject:
        """Forgets a subject. Raises InputError, StorageError."""
        one = subject_called(label_or_ref, self.subjects())
        self._write()
        del self._enrolled[one.label]
        return one

    def erase_expired(self, now_utc_ns: int) -> Sequence[Subject]:
        """Forgets everyone whose consent has ended; returns them."""
        ended = [one for one in self.subjects() if one.consent.expires_at_ns <= now_utc_ns]
        if ended:
            self._write()
        for one in ended:
            del self._enrolled[one.label]
        return ended

    @property
    def marked(self) -> LedgerHead | None:
        """The ledger head noted last."""
        return self._marked

    def mark(self, head: LedgerHead) -> None:
        """Notes how far the ledger has come."""
        self._marked = head
        self._rotation_unwritten = False

    @property
    def rotation_unwritten(self) -> bool:
        """Whether `rotate` was called since `mark`."""
        return self._rotation_unwritten

    def rotate(self) -> bool:
        """Takes another basis; there are no keys. Raises StorageError."""
        self._write()
        self._basis = np.roll(self._basis, 1, axis=0)
        self._enrolled = {
            label: EnrolledReferences(one.subject, np.roll(one.references, 1, axis=1))
            for label, one in self._enrolled.items()
        }
        self._rotation_unwritten = True
        return False

    def close(self) -> None:
        """Nothing to give back."""

    def _by_label(self) -> list[EnrolledReferences]:
        return [self._enrolled[label] for label in sorted(self._enrolled)]

    def _write(self) -> None:
        if self._writes_left is None:
            return
        if self._writes_left == 0:
            raise StorageError("gallery: no space left", hint="free some space")
        self._writes_left -= 1
