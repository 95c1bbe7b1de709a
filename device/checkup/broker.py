# SPDX-License-Identifier: Apache-2.0
"""The way to the broker, as far as somebody can go who is not the forwarder: name, port, TLS, certificates.

There is no MQTT CONNECT: under the service's client identifier it would throw the service out ("Session taken over"),
and another one the broker's rules may not know. What comes after TLS the forwarder says itself (`service.py`).
Of systemd's credentials root may look at the certificates, which are public; passwords and keys are left sealed.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device.broker_access import CA, CERTIFICATE, tls_files, too_open
from device.broker_advice import advice
from device.certificates import days_left, ends_ns, ends_of, parsed_ns, said
from device.checkup.finding import Finding
from device.checkup.runner import unreadable, within
from device.checkup.service import printable
from device.errors import InputError
from device.tls_files import explain
from device.vigil import WARN_DAYS

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from device.checkup.host import Host
    from device.options_delivery import MqttOptions
    from device.records import Stamp
    from device.tls_files import TlsFiles

STORE = "etc/credstore.encrypted"
RESOLVE_S, CONNECT_S, HANDSHAKE_S, ALERT_S = 2.0, 1.5, 1.2, 0.3
RENEW = "issue a new one (docs/broker.md)"
Address = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Trust:
    """What a handshake can be tried with. context None: with nothing. own: whether our certificate is in it."""

    context: ssl.SSLContext | None = None
    own: bool = False


class Sealed(Exception):  # noqa: N818  an answer of its own
    """A credential that this user cannot look at."""


def broker_findings(mqtt: MqttOptions, host: Host, now: Stamp) -> Iterator[Finding]:
    """All of it, in the order in which a connection needs it."""
    for name in too_open(mqtt):
        yield Finding("broker", "wrong", f"{name}: every user of this device may read it", f"chmod o= {name}")
    trust = Trust()
    if mqtt.tls:
        trust = yield from certificates(mqtt, host, now)
    yield from link(mqtt, trust, now)


def certificates(mqtt: MqttOptions, host: Host, now: Stamp) -> Generator[Finding, None, Trust]:
    """Looks at the credentials and the files, and returns what they make."""
    files = tls_files(mqtt, None)
    try:
        ca, own = credential(host, CA), credential(host, CERTIFICATE)
    except Sealed as error:
        yield Finding("broker", "note", str(error), "sudo porter doctor looks at them and tries TLS")
        return Trust()
    for name, pem in ((CA, ca), (CERTIFICATE, own)):
        if pem:
            yield ending(f"the credential {name}", ends_of(pem), now)
    if ca:
        files = replace(files, ca_file="")
    if own:
        files = replace(files, cert_file="", key_file="")  # its key is a credential, too, and stays sealed
    readable = yield from barred(files)
    if readable is None:
        return Trust()
    try:
        context = only(ca) if ca else readable.context()
    except (InputError, ssl.SSLError) as error:
        said = getattr(error, "message", f"the credential {CA}: {error}")
        yield Finding("broker", "wrong", said, getattr(error, "hint", RENEW))
        return Trust()
    for name in filter(None, (readable.ca_file, readable.cert_file)):
        yield ending(name, ends_ns(name), now)
    return Trust(context, own=bool(readable.cert_file))


def barred(files: TlsFiles) -> Generator[Finding, None, TlsFiles | None]:
    """Says what this user may not read, and returns the rest; None without the authority's file."""
    for name in filter(None, (files.ca_file, files.cert_file, files.key_file)):
        try:
            Path(name).open("rb").close()
        except PermissionError as error:
            yield unreadable("broker", error)
            if name == files.ca_file:
                return None
            return replace(files, cert_file="", key_file="")
        except OSError:
            continue  # `context` says what is wrong with it
    return files


