# SPDX-License-Identifier: Apache-2.0
"""TLS files: always verifying, and every wrong file is named."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest

from device.adapters.broker_mqtt import MqttBroker
from device.errors import BrokerUnavailable, InputError
from device.mqtt_messages import Message
from device.tls_files import TlsFiles, explain

if TYPE_CHECKING:
    from pathlib import Path

WILL = Message("porter/v1/d/status", b"offline", retain=True)
# A certificate authority made for this test; its key was thrown away.
PEM = """\
-----BEGIN CERTIFICATE-----
MIIBgzCCASmgAwIBAgIUTcqvNYhp7kfIwkZoLOQSduSGAhIwCgYIKoZIzj0EAwIw
FjEUMBIGA1UEAwwLUG9ydGVyIHRlc3QwIBcNMjYxMTIzMDY1ODE4WhgPMjEyNjEw
MzAwNjU4MThaMBYxFDASBgNVBAMMC1BvcnRlciB0ZXN0MFkwEwYHKoZIzj0CAQYI
KoZIzj0DAQcDQgAEjyY0ey8RlKWfnGL/qjRiczoNZ7yBQaj0VVW9jSfuKm7eWwtV
e5WCLkaDB3afej9hXOeOOa9SMi3IFYAcrlTGGqNTMFEwHQYDVR0OBBYEFKsQCVna
Q6mVT+q+OR2FBsGqTcJwMB8GA1UdIwQYMBaAFKsQCVnaQ6mVT+q+OR2FBsGqTcJw
MA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIgInEMD4hQUjRbiTCV
FiO9WxXCwzfXFXxRKlurIg+tnJwCIQC3yJ6KDQ88pa5R5nKehQbDwfvrVk15ZKPg
WSIJj08aqw==
-----END CERTIFICATE-----
"""


def test_tls_always_verifies_and_speaks_1_2_at_least() -> None:
    context = TlsFiles().context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("option", ["ca_file", "cert_file", "key_file"])
def test_a_tls_file_that_is_missing_or_a_folder_is_named(tmp_path: Path, option: str) -> None:
    for path in (tmp_path / "missing.pem", tmp_path):
        with pytest.raises(InputError, match=str(path)):
            MqttBroker("h", 1, client_id="c", tls=TlsFiles(**{option: str(path)}))


@pytest.mark.parametrize("content", ["", "not pem", PEM.replace("M", "A")], ids=["empty", "text", "damaged"])
def test_a_tls_file_that_holds_no_certificate_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "wrong.pem"
    path.write_text(content)
    for files in (TlsFiles(ca_file=str(path)), TlsFiles(cert_file=str(path), key_file=str(path))):
        with pytest.raises(InputError, match=r"wrong\.pem: expected"):
            files.context()


def test_a_file_that_vanishes_later_is_unavailable_not_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text(PEM)
    broker = MqttBroker("127.0.0.1", 1, client_id="porter-d", tls=TlsFiles(ca_file=str(path)))
    path.unlink()
    with pytest.raises(BrokerUnavailable, match=r"ca\.pem: cannot be read"):
        broker.connect(WILL, 5)


def test_other_failures_keep_their_own_words() -> None:
    assert explain(OSError(113, "No route to host"), 5) == "No route to host"
    assert explain(ValueError("odd"), 5) == "odd"
