# SPDX-License-Identifier: Apache-2.0
"""What every gallery store promises (`ports.GalleryStore`), over SQLite and the one in memory."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
import pytest

from device.adapters.gallery_memory import MemoryGallery
from device.adapters.gallery_sqlite import SqliteGallery
from device.errors import InputError
from device.recognition.consent import MAX_CONSENT_NS
from device.records import Consent
from tests.people import KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from device.ports import GalleryStore

    Opener = Callable[[Callable[[], str]], GalleryStore]

DIMENSION = 16
GIVEN_NS = 1_795_392_000_000_000_000  # 2026-11-23
YEAR_NS = 365 * 86_400_000_000_000
CONSENT = Consent("", "recognition at this door", "ab" * 32, GIVEN_NS, GIVEN_NS + YEAR_NS, "alice")


def references(seed: int, rows: int = 5, dimension: int = DIMENSION) -> NDArray[np.float32]:
    """Random directions, (rows, dimension) float32 of unit length."""
    drawn = np.random.default_rng(seed).normal(size=(rows, dimension)).astype(np.float32)
    lengths: NDArray[np.float32] = np.linalg.norm(drawn, axis=1, keepdims=True)
    return np.divide(drawn, lengths)


def counted() -> Callable[[], str]:
    """Tokens that count: 0000...1, 0000...2 reversed, so that their first digits differ."""
    numbers = count(1)
    return lambda: f"{next(numbers):032x}"[::-1]


@pytest.fixture(params=["memory", "sqlite"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Opens a gallery with the given source of random tokens."""
    opened: list[GalleryStore] = []

    def make(random_token: Callable[[], str]) -> GalleryStore:
        gallery: GalleryStore
        if request.param == "memory":
            gallery = MemoryGallery(DIMENSION, random_token=random_token)
        else:
            gallery = SqliteGallery(
                tmp_path / "gallery.sqlite",
                simulated=True,
                embedder="sface",
                embedder_sha256="cd" * 32,
                dimension=DIMENSION,
                device_key=KEY,
                random_token=random_token,
            )
        opened.append(gallery)
        return gallery

    yield make
    for gallery in opened:
        gallery.close()


@pytest.fixture
def gallery(opener: Opener) -> GalleryStore:
    """An empty gallery."""
    return opener(counted())


def test_what_was_enrolled_is_loaded_in_the_secret_basis(gallery: GalleryStore) -> None:
    rows = references(1)
    subject = gallery.enrol("front-desk", CONSENT, rows)
    (loaded,) = gallery.load(GIVEN_NS)
    assert loaded.subject == subject
    assert loaded.references.dtype == np.float32
    np.testing.assert_allclose(loaded.references @ gallery.basis, rows, atol=1e-6)


def test_a_subject_has_a_random_ref_and_the_consent_a_number(gallery: GalleryStore) -> None:
    first = gallery.enrol("anna", CONSENT, references(1))
    second = gallery.enrol("bert", CONSENT, references(2, rows=1))
    assert first.ref.startswith("p_")
    assert len(first.ref) == 10
    assert first.ref != second.ref
    assert first.subject_id != second.subject_id
    assert (first.consent.consent_id, second.consent.consent_id) == ("c_1", "c_2")
    assert replace(first.consent, consent_id="") == CONSENT
    assert (first.references, second.references) == (5, 1)


def test_a_ref_that_is_taken_is_drawn_again(opener: Opener) -> None:
    tokens = iter(["1" * 32, "aaaaaaaa" + "0" * 24, "2" * 32, "aaaaaaaa" + "1" * 24, "bbbbbbbb" + "0" * 24])
    gallery = opener(lambda: next(tokens))
    assert gallery.enrol("anna", CONSENT, references(1)).ref == "p_aaaaaaaa"
    assert gallery.enrol("bert", CONSENT, references(2)).ref == "p_bbbbbbbb"