def only(ca: str) -> ssl.SSLContext:
    """Verifies by this authority alone, host name included, TLS 1.2 at least. Raises SSLError."""
    context = ssl.create_default_context(cadata=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def credential(host: Host, name: str) -> str:
    """A certificate from systemd's store; empty where there is none. Raises Sealed."""
    path = host.path(f"{STORE}/{name}")
    try:
        path.stat()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise Sealed("whether the certificates are systemd credentials, only root may see") from error
    opened = host.run("systemd-creds", "decrypt", f"--name={name}", str(path), "-")
    if not opened.well:
        raise Sealed(f"the credential {name} cannot be opened here: {opened.text[:120]}")
    return opened.text + "\n"


def ending(name: str, ends: int | None, now: Stamp) -> Finding:
    """When a certificate ends."""
    if ends is None:
        return Finding("broker", "note", f"{name}: when it ends cannot be read here (openssl is missing?)")
    if days_left(ends, now.utc_ns) < WARN_DAYS:
        return Finding("broker", "wrong", said(name, ends, now.utc_ns), RENEW)
    return Finding("broker", "ok", said(name, ends, now.utc_ns))


def link(
    mqtt: MqttOptions,
    trust: Trust,
    now: Stamp,
    resolve: Callable[..., list[Address]] = socket.getaddrinfo,
    resolve_s: float = RESOLVE_S,
) -> Iterator[Finding]:
    """Name, port and TLS, each only where the one before is well."""
    name = f"{mqtt.host}:{mqtt.port}"
    try:
        found = within(resolve_s, lambda: resolve(mqtt.host, mqtt.port, type=socket.SOCK_STREAM))
    except TimeoutError:
        yield lost(f"{mqtt.host}: the name cannot be resolved: no answer within {resolve_s:g} s")
        return
    except (OSError, UnicodeError) as error:
        yield lost(f"{mqtt.host}: {explain(error, resolve_s)}")
        return
    try:
        connection = connected(found)
    except OSError as error:
        yield lost(f"{name}: {explain(error, CONNECT_S, tls=False)}")
        return
    with connection:
        yield Finding("broker", "ok", f"{name} ({connection.getpeername()[0]}) takes connections")
        if mqtt.tls and trust.context is not None:
            yield handshake(connection, mqtt.host, trust.context, now, own=trust.own)


def connected(addresses: list[Address]) -> socket.socket:
    """A connection to the first address that takes one, all within CONNECT_S each of two. Raises OSError."""
    failure: OSError = OSError("there is no address")
    for family, kind, number, _, address in addresses[:2]:
        connection = socket.socket(family, kind, number)
        connection.settimeout(CONNECT_S / min(2, len(addresses)))
        try:
            connection.connect(address)
        except OSError as error:
            failure = error
            connection.close()
        else:
            return connection
    raise failure


def handshake(
    connection: socket.socket, name: str, context: ssl.SSLContext, now: Stamp, *, own: bool
) -> Finding:
    """TLS, verified; says until when the broker's certificate holds. own: whether ours is in the context."""
    connection.settimeout(HANDSHAKE_S)
    try:
        with context.wrap_socket(connection, server_hostname=name) as secured:
            certificate, version = secured.getpeercert() or {}, secured.version()
            answered(secured)
    except OSError as error:
        reason = explain(error, HANDSHAKE_S)
        if not own and ("CERTIFICATE_REQUIRED" in reason or "HANDSHAKE_FAILURE" in reason):
            text = f"the broker wants a client certificate, which is not in reach here: {printable(reason)}"
            return Finding(
                "broker", "note", text, "the forwarder's own line says whether it has the right one"
            )
        return lost(reason)
    ends = parsed_ns(str(certificate["notAfter"])) if "notAfter" in certificate else None
    ended = ending(f"{version} is verified; the broker's certificate", ends, now)
    return replace(ended, hint="renew the broker's certificate") if ended.level == "wrong" else ended


def answered(secured: ssl.SSLSocket) -> None:
    """In TLS 1.3 a missing or wrong client certificate is told only after the handshake. Raises OSError."""
    secured.settimeout(ALERT_S)
    try:
        secured.recv(1)
    except TimeoutError:
        return  # a broker says nothing before CONNECT


def lost(reason: str) -> Finding:
    """A failure in words, with the same advice that the forwarder gives."""
    return Finding("broker", "wrong", printable(reason), advice(reason))
