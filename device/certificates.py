# SPDX-License-Identifier: Apache-2.0
"""When certificates end: the broker's as a connection showed it, our own as the openssl command reads them."""

from __future__ import annotations

import ssl
import subprocess

from device.payloads import rfc3339

DAY_NS = 24 * 3600 * 1_000_000_000
OPENSSL_S = 10.0


def ends_ns(path: str) -> int | None:
    """When the first certificate in this PEM file ends (UTC, ns); None where openssl is missing or cannot read it."""
    return _asked("-in", path)


def ends_of(pem: str) -> int | None:
    """The same of a certificate that is no file."""
    return _asked(given=pem)


def _asked(*options: str, given: str = "") -> int | None:
    try:
        said = subprocess.run(
            ["openssl", "x509", "-noout", "-enddate", *options],
            input=given,
            capture_output=True,
            text=True,
            timeout=OPENSSL_S,
            check=True,
        ).stdout
        return parsed_ns(said.strip().removeprefix("notAfter="))
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def parsed_ns(text: str) -> int:
    """`Nov 24 12:00:00 2026 GMT`, as certificates have it, in UTC ns. Raises ValueError."""
    return int(ssl.cert_time_to_seconds(text)) * 1_000_000_000


def days_left(ends: int, now_utc_ns: int) -> int:
    """Whole days; negative once it has ended."""
    return (ends - now_utc_ns) // DAY_NS


def said(name: str, ends: int, now_utc_ns: int) -> str:
    """When a certificate ends, for people."""
    days = days_left(ends, now_utc_ns)
    when = rfc3339(ends)[:10]
    return f"{name} ended on {when}" if days < 0 else f"{name} ends on {when}, in {days} days"
