# SPDX-License-Identifier: Apache-2.0
"""The files of a connection to the broker. TLS is always verified, host name included; failures say their cause.

The files are read anew for every connection, so that a renewed certificate needs no restart.
"""

from __future__ import annotations

import socket
import ssl
import time
from dataclasses import dataclass
from pathlib import Path

from device.errors import InputError
from device.payloads import rfc3339

PASSWORD_MAX_BYTES = 4096
NO_TLS = " (does this port speak TLS at all?)"
NOT_YET = 9  # OpenSSL's verify code


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files by path. ca_file empty: the system's authorities. cert and key: only where the broker wants them."""

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""

    def context(self) -> ssl.SSLContext:
        """Verifies certificate and host name, TLS 1.2 at least. Raises InputError that names the file."""
        for name in filter(None, (self.ca_file, self.cert_file, self.key_file)):
            _must_be_readable(name)
        try:
            context = ssl.create_default_context(cafile=self.ca_file or None)
        except (ssl.SSLError, ValueError) as error:
            raise InputError(
                f"{self.ca_file}: expected certificates in PEM form ({error})",
                hint="mqtt.ca_file names the certificate authority of the broker",
            ) from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.cert_file:
            self._load_own(context)
        return context

    def _load_own(self, context: ssl.SSLContext) -> None:
        try:
            # str() is the empty password: an encrypted key is an error, not a question on the terminal.
            context.load_cert_chain(self.cert_file, self.key_file or None, password=str)
        except (ssl.SSLError, ValueError) as error:
            hint = "mqtt.client_cert_file and mqtt.client_key_file belong together"
            if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
                raise InputError(
                    f"{self.key_file or self.cert_file}: the key is not that of {self.cert_file}", hint=hint
                ) from error
            raise InputError(
                f"{self.cert_file}: expected a certificate in PEM form, and its unencrypted key in"
                f" {self.key_file or 'the same file'} ({error})",
                hint=hint,
            ) from error


def _must_be_readable(name: str) -> None:
    try:
        Path(name).open("rb").close()
    except OSError as error:
        raise InputError(
            f"{name}: cannot be read: {error.strerror}",
            hint="see mqtt.ca_file, mqtt.client_cert_file and mqtt.client_key_file",
        ) from error


def explain(error: Exception, timeout_s: float, *, tls: bool = True) -> str:
    """Why a connection did not come about, in words that name the cause. tls: whether it was to be one."""
    if isinstance(error, ssl.SSLCertVerificationError):
        clock = (
            f" (this device's clock says {rfc3339(time.time_ns())[:10]})"
            if error.verify_code == NOT_YET
            else ""
        )
        return f"the broker's certificate was not accepted: {error.verify_message}{clock}"
    if isinstance(error, ssl.SSLError):
        plain = NO_TLS if error.reason in ("WRONG_VERSION_NUMBER", "UNEXPECTED_EOF_WHILE_READING") else ""
        return f"TLS handshake failed: {error.reason or error}{plain}"
    if isinstance(error, ConnectionResetError) and tls:  # a plain broker's answer to our greeting
        return f"{error.strerror}{NO_TLS}"
    if isinstance(error, socket.gaierror):
        return f"the name cannot be resolved: {error.strerror}"
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout_s:g} s"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def read_password(name: str) -> str:
    """The first line of the file; empty where none is named. Raises InputError; never quotes the file's content."""
    if not name:
        return ""
    hint = "mqtt.password_file: the password is the file's first line, in UTF-8"
    try:
        with Path(name).open("rb") as file:
            line = file.read(PASSWORD_MAX_BYTES + 1).split(b"\n", 1)[0].rstrip(b"\r")
        password = line.decode("utf-8")
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror}", hint=hint) from error
    except UnicodeDecodeError:
        raise InputError(f"{name}: expected text", hint=hint) from None  # its message would quote bytes
    if not password or len(line) > PASSWORD_MAX_BYTES:
        raise InputError(f"{name}: expected a password of 1 to {PASSWORD_MAX_BYTES} bytes", hint=hint)
    return password
