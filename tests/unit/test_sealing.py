# SPDX-License-Identifier: Apache-2.0
"""Boxes and the device key: where it comes from, and what is said of one that is none."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import numpy as np
import pytest

from device.errors import GalleryLocked, StorageError
from device.sealing import CREDENTIAL, KEY_BYTES, new_key, opened, random_basis, read_device_key, seal

if TYPE_CHECKING:
    from pathlib import Path


def test_what_was_sealed_opens_with_its_key_and_name_alone() -> None:
    key = new_key()
    box = seal(key, "s1 0", b"content")
    assert opened(key, "s1 0", box) == b"content"
    assert opened(new_key(), "s1 0", box) is None
    assert opened(key, "s1", box) is None
    assert opened(key, "s1 1", box) is None


def test_a_changed_or_shortened_box_does_not_open() -> None:
    key = new_key()
    box = seal(key, "s1", b"content")
    for place in range(len(box)):
        assert opened(key, "s1", box[:place] + bytes([box[place] ^ 1]) + box[place + 1 :]) is None
        assert opened(key, "s1", box[:place]) is None


def test_a_basis_is_orthogonal_and_never_the_same() -> None:
    one, other = random_basis(128), random_basis(128)
    np.testing.assert_allclose(one @ one.T, np.eye(128), atol=1e-6)
    assert np.abs(one - other).max() > 0.1


def test_the_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    (tmp_path / "device.key.new").write_bytes(b"torn by a power cut")
    key = read_device_key(None, tmp_path)
    assert key.beside
    assert len(key.secret) == KEY_BYTES
    assert [file.name for file in tmp_path.iterdir()] == ["device.key"]
    assert stat.S_IMODE((tmp_path / "device.key").stat().st_mode) == 0o600
    assert read_device_key(None, tmp_path) == key


def test_a_credential_comes_before_the_file(tmp_path: Path) -> None:
    read_device_key(None, tmp_path)
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    assert read_device_key(credentials, tmp_path).beside, "the service manager gave none"
    (credentials / CREDENTIAL).write_bytes(b"c" * KEY_BYTES)
    key = read_device_key(credentials, tmp_path)
    assert (key.secret, key.beside) == (b"c" * KEY_BYTES, False)


def test_a_key_is_never_shown(tmp_path: Path) -> None:
    assert "secret" not in repr(read_device_key(None, tmp_path))


@pytest.mark.parametrize("wrong", [b"", b"x" * 31, b"x" * 33])
def test_a_key_of_another_length_is_refused_and_left(tmp_path: Path, wrong: bytes) -> None:
    (tmp_path / "device.key").write_bytes(wrong)
    with pytest.raises(GalleryLocked, match=f"expected 32 random bytes, found {len(wrong)}"):
        read_device_key(None, tmp_path)
    assert (tmp_path / "device.key").read_bytes() == wrong


def test_a_missing_key_is_not_made_for_a_reader(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be read"):
        read_device_key(None, tmp_path, make=False)
    assert not list(tmp_path.iterdir())
