# SPDX-License-Identifier: Apache-2.0
"""What the forward service builds from its configuration; the running service is tested in tests/system."""

from __future__ import annotations

import argparse
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from device.config import parse
from device.errors import InputError
from device.forward_service import add_arguments, make_broker
from device.tls_files import read_password

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("content", "password"),
    [
        ("secret", "secret"),
        ("secret\nsecond line\n", "secret"),
        ("secret\r\n", "secret"),
        (" ö ß \n", " ö ß "),
    ],
)
def test_the_password_is_the_first_line_and_nothing_else_is_cut_off(
    tmp_path: Path, content: str, password: str
) -> None:
    file = tmp_path / "password"
    file.write_bytes(content.encode())
    assert read_password(str(file)) == password


def test_without_a_file_there_is_no_password() -> None:
    assert read_password("") == ""


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfesecret", b"x" * 5000])
def test_a_wrong_password_file_is_named_and_never_quoted(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "password"
    file.write_bytes(content)
    with pytest.raises(InputError, match="password: expected") as caught:
        read_password(str(file))
    assert "secret" not in str(caught.value)
    assert "first line" in caught.value.hint


@pytest.mark.parametrize("name", ["missing", "."])
def test_a_password_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_password(str(tmp_path / name))


def test_tls_is_on_unless_plain_is_asked_for_by_name() -> None:
    assert make_broker(parse("mqtt:\n  host: broker\n", "porter.yaml"))._tls is not None
    assert make_broker(parse("mqtt:\n  host: broker\n  tls: false\n", "porter.yaml"))._tls is None


def test_the_client_identifier_is_stable_and_follows_the_device() -> None:
    assert make_broker(parse("device:\n  id: lobby-01\n", "porter.yaml"))._client_id == "porter-lobby-01"
    assert make_broker(parse("mqtt:\n  client_id: mine\n", "porter.yaml"))._client_id == "mine"


def test_the_configuration_has_its_usual_place() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert str(parser.parse_args([]).config) == "/etc/porter/porter.yaml"


def test_the_forwarder_loads_nothing_that_sees() -> None:
    """Small by what is not imported: each of these costs more memory than the whole forwarder may."""
    code = "import sys, device.forward_service; print(sorted(set(sys.modules) & set(sys.argv[1:])))"
    heavy = [
        "numpy",
        "PIL",
        "av",
        "ai_edge_litert",
        "cv2",
        "device.vision.detect",
        "device.recognition.gallery",
    ]
    done = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