def test_a_consent_number_is_never_given_twice(gallery: GalleryStore) -> None:
    gallery.enrol("anna", CONSENT, references(1))
    gallery.withdraw("anna")
    assert gallery.enrol("anna", CONSENT, references(1)).consent.consent_id == "c_2"


def test_subjects_come_by_label(gallery: GalleryStore) -> None:
    for number, label in enumerate(["zoe", "Zoe", "anna", "Ömer"]):
        gallery.enrol(label, CONSENT, references(number))
    assert [one.label for one in gallery.subjects()] == ["Zoe", "anna", "zoe", "Ömer"]
    assert [one.subject for one in gallery.load(GIVEN_NS)] == list(gallery.subjects())


def test_a_label_is_normalised_and_trimmed(gallery: GalleryStore) -> None:
    assert gallery.enrol("  Jose\u0301 ", CONSENT, references(1)).label == "Jos\u00e9"
    with pytest.raises(InputError, match="already taken"):
        gallery.enrol("Jos\u00e9", CONSENT, references(2))
    assert gallery.withdraw("Jose\u0301").label == "Jos\u00e9"


@pytest.mark.parametrize("label", ["", "  ", "a" * 65, "two\nlines", "bell\x07", "p_12ab34cd", "\u202eflip"])
def test_a_label_that_cannot_be_shown_is_refused(gallery: GalleryStore, label: str) -> None:
    with pytest.raises(InputError, match="label"):
        gallery.enrol(label, CONSENT, references(1))
    assert not gallery.subjects()


