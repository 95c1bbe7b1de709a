# SPDX-License-Identifier: Apache-2.0
"""The gallery in memory: an immutable snapshot, swapped between frames, so the core needs no lock.

A subject's template is the mean of their references: on open-set data it misses fewer than the best of five does
(docs/decisions/0004-mean-template.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from device.recognition.consent_time import ConsentTime

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from device.ports import EnrolledReferences
    from device.records import Stamp, Subject

MAX_SUBJECTS = 500
NO_MATCH = np.float32(-1.0)


class Gallery:
    """Subjects in a fixed order and one template each.

    basis: what turns a probe into the basis that the references are in ((D, D) float32); None: they are as embedded.
    time: by which consents end.
    """

    def __init__(
        self,
        enrolled: Sequence[EnrolledReferences] = (),
        *,
        basis: NDArray[np.float32] | None = None,
        time: ConsentTime | None = None,
    ) -> None:
        if len(enrolled) > MAX_SUBJECTS:
            raise ValueError(f"a gallery holds at most {MAX_SUBJECTS} subjects, not {len(enrolled)}")
        self.subjects: tuple[Subject, ...] = tuple(each.subject for each in enrolled)
        self._basis = basis
        self.time = time or ConsentTime()
        self._expires_ns = np.array([s.consent.expires_at_ns for s in self.subjects], np.int64)
        self._first_expiry_ns = min((s.consent.expires_at_ns for s in self.subjects), default=0)
        templates = [template_of(each.references) for each in enrolled]
        self._templates: NDArray[np.float32] = (
            np.stack(templates) if templates else np.empty((0, 0), np.float32)
        )

    def __len__(self) -> int:
        return len(self.subjects)

    def compare(self, embedding: NDArray[np.float32], now: Stamp) -> NDArray[np.float32]:
        """Comparison scores of one probe ((D,) float32, unit length): (N,) float32 cosines in subject order.

        A subject whose consent has ended scores -1, whatever they look like.
        """
        if not self.subjects:
            return np.empty(0, np.float32)
        if self._basis is None:
            return self.holding(self._templates @ embedding, now)
        probe = self._basis @ embedding
        scores: NDArray[np.float32] = self._templates @ probe
        probe.fill(0.0)  # numpy keeps small blocks for reuse as they are
        return self.holding(scores, now)

    def holding(self, scores: NDArray[np.float32], now: Stamp) -> NDArray[np.float32]:
        """`scores` ((N,) float32, in subject order) with -1 for everyone whose consent has ended."""
        latest_ns = self.time.latest_ns(now)
        if self._first_expiry_ns > latest_ns:
            return scores  # every consent holds
        return np.where(self._expires_ns > latest_ns, scores, NO_MATCH)

    def holds(self, subject: Subject, now: Stamp) -> bool:
        """Whether this subject's consent has not ended."""
        return subject.consent.expires_at_ns > self.time.latest_ns(now)

    def pairs_from(self, score: float) -> list[tuple[Subject, Subject, float]]:
        """Pairs of subjects whose templates compare with at least this score, the nearest first."""
        if not self.subjects:
            return []
        scores = np.triu(self._templates @ self._templates.T, 1)
        found = [(float(scores[i, j]), int(i), int(j)) for i, j in np.argwhere(scores >= score) if i < j]
        return [(self.subjects[i], self.subjects[j], near) for near, i, j in sorted(found, reverse=True)]


def template_of(references: NDArray[np.float32]) -> NDArray[np.float32]:
    """(R, D) references of unit length to (D,), their mean brought back to unit length."""
    mean: NDArray[np.float32] = references.mean(axis=0, dtype=np.float32)
    mean /= np.linalg.norm(mean)
    return mean
