# SPDX-License-Identifier: Apache-2.0
"""What the broker wants of this device: user name, password and TLS files, from systemd credentials or from options.

A credential goes before the option of the same purpose, and lies encrypted on the medium (docs/broker.md). There is no
option for a password itself: a configuration is copied, shown and backed up. systemd hands credentials out as it starts
a service, so a new one needs a restart; a certificate's file that an option names is read anew for every connection, a
password's at the start and on a reload.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from device.errors import InputError
from device.tls_files import TlsFiles, read_password

if TYPE_CHECKING:
    from device.options_delivery import MqttOptions

USERNAME, PASSWORD = "porter.mqtt-username", "porter.mqtt-password"
CA, CERTIFICATE, KEY = "porter.mqtt-ca", "porter.mqtt-client-cert", "porter.mqtt-client-key"
FOR_ALL = 0o007


@dataclass(frozen=True, slots=True)
class Access:
    """Ready for a connection. tls None: plain TCP, as the configuration asked for."""

    username: str
    password: str
    tls: TlsFiles | None


def access(mqtt: MqttOptions, credentials: Path | None) -> Access:
    """From `credentials` (systemd's folder for this service) where it has them, else from the options.

    Raises InputError where a credential or a password's file is wrong.
    """
    username = read_password(found) if (found := _credential(credentials, USERNAME)) else mqtt.username
    password = read_password(_credential(credentials, PASSWORD) or mqtt.password_file)
    if password and not username:
        raise InputError(
            "a password for the broker, but no user name",
            hint=f"set mqtt.username, or give the credential {USERNAME}",
        )
    return Access(username, password, tls_files(mqtt, credentials) if mqtt.tls else None)


def tls_files(mqtt: MqttOptions, credentials: Path | None) -> TlsFiles:
    """Where the certificates are. A client certificate given as a credential brings its key as one, too."""
    certificate = _credential(credentials, CERTIFICATE)
    key = _credential(credentials, KEY) if certificate else mqtt.client_key_file
    return TlsFiles(_credential(credentials, CA) or mqtt.ca_file, certificate or mqtt.client_cert_file, key)


def too_open(mqtt: MqttOptions) -> list[str]:
    """The files with secrets that every user of this device may read."""
    found = []
    for name in filter(None, (mqtt.password_file, mqtt.client_key_file)):
        try:
            mode = Path(name).stat().st_mode
        except OSError:
            continue  # who reads it says so
        if mode & FOR_ALL:
            found.append(name)
    return found


def _credential(folder: Path | None, name: str) -> str:
    path = folder / name if folder is not None else None
    return str(path) if path is not None and path.exists() else ""
