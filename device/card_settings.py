# SPDX-License-Identifier: Apache-2.0
"""The settings files that somebody puts onto a card's first partition: which there are, and what each must hold.

Nothing here touches a disk. What may surprise: files come from any computer, so a byte-order mark, Windows line ends, a
name in capitals and a `.txt` at its end are taken as meant; everything else that is not as expected is refused with the
reason, and the setting that was there stays.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from device import config
from device.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_BYTES = 64 * 1024
KEPT = frozenset({"readme.txt", "problems.txt"})
KEY_TYPES = ("ssh-ed25519", "ssh-rsa", "ecdsa-sha2-", "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-")
HOSTNAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
TIMEZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}")


class SettingError(InputError):
    """A settings file that cannot be taken; its message says what was expected."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One settings file. secret: it is sealed as the credential `porter.NAME` and stored nowhere else."""

    name: str
    check: Callable[[bytes], bytes]
    secret: bool = False

    @property
    def credential(self) -> str:
        """The credential's name: `wifi.conf` is porter.wifi."""
        return f"porter.{self.name.partition('.')[0]}"


def text_of(data: bytes) -> str:
    """A text file from any computer, lines ended by one newline. Raises SettingError where it is none."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise SettingError("expected UTF-8, got UTF-16", hint="save it as UTF-8, without any formatting")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SettingError(
            f"expected text in UTF-8, byte {error.start} is not", hint="save it as UTF-8"
        ) from None
    if text and not text.strip("\0"):
        raise SettingError("it is empty", hint="was the card taken out of the computer without ejecting it?")
    if "\0" in text:
        raise SettingError("expected text, got binary data", hint="is it the right file?")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _line(data: bytes) -> str:
    lines = [line.strip() for line in text_of(data).split("\n") if line.strip()]
    if len(lines) != 1:
        raise SettingError(f"expected one line, got {len(lines)}")
    return lines[0]


def _porter_yaml(data: bytes) -> bytes:
    text = text_of(data)
    try:
        config.parse(text, "porter.yaml")
    except InputError as error:
        raise SettingError(str(error)) from error
    return text.encode()


def _wifi(data: bytes) -> bytes:
    """wpa_supplicant's own form, of which only networks and the country are taken."""
    depth, networks = 0, 0
    for number, line in enumerate((each.strip() for each in text_of(data).split("\n")), 1):
        if not line or line.startswith("#"):
            continue
        if depth:
            depth -= line == "}"
        elif re.fullmatch(r"network\s*=\s*\{", line):
            depth, networks = 1, networks + 1
        elif not re.fullmatch(r"country=[A-Z]{2}", line):
            raise SettingError(
                f"line {number}: expected country=XX or network={{",
                hint="README.txt on the card shows the form",
            )
    if depth or not networks:
        said = "a network={ without its }" if depth else "no network={ ... }"
        raise SettingError(
            f"expected whole networks, got {said}", hint="README.txt on the card shows the form"
        )
    return text_of(data).encode()


def _authorized_keys(data: bytes) -> bytes:
    """Public keys without options. An empty file is a wish as well: nobody logs in any more."""
    kept = []
    for number, line in enumerate((each.strip() for each in text_of(data).split("\n")), 1):
        if not line or line.startswith("#"):
            continue
        kind, _, rest = line.partition(" ")
        if "PRIVATE KEY" in line:
            raise SettingError(
                "this is a private key: it belongs to nobody but you", hint="take the .pub file"
            )
        if not kind.startswith(KEY_TYPES):
            raise SettingError(f"line {number}: expected a public key, e.g. `ssh-ed25519 AAAA...`")
        if not _whole_key(kind, rest.split(" ")[0]):
            raise SettingError(
                f"line {number}: the key is cut short or damaged", hint="copy the whole .pub file"
            )
        kept.append(line)
    return "".join(f"{line}\n" for line in kept).encode()


def _whole_key(kind: str, encoded: str) -> bool:
    """Whether it is a key of that kind with nothing missing: fields, each after its length (RFC 4253, 6.6)."""
    try:
        blob = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return False
    at, fields = 0, []
    while at + 4 <= len(blob):
        length = int.from_bytes(blob[at : at + 4], "big")
        fields.append(blob[at + 4 : at + 4 + length])
        at += 4 + length
    return at == len(blob) and len(fields) > 1 and fields[0] == kind.encode()


def _hostname(data: bytes) -> bytes:
    name = _line(data).lower().removesuffix(".local")
    if not HOSTNAME.fullmatch(name):
        raise SettingError("expected 1 to 63 letters, digits and -, not - at an end")
    return name.encode()


def _timezone(data: bytes) -> bytes:
    name = _line(data)
    if not TIMEZONE.fullmatch(name):
        raise SettingError("expected a name as Europe/Berlin or UTC")
    return name.encode()


def _word(data: bytes) -> bytes:
    """A user's name or a password: blanks at its ends may be meant, the line end of an editor is not."""
    word = text_of(data).rstrip("\n")
    if not word or "\n" in word:
        raise SettingError("expected one line")
    return word.encode()


def _pem(kind: str) -> Callable[[bytes], bytes]:
    def check(data: bytes) -> bytes:
        text = text_of(data)
        if not re.search(rf"-----BEGIN [A-Z ]*{kind}-----\n[^-]+-----END", text):
            raise SettingError(f"expected a {kind.lower()} in PEM form (-----BEGIN ... {kind}-----)")
        return text.encode()

    return check


SETTINGS = (
    Setting("porter.yaml", _porter_yaml),
    Setting("hostname", _hostname),
    Setting("timezone", _timezone),
    Setting("authorized_keys", _authorized_keys),
    Setting("wifi.conf", _wifi, secret=True),
    Setting("mqtt-username", _word, secret=True),
    Setting("mqtt-password", _word, secret=True),
    Setting("mqtt-ca", _pem("CERTIFICATE"), secret=True),
    Setting("mqtt-client-cert", _pem("CERTIFICATE"), secret=True),
    Setting("mqtt-client-key", _pem("PRIVATE KEY"), secret=True),
)


def setting_for(file_name: str) -> Setting | None:
    """The setting that a file on the card means, whatever an editor made of its name; None for a name not known."""
    meant = file_name.casefold()
    for setting in SETTINGS:
        if meant in (setting.name, f"{setting.name}.txt"):
            return setting
    return None
