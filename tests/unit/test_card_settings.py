# SPDX-License-Identifier: Apache-2.0
"""The settings files of a card: what is taken as meant, and what is refused with a reason."""

from __future__ import annotations

import pytest

from device.card_settings import SETTINGS, SettingError, setting_for

KEY = b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGT1Hg3DrGm1ECdf36lkSSHgG2hN5g2AX4aZnXiJY1yF me@here"
PEM = b"-----BEGIN CERTIFICATE-----\nTUlJ\n-----END CERTIFICATE-----\n"
WIFI = b'country=DE\n# mine\nnetwork={\n  ssid="a"\n  psk="secret word"\n}\n'


def checked(name: str, data: bytes) -> bytes:
    setting = setting_for(name)
    assert setting is not None
    return setting.check(data)


@pytest.mark.parametrize("name", ["hostname", "HOSTNAME", "Hostname.TXT", "hostname.txt"])
def test_a_name_is_meant_whatever_the_computer_made_of_it(name: str) -> None:
    found = setting_for(name)
    assert found is not None
    assert found.name == "hostname"


@pytest.mark.parametrize("name", ["hostname.bak", "porter.yml", "", "../porter.yaml", "wifi"])
def test_another_name_is_no_setting(name: str) -> None:
    assert setting_for(name) is None


@pytest.mark.parametrize(
    ("name", "data", "stored"),
    [
        ("hostname", b"\xef\xbb\xbfFront-Door.local\r\n", b"front-door"),
        ("timezone", b"Europe/Berlin\r\n", b"Europe/Berlin"),
        ("mqtt-password", b" two  blanks \r\n", b" two  blanks "),
        ("authorized_keys", b"# mine\r\n" + KEY + b"\r\n", KEY + b"\n"),
        ("authorized_keys", b"", b""),
        ("wifi.conf", WIFI.replace(b"\n", b"\r\n"), WIFI),
        ("mqtt-ca", PEM, PEM),
        ("porter.yaml", b"device:\r\n  id: a\r\n", b"device:\n  id: a\n"),
    ],
)
def test_line_ends_and_marks_of_an_editor_are_no_part_of_a_setting(
    name: str, data: bytes, stored: bytes
) -> None:
    assert checked(name, data) == stored


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("hostname", b"-door", "letters"),
        ("hostname", b"a" * 64, "letters"),
        ("hostname", "tür".encode(), "letters"),
        ("hostname", b"a\nb\n", "one line, got 2"),
        ("hostname", b"", "one line, got 0"),
        ("hostname", "door".encode("utf-16"), "UTF-16"),
        ("hostname", b"\xff\x00\x80", "UTF-8"),
        ("timezone", b"../../etc/shadow", "Europe/Berlin"),
        ("mqtt-password", b"\n", "one line"),
        ("mqtt-password", b"a\nb", "one line"),
        ("mqtt-username", b"a\0b", "binary"),
        ("mqtt-ca", b"\x30\x82\x01\x0a", "UTF-8"),
        ("mqtt-ca", b"-----BEGIN CERTIFICATE-----\nTUlJ\n", "PEM"),
        ("mqtt-client-key", PEM, "private key"),
        ("authorized_keys", b"-----BEGIN OPENSSH PRIVATE KEY-----\n", "private key"),
        ("authorized_keys", KEY[:40], "cut short"),
        ("authorized_keys", b'command="rm" ' + KEY, "public key"),
        ("wifi.conf", b"ssid=a\n", "line 1"),
        ("wifi.conf", b"country=DE\n", r"no network=\{"),
        ("wifi.conf", WIFI.replace(b"}", b""), "without its }"),
        ("wifi.conf", WIFI + b"opensc_engine_path=/tmp/a.so\n", "line 7"),
        ("porter.yaml", b"device:\n  idd: a\n", "idd"),
        ("porter.yaml", b"\x00\x01", "binary"),
    ],
)
def test_what_is_not_as_expected_is_refused_with_the_reason(name: str, data: bytes, why: str) -> None:
    with pytest.raises(SettingError, match=why):
        checked(name, data)


def test_each_secret_has_a_credential_of_its_own() -> None:
    names = [setting.credential for setting in SETTINGS if setting.secret]
    assert sorted(names) == [
        "porter.mqtt-ca",
        "porter.mqtt-client-cert",
        "porter.mqtt-client-key",
        "porter.mqtt-password",
        "porter.mqtt-username",
        "porter.wifi",
    ]