def test_a_label_is_given_once_and_the_first_subject_stays(gallery: GalleryStore) -> None:
    first = gallery.enrol("anna", CONSENT, references(1))
    with pytest.raises(InputError, match="already taken"):
        gallery.enrol("anna", CONSENT, references(2))
    assert gallery.subjects() == [first]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (np.zeros((0, DIMENSION), np.float32), "shape"),
        (references(1, rows=9), "shape"),
        (references(1, dimension=DIMENSION + 1), "shape"),
        (references(1)[0], "shape"),
        (references(1) * np.float32(1.01), "unit length"),
        (np.full((1, DIMENSION), np.nan, np.float32), "finite"),
        (np.full((1, DIMENSION), np.inf, np.float32), "finite"),
    ],
)
def test_references_must_be_finite_and_of_unit_length(
    gallery: GalleryStore, bad: NDArray[np.float32], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        gallery.enrol("anna", CONSENT, bad)
    assert not gallery.subjects()


@pytest.mark.parametrize(
    "consent",
    [
        replace(CONSENT, purpose=""),
        replace(CONSENT, recorded_by=""),
        replace(CONSENT, recorded_by="x\n"),
        replace(CONSENT, policy_sha256="none"),
        replace(CONSENT, expires_at_ns=GIVEN_NS),
        replace(CONSENT, expires_at_ns=GIVEN_NS + MAX_CONSENT_NS + 1),
        replace(CONSENT, given_at_ns=0, expires_at_ns=YEAR_NS),  # a clock at 1970
    ],
)
def test_a_consent_that_is_none_is_refused(gallery: GalleryStore, consent: Consent) -> None:
    with pytest.raises(InputError, match="consent"):
        gallery.enrol("anna", consent, references(1))
    assert not gallery.subjects()


@pytest.mark.parametrize("by", ["label", "ref"])
def test_withdrawing_erases_one_subject_and_says_who_it_was(gallery: GalleryStore, by: str) -> None:
    anna = gallery.enrol("anna", CONSENT, references(1))
    bert = gallery.enrol("bert", CONSENT, references(2))
    assert gallery.withdraw(getattr(anna, by)) == anna
    assert gallery.subjects() == [bert]
    assert [one.subject for one in gallery.load(GIVEN_NS)] == [bert]


def test_withdrawing_a_stranger_is_an_error(gallery: GalleryStore) -> None:
    gallery.enrol("anna", CONSENT, references(1))
    with pytest.raises(InputError, match="nobody is enrolled as 'Anna'"):
        gallery.withdraw("Anna")
    assert len(gallery.subjects()) == 1


def test_an_ended_consent_is_not_loaded_and_then_erased(gallery: GalleryStore) -> None:
    short = gallery.enrol("short", replace(CONSENT, expires_at_ns=GIVEN_NS + 10), references(1))
    long = gallery.enrol("long", CONSENT, references(2))
    assert [one.subject for one in gallery.load(GIVEN_NS + 9)] == [long, short]
    assert [one.subject for one in gallery.load(GIVEN_NS + 10)] == [long]
    assert list(gallery.subjects()) == [long, short]
    assert gallery.erase_expired(GIVEN_NS + 9) == []
    assert gallery.erase_expired(GIVEN_NS + 10) == [short]
    assert gallery.subjects() == [long]


def test_a_renewed_consent_has_another_number_and_all_else_stays(gallery: GalleryStore) -> None:
    anna = gallery.enrol("anna", CONSENT, references(1))
    later = replace(CONSENT, policy_sha256="cd" * 32, expires_at_ns=GIVEN_NS + 2 * YEAR_NS)
    renewed = gallery.renew("anna", later)
    assert renewed == replace(anna, consent=replace(later, consent_id=renewed.consent.consent_id))
    assert renewed.consent.consent_id != anna.consent.consent_id
    (loaded,) = gallery.load(GIVEN_NS + YEAR_NS)
    assert loaded.subject == renewed
    assert loaded.references @ gallery.basis == pytest.approx(references(1), abs=1e-6)


def test_new_references_replace_the_old_ones(gallery: GalleryStore) -> None:
    anna = gallery.enrol("anna", CONSENT, references(1))
    gallery.enrol("bert", CONSENT, references(2))
    renewed = gallery.renew(anna.ref, CONSENT, references(3, rows=8))
    assert (renewed.ref, renewed.label, renewed.references) == (anna.ref, "anna", 8)
    loaded = gallery.load(GIVEN_NS)[0]
    assert loaded.references @ gallery.basis == pytest.approx(references(3, rows=8), abs=1e-6)
    assert len(gallery.subjects()) == 2


def test_a_renewal_that_is_refused_changes_nothing(gallery: GalleryStore) -> None:
    anna = gallery.enrol("anna", CONSENT, references(1))
    with pytest.raises(InputError, match="nobody is enrolled"):
        gallery.renew("bert", CONSENT)
    with pytest.raises(InputError, match="consent"):
        gallery.renew("anna", replace(CONSENT, purpose=""))
    with pytest.raises(InputError, match="unit length"):
        gallery.renew("anna", CONSENT, references(3) * np.float32(2))
    assert gallery.subjects() == [anna]
    assert gallery.load(GIVEN_NS)[0].references @ gallery.basis == pytest.approx(references(1), abs=1e-6)


def test_another_label_is_the_same_subject(gallery: GalleryStore) -> None:
    anna = gallery.enrol("anna", CONSENT, references(1))
    bert = gallery.enrol("bert", CONSENT, references(2))
    assert gallery.rename("anna", " Zoë ") == replace(anna, label="Zoë")
    assert gallery.subjects() == [replace(anna, label="Zoë"), bert], "by label, capitals first"
    assert gallery.rename("Zoë", "Zoë").label == "Zoë"
    with pytest.raises(InputError, match="already taken"):
        gallery.rename("Zoë", "bert")
    with pytest.raises(InputError, match="nobody is enrolled"):
        gallery.rename("anna", "carl")
    with pytest.raises(InputError, match="1 to 64"):
        gallery.rename("bert", "")
    assert {one.subject.label for one in gallery.load(GIVEN_NS)} == {"Zoë", "bert"}


def test_closing_twice_is_harmless(gallery: GalleryStore) -> None:
    gallery.close()
    gallery.close()
