# SPDX-License-Identifier: Apache-2.0
"""The ledger's file: power cuts, damage, a full disk, and the command that verifies it."""

from __future__ import annotations

import stat
from contextlib import closing
from typing import TYPE_CHECKING

import msgspec
import pytest

from device.adapters.ledger_file import FileLedger
from device.cli import main
from device.errors import GalleryLocked, StorageError
from tests.contracts.test_ledger import entry
from tests.unit.test_gallery_sqlite import file_size_limit

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger of four entries."""
    path = tmp_path / "consent-ledger.jsonl"
    with closing(FileLedger(path)) as ledger:
        for number in range(4):
            ledger.append(entry(f"s{number}"))
    return path


def test_it_survives_closing_and_only_its_owner_reads_it(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with closing(FileLedger(path)) as ledger:
        assert [one.subject for one in ledger.entries] == ["s0", "s1", "s2", "s3"]
        assert ledger.append(entry()).seq == 5


def test_every_changed_byte_is_found(path: Path) -> None:
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        if whole[place : place + 1] == b"\n":
            continue
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(GalleryLocked, match=r"line [1-4]"):
            FileLedger(path)
    path.write_bytes(whole)
    FileLedger(path).close()


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_line_that_is_missing_is_found(path: Path, lost: int) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:lost] + lines[lost + 1 :]))
    with pytest.raises(GalleryLocked, match=f"line {lost + 1}: expected entry {lost + 1}"):
        FileLedger(path)


@pytest.mark.parametrize("left", [1, 40, 200])
def test_a_torn_last_line_is_cut_off_and_the_rest_is_kept(path: Path, left: int) -> None:
    whole = path.read_bytes()
    with closing(FileLedger(path)) as ledger:
        ledger.append(entry("torn"))
    path.write_bytes(path.read_bytes()[: len(whole) + left])
    with closing(FileLedger(path)) as ledger:
        assert len(ledger.entries) == 4
        assert path.read_bytes() == whole
        ledger.append(entry("again"))
    with closing(FileLedger(path)) as ledger:
        assert ledger.entries[-1].subject == "again"


def test_a_full_disk_leaves_no_half_line(path: Path) -> None:
    whole = path.read_bytes()
    with closing(FileLedger(path)) as ledger:
        with file_size_limit(len(whole) + 100), pytest.raises(StorageError, match="cannot be written"):
            ledger.append(entry("lost"))
        assert path.read_bytes() == whole
        assert ledger.append(entry("kept")).seq == 5
    with closing(FileLedger(path)) as ledger:
        assert ledger.entries[-1].subject == "kept"


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="folder does not exist"):
        FileLedger(tmp_path / "nowhere" / "ledger.jsonl")


def test_verify_says_how_many_and_the_newest(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ledger", "verify", "--file", str(path)]) == 0
    said = capsys.readouterr().out
    assert "4 entries" in said
    assert "entry 4" in said


def test_verify_names_the_line_that_was_changed(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_bytes(path.read_bytes().replace(b'"subject":"s2"', b'"subject":"s9"'))
    assert main(["ledger", "verify", "--file", str(path)]) == 1
    assert "line 3: was changed" in capsys.readouterr().err


def test_verify_without_a_ledger_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ledger", "verify", "--file", str(tmp_path / "none")]) == 2
    assert "sudo" in capsys.readouterr().err


def test_export_of_a_ref_gives_its_lines_without_a_service(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    socket = ["--socket", str(tmp_path / "no.sock")]
    assert main(["ledger", "export", "p_1234abcd", "--file", str(path), *socket]) == 0
    said = msgspec.json.decode(capsys.readouterr().out)
    assert said["present"] is None
    assert [line["seq"] for line in said["ledger"]] == [1, 2, 3, 4]
    assert main(["ledger", "export", "p_ffffffff", "--file", str(path), *socket]) == 2


@pytest.mark.parametrize("words", [["export"], ["verify", "anna"]])
def test_a_subject_goes_with_export_alone(path: Path, words: list[str]) -> None:
    assert main(["ledger", *words, "--file", str(path)]) == 2
