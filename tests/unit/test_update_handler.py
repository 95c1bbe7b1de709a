# SPDX-License-Identifier: Apache-2.0
"""What RAUC's handlers refuse and remember, whatever started the install."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from device.commands.update_handler import (
    Running,
    after_install,
    before_install,
    bundle_version,
    slot_of,
)
from device.errors import InputError, StorageError
from device.update_record import UpdateBook, UpdateRecord

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = """\
[update]
compatible=porter-rpi4-debian
version={}

[bundle]
format=verity

[image.rootfs]
sha256=53e22877791a72f5f58f36d67b13e744355fffd7f6c599b8bb2e3050373b347f
size=200000
filename=root.img
"""
RUNNING = Running("0.1.0+g1", "a", "a", "b0070001", broker=True)


@pytest.fixture
def book(tmp_path: Path) -> UpdateBook:
    return UpdateBook(tmp_path / "data" / "last.json", tmp_path / "run" / "last.json")


def mounted(folder: Path, version: str) -> Path:
    """A bundle as RAUC shows it to a handler."""
    (folder / "manifest.raucm").write_text(MANIFEST.format(version))
    return folder


def test_an_install_is_remembered_as_it_begins_and_as_it_ends(book: UpdateBook, tmp_path: Path) -> None:
    bundle = mounted(tmp_path, "0.2.0+g2")
    before_install(bundle, RUNNING, book, tmp_path / "permit")
    begun = UpdateRecord("0.2.0+g2", "0.1.0+g1", "installing", broker=True, boot="b0070001", slot="b")
    assert book.read() == begun
    after_install(bundle, RUNNING, book)
    record = book.read()
    assert record is not None
    assert (record.outcome, record.version, record.slot) == ("installed", "0.2.0+g2", "b")


def test_an_alert_outlives_the_next_install(book: UpdateBook, tmp_path: Path) -> None:
    book.write(UpdateRecord("0.1.5", "0.1.0", "fell back", broker=True, why="x", failed="0.1.5: x"))
    before_install(mounted(tmp_path, "0.2.0"), RUNNING, book, tmp_path / "permit")
    record = book.read()
    assert record is not None
    assert record.failed == "0.1.5: x"


def test_an_older_version_is_refused_whoever_asks(book: UpdateBook, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"0\.0\.9 is older than 0\.1\.0\+g1"):
        before_install(mounted(tmp_path, "0.0.9"), RUNNING, book, tmp_path / "permit")
    assert book.read() is None


def test_an_older_version_is_taken_once_where_somebody_at_the_device_asked_for_it(
    book: UpdateBook, tmp_path: Path
) -> None:
    permit = tmp_path / "permit"
    permit.write_text("0.0.9")
    before_install(mounted(tmp_path, "0.0.9"), RUNNING, book, permit)
    assert not permit.exists()
    with pytest.raises(InputError, match="older"):
        before_install(mounted(tmp_path, "0.0.9"), RUNNING, book, permit)
    permit.write_text("0.0.8")
    with pytest.raises(InputError, match="older"):
        before_install(mounted(tmp_path, "0.0.9"), RUNNING, book, permit)


def test_nothing_is_installed_over_the_slot_to_go_back_to(book: UpdateBook, tmp_path: Path) -> None:
    trial = replace(RUNNING, slot="b")
    with pytest.raises(StorageError, match="on trial"):
        before_install(mounted(tmp_path, "0.2.0"), trial, book, tmp_path / "permit")


@pytest.mark.parametrize("text", ["", "[update]\n", "[update]\nversion=\n", "version=1\n", "\0", None])
def test_a_bundle_that_says_no_version_is_refused(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "manifest.raucm").write_text(text)
    with pytest.raises(InputError, match=r"manifest\.raucm"):
        bundle_version(tmp_path)


def test_an_end_without_a_beginning_is_refused(book: UpdateBook, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such install was begun"):
        after_install(mounted(tmp_path, "0.2.0"), RUNNING, book)
    before_install(tmp_path, RUNNING, book, tmp_path / "permit")
    mounted(tmp_path, "0.3.0")
    with pytest.raises(InputError, match="no such install was begun"):
        after_install(tmp_path, RUNNING, book)


def test_slots_are_named_by_their_boot_partition() -> None:
    assert (slot_of("2"), slot_of("3")) == ("a", "b")
    with pytest.raises(InputError, match="expected a slot's bootname"):
        slot_of("4")
