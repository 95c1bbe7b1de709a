# SPDX-License-Identifier: Apache-2.0
"""Never 8: at most 500 subjects, in memory as on disk (the disk's tests are in test_no_consent_no_template.py)."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from device.adapters.gallery_memory import MemoryGallery
from device.errors import InputError
from device.payloads import VisionInfo
from device.ports import EnrolledReferences
from device.recognition.gallery import MAX_SUBJECTS, Gallery
from device.records import Consent
from tests.people import NS, at, subject

ROW = np.eye(8, dtype=np.float32)[:1]


def enrolled(count: int) -> list[EnrolledReferences]:
    return [EnrolledReferences(subject(n), ROW) for n in range(count)]


def test_five_hundred_is_the_limit() -> None:
    assert MAX_SUBJECTS == 500


def test_a_snapshot_of_501_is_refused() -> None:
    assert len(Gallery(enrolled(500))) == 500
    with pytest.raises(ValueError, match="at most 500"):
        Gallery(enrolled(501))


def test_the_501st_enrolment_is_refused_and_the_500_stay() -> None:
    gallery = MemoryGallery(8)
    consent = Consent("", "door", "ab" * 32, at(0).utc_ns, at(60).utc_ns + NS, "alice")
    for number in range(500):
        gallery.enrol(f"person {number}", consent, ROW)
    with pytest.raises(InputError, match="500"):
        gallery.enrol("one too many", consent, ROW)
    assert len(gallery.subjects()) == 500


def test_no_device_can_even_say_that_it_knows_more() -> None:
    said = msgspec.json.encode(VisionInfo(cameras=[], models=[], subjects=501))
    with pytest.raises(msgspec.ValidationError, match="500"):
        msgspec.json.decode(said, type=VisionInfo)
