# SPDX-License-Identifier: Apache-2.0
"""The rules every gallery store keeps: what a label, a consent and a subject's references must be.

The SQLite store states the same limits once more in its schema, so that no other program can break them either.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

import numpy as np

from device.errors import InputError
from device.recognition.gallery import MAX_SUBJECTS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from numpy.typing import NDArray

    from device.records import Consent, Subject

MAX_REFERENCES = 8
DAY_NS = 86_400_000_000_000
MAX_CONSENT_NS = 1096 * DAY_NS  # three calendar years hold at most one 29 February
EARLIEST_NS = (
    1_767_225_600_000_000_000  # 2026-01-01: Porter did not exist before, so an earlier clock is wrong
)
UNIT_TOLERANCE = 1e-3
REF = re.compile(r"p_[0-9a-f]{4,32}")


def normal_label(label: str) -> str:
    """`label` as it is stored and looked up: NFC, trimmed."""
    return unicodedata.normalize("NFC", label).strip()


def checked_label(label: str) -> str:
    """`label` as it is stored: 1 to 64 printable characters, not like a ref. Raises InputError."""
    clean = normal_label(label)
    if not 1 <= len(clean) <= 64 or not clean.isprintable():
        raise InputError(
            f"label {label!r}: expected 1 to 64 printable characters",
            hint="choose a short name without line breaks, e.g. front-desk",
        )
    if REF.fullmatch(clean):
        raise InputError(
            f"label {label!r} looks like a ref", hint="choose a name that does not begin with p_"
        )
    return clean


def check_consent(consent: Consent) -> None:
    """Raises InputError where `consent` is none: nothing stated, wrong hash, or longer than three years."""
    for name, text, longest in (("purpose", consent.purpose, 200), ("recorded_by", consent.recorded_by, 200)):
        if not 1 <= len(text) <= longest or not text.isprintable():
            raise InputError(f"consent: {name} {text!r}: expected 1 to {longest} printable characters")
    if not re.fullmatch(r"[0-9a-f]{64}", consent.policy_sha256):
        raise InputError(f"consent: policy_sha256 {consent.policy_sha256!r}: expected 64 hexadecimal digits")
    if consent.given_at_ns < EARLIEST_NS:
        raise InputError(
            "consent: given before 2026, so this device's clock is wrong",
            hint="set the clock (timedatectl), or wait until it is synchronised, and enrol again",
        )
    if not 0 < consent.expires_at_ns - consent.given_at_ns <= MAX_CONSENT_NS:
        raise InputError(
            "consent: must end after it was given, and at most three years after",
            hint="lower enrolment.consent_months",
        )


def checked_references(references: NDArray[np.float32], dimension: int) -> NDArray[np.float32]:
    """`references` as contiguous (R, `dimension`) float32, 1 to 8 rows of unit length. Raises InputError."""
    rows = np.ascontiguousarray(references, dtype="<f4")
    if rows.ndim != 2 or rows.shape[1] != dimension or not 1 <= rows.shape[0] <= MAX_REFERENCES:
        raise InputError(f"references: shape {rows.shape}: expected (1 to {MAX_REFERENCES}, {dimension})")
    if not sound(rows):
        raise InputError("references: expected finite rows of unit length")
    return rows


def sound(rows: NDArray[np.float32]) -> bool:
    """Whether all rows are finite and of unit length within 1e-3."""
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.linalg.norm(rows, axis=1)
    return bool(np.isfinite(rows).all() and (np.abs(lengths - 1.0) <= UNIT_TOLERANCE).all())


def new_ref(random_token: Callable[[], str], taken: Collection[str]) -> str:
    """A ref that this device has not given to anyone present: `p_` and 8 hexadecimal digits of a random token."""
    for _ in range(100):
        ref = f"p_{random_token()[:8]}"
        if ref not in taken:
            return ref
    raise ValueError("random_token gave the same token a hundred times")


def subject_called(label_or_ref: str, subjects: Iterable[Subject]) -> Subject:
    """The one of this label or ref. Raises InputError where there is none."""
    ref, label = label_or_ref.strip(), normal_label(label_or_ref)
    for subject in subjects:
        if ref == subject.ref or label == subject.label:
            return subject
    raise InputError(f"nobody is enrolled as {label_or_ref!r}", hint="`porter subjects` lists who is")


def label_taken(label: str) -> InputError:
    """The error where the label is another subject's."""
    return InputError(
        f"label {label!r} is already taken",
        hint=f"choose another label, or erase the present one first: porter withdraw {label!r}",
    )


def gallery_full() -> InputError:
    """The error of the 501st subject."""
    return InputError(
        f"the gallery holds {MAX_SUBJECTS} subjects, which is the most it ever will",
        hint="withdraw somebody who no longer needs to be known",
    )
