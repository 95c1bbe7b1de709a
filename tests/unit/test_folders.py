# SPDX-License-Identifier: Apache-2.0
"""What both processes share lies in a folder of its own; the gallery and the control socket never do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import device
from device.errors import ConfigError, StorageError
from device.folders import GALLERY, existing_folder, shared_folder

PACKAGE = Path(device.__file__).parent


def test_a_missing_folder_names_the_option_and_who_makes_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"porter\.yaml: device\.state_dir: expected an existing folder"):
        existing_folder(str(tmp_path / "none"), "device.state_dir", Path("porter.yaml"))


def test_a_file_in_the_folders_place_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError):
        existing_folder(str(tmp_path / "file"), "device.state_dir", Path("porter.yaml"))


def test_the_shared_folder_is_made_once_and_closed_to_others(tmp_path: Path) -> None:
    made = shared_folder(tmp_path)
    assert made == shared_folder(tmp_path) == tmp_path / "shared"
    assert made.stat().st_mode & 0o007 == 0


def test_a_shared_folder_that_cannot_be_made_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "shared").touch()
    with pytest.raises(StorageError, match="systemd-tmpfiles --create"):
        shared_folder(tmp_path)


def test_only_the_outbox_and_the_board_are_shared() -> None:
    """Neither service puts anything else below `shared`, and the gallery lies beside it."""
    vision = "".join((PACKAGE / name).read_text("utf-8") for name in ("vision_service.py", "stores.py"))
    forward = (PACKAGE / "forward_service.py").read_text("utf-8")
    shared = re.compile(r"(?:shared_folder\(\w+\)|SHARED) / (?:folders\.)?(\w+)")
    assert sorted(set(shared.findall(vision))) == ["BOARD", "OUTBOX"]
    assert sorted(set(shared.findall(forward))) == ["BOARD", "OUTBOX"]
    assert "state_dir / folders.GALLERY," in vision
    assert GALLERY == "gallery.sqlite"
    assert "run_dir / SOCKET_NAME" in vision
    assert "gallery" not in re.sub(r'""".*?"""', "", forward, flags=re.DOTALL)
