# SPDX-License-Identifier: Apache-2.0
"""What the broker wants, from systemd's credentials or the options: a credential goes first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from device.broker_access import CA, CERTIFICATE, KEY, PASSWORD, USERNAME, access, tls_files, too_open
from device.errors import InputError
from device.options_delivery import MqttOptions
from device.tls_files import TlsFiles

if TYPE_CHECKING:
    from pathlib import Path


def written(folder: Path, name: str, content: str) -> str:
    (folder / name).write_text(content)
    return str(folder / name)


def test_without_credentials_the_options_hold(tmp_path: Path) -> None:
    secret = written(tmp_path, "password", "of the option\n")
    options = MqttOptions(username="lobby", password_file=secret, ca_file="ca.pem")
    for credentials in (None, tmp_path / "none"):
        found = access(options, credentials)
        assert (found.username, found.password) == ("lobby", "of the option")
        assert found.tls == TlsFiles("ca.pem", "", "")


def test_a_credential_goes_before_its_option(tmp_path: Path) -> None:
    written(tmp_path, USERNAME, "sealed\n")
    written(tmp_path, PASSWORD, "of the credential\n")
    options = MqttOptions(username="lobby", password_file=str(tmp_path / "nowhere"))
    found = access(options, tmp_path)
    assert (found.username, found.password) == ("sealed", "of the credential")


def test_certificates_may_be_credentials_and_a_key_belongs_to_its_certificate(tmp_path: Path) -> None:
    options = MqttOptions(ca_file="ca.pem", client_cert_file="own.pem", client_key_file="own.key")
    ca = written(tmp_path, CA, "")
    assert tls_files(options, tmp_path) == TlsFiles(ca, "own.pem", "own.key")
    certificate = written(tmp_path, CERTIFICATE, "")
    assert tls_files(options, tmp_path) == TlsFiles(ca, certificate, "")  # never the other pair's key
    key = written(tmp_path, KEY, "")
    assert tls_files(options, tmp_path) == TlsFiles(ca, certificate, key)


def test_plain_must_be_asked_for_and_then_no_certificate_is_looked_at(tmp_path: Path) -> None:
    written(tmp_path, CA, "")
    assert access(MqttOptions(tls=False), tmp_path).tls is None


def test_a_password_without_a_user_name_is_named(tmp_path: Path) -> None:
    written(tmp_path, PASSWORD, "secret")
    with pytest.raises(InputError, match="no user name") as caught:
        access(MqttOptions(), tmp_path)
    assert "secret" not in str(caught.value)
    assert USERNAME in caught.value.hint


def test_a_credential_that_is_no_password_is_named_and_not_quoted(tmp_path: Path) -> None:
    (tmp_path / PASSWORD).write_bytes(b"\xff\xfesecret")
    with pytest.raises(InputError, match=r"porter\.mqtt-password: expected text") as caught:
        access(MqttOptions(username="lobby"), tmp_path)
    assert "secret" not in str(caught.value)


def test_secrets_that_every_user_may_read_are_found(tmp_path: Path) -> None:
    password, key = written(tmp_path, "password", "x"), written(tmp_path, "key", "x")
    (tmp_path / "password").chmod(0o640)
    (tmp_path / "key").chmod(0o644)
    options = MqttOptions(password_file=password, client_key_file=key, client_cert_file="/nowhere")
    assert too_open(options) == [key]
    assert too_open(MqttOptions(password_file=str(tmp_path / "gone"))) == []
