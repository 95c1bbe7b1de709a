# SPDX-License-Identifier: Apache-2.0
"""RAUC itself refuses what Porter refuses: whoever asks it to install, a person or a server's client."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.required import need
from tests.system.rauc_service import Rauc

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.system


@pytest.fixture(autouse=True)
def _able() -> None:
    for tool, package in (("rauc", "rauc"), ("dbus-daemon", "dbus"), ("openssl", "openssl")):
        need(tool, package)
    if os.geteuid():
        pytest.skip("RAUC mounts bundles: only root can")


def test_an_install_by_anybody_is_remembered_and_tried_by_the_next_reboot(tmp_path: Path) -> None:
    with Rauc(tmp_path, "0.1.0") as rauc:
        assert rauc.install(rauc.bundle("0.2.0+gabc")), rauc.said
        record = rauc.book.read()
        assert record is not None, rauc.said
        assert (record.version, record.from_version) == ("0.2.0+gabc", "0.1.0")
        assert (record.outcome, record.slot, record.broker) == ("installed", "b", False)
        assert (tmp_path / "reboot-param").read_text() == "0 tryboot\n"
        assert rauc.slot("rootfs.1") == b"0.2.0+gabc" * 1000


def test_an_older_version_is_refused_before_a_byte_is_written_unless_somebody_here_asked_for_it(
    tmp_path: Path,
) -> None:
    with Rauc(tmp_path, "0.1.0") as rauc:
        older = rauc.bundle("0.0.9")
        assert not rauc.install(older)
        assert "0.0.9 is older than 0.1.0, which runs" in rauc.said
        assert rauc.book.read() is None
        assert rauc.slot("rootfs.1") == b""
        assert not (tmp_path / "reboot-param").exists()
        rauc.permit.write_text("0.0.9")
        assert rauc.install(older), rauc.said
        assert rauc.slot("rootfs.1") == b"0.0.9" * 1000
        assert not rauc.install(older), "the permit was good once"


def test_nothing_is_installed_over_the_system_to_go_back_to(tmp_path: Path) -> None:
    """The second slot runs, and nothing says yet that it stays."""
    with Rauc(tmp_path, "0.2.0", running=3) as rauc:
        assert not rauc.install(rauc.bundle("0.3.0"))
        assert "the running system is itself on trial" in rauc.said
        assert rauc.slot("rootfs.0") == b""
        assert rauc.book.read() is None
