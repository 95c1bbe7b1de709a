# SPDX-License-Identifier: Apache-2.0
"""What to do about a connection that did not come about, by the words of its failure.

The words are those of `tls_files.explain`, of OpenSSL's alerts, of paho's reason codes and of the C library. Whatever
is not in the table still has its own words; only the advice is general then.
"""

from __future__ import annotations

ADVICE = (
    ("is not yet valid", "is this device's clock right? timedatectl"),
    ("certificate has expired", "renew the broker's certificate; is this device's clock right? timedatectl"),
    ("mismatch, certificate is not valid for", "mqtt.host must be a name in the broker's certificate"),
    ("unable to get", "mqtt.ca_file names the authority that signed the broker's certificate"),
    ("self-signed certificate", "mqtt.ca_file names the authority that signed the broker's certificate"),
    ("UNSUPPORTED_PROTOCOL", "the broker speaks only TLS older than 1.2, which Porter does not"),
    ("ALERT_PROTOCOL_VERSION", "the broker speaks only TLS older than 1.2, which Porter does not"),
    ("ALERT_CERTIFICATE_EXPIRED", "this device's certificate has expired: issue a new one"),
    ("ALERT_UNKNOWN_CA", "the broker does not know the authority that signed mqtt.client_cert_file"),
    ("ALERT_BAD_CERTIFICATE", "the broker does not take mqtt.client_cert_file: is it for clients?"),
    ("CERTIFICATE_REVOKED", "this device's certificate was revoked: issue a new one"),
    ("CERTIFICATE_REQUIRED", "the broker wants mqtt.client_cert_file and mqtt.client_key_file"),
    ("want a client certificate?", "mqtt.client_cert_file and mqtt.client_key_file, if it does"),
    ("HANDSHAKE_FAILURE", "does the broker want mqtt.client_cert_file and mqtt.client_key_file?"),
    ("speak TLS at all?", "brokers speak TLS on 8883 mostly; plain TCP must be asked for by mqtt.tls: false"),
    ("expect TLS?", "mqtt.tls: true, or another mqtt.port"),
    (
        "Bad user name or password",
        "mqtt.username and mqtt.password_file, or the credentials (docs/broker.md)",
    ),
    (
        "Not authorized",
        "may this user, with this client id, connect? the broker's rules say (docs/broker.md)",
    ),
    ("Client identifier not valid", "the broker wants another mqtt.client_id"),
    ("Banned", "the broker has banned this device: its administrator knows why"),
    ("Quota exceeded", "the broker's quota is used up: its administrator can raise it"),
    ("Connection rate exceeded", "too many connect at once; Porter tries again by itself"),
    ("Server busy", "the broker is busy; Porter tries again by itself"),
    ("Server unavailable", "the broker is not ready; Porter tries again by itself"),
    ("Use another server", "the broker has moved; Porter does not follow by itself: set mqtt.host"),
    ("Server moved", "the broker has moved; Porter does not follow by itself: set mqtt.host"),
    ("Session taken over", "somebody else connects under this client id: is device.id given twice?"),
    ("cannot be resolved", "is mqtt.host right, and is there a name server? resolvectl status"),
    ("Connection refused", "does the broker run, and does it listen on mqtt.port?"),
    ("No route to host", "is this device in the right network? ip route"),
    ("Network is unreachable", "is this device's network up? ip address"),
    ("no answer", "does the broker run? is a firewall between?"),
)
GENERAL = "journalctl -u porter-forward; docs/broker.md"
# With these a person must act, so there is no use in waiting whether it passes.
LASTING = (
    "certificate was not accepted",
    "TLS handshake failed",
    "speak TLS at all?",
    "refused the connection",
)


def advice(reason: str) -> str:
    """What to do, in one line."""
    return next((hint for words, hint in ADVICE if words in reason), GENERAL)


def lasting(reason: str) -> bool:
    """Whether it will not pass by itself."""
    return any(words in reason for words in LASTING)
