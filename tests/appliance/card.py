# SPDX-License-Identifier: Apache-2.0
"""The shipped unit that takes settings from a card, with a real systemd-creds and in its real sandbox."""

from __future__ import annotations

import shutil
import socket
import stat
import subprocess
from pathlib import Path

CARD, DATA = Path("/boot/autoboot"), Path("/data")
SEALED = DATA / "etc" / "credstore.encrypted"
FIRST = {
    "porter.yaml": b"\xef\xbb\xbfdevice:\r\n  id: hall\r\n",
    "HOSTNAME.TXT": b"Hall\r\n",
    "mqtt-password": b"swordfish 7\r\n",
    "wifi.conf": b'country=DE\nnetwork={\n  ssid="net"\n  psk="swordfish 8"\n}\n',
    "authorized_keys": b"not a key\n",
}


def _run(*command: str, good: bool = True) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0 or not good, f"{' '.join(command)}: {done.stderr.strip()[-400:]}"
    return done.stdout


def _boot(settings: dict[str, bytes]) -> str:
    """Lays the files onto the card and starts the unit, as each boot does; the unit's result."""
    _run("mount", "-o", "remount,rw", str(CARD))
    for name, data in settings.items():
        (CARD / "porter" / name).write_bytes(data)
    _run("mount", "-o", "remount,ro", str(CARD))
    _run("systemctl", "restart", "porter-first-boot", good=False)
    return _run("systemctl", "show", "-P", "Result", "porter-first-boot").strip()


def _opened(name: str) -> str:
    """A sealed credential as a service gets it, from systemd itself."""
    sealed = f"LoadCredentialEncrypted={name}:{SEALED / name}"
    command = ["systemd-run", "--quiet", "--wait", "--pipe", "-p", sealed, "sh", "-c"]
    return _run(*command, f'cat "$CREDENTIALS_DIRECTORY/{name}"')


def _what_is_there() -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in DATA.rglob("*") if file.is_file() and not file.is_symlink()}


def the_settings_of_a_card_are_taken_sealed_and_deleted() -> str:
    name = socket.gethostname()
    for folder in (CARD, DATA / "etc", DATA / "ssh"):
        folder.mkdir(parents=True, exist_ok=True)
    # No OpenSSH in this root: its key is there already.
    (DATA / "ssh" / "ssh_host_ed25519_key").write_text("there")
    _run("mount", "-t", "tmpfs", "-o", "mode=700", "card", str(CARD))
    try:
        (CARD / "porter").mkdir()
        # One file is wrong: the unit says so, and the rest is taken.
        assert _boot(FIRST) == "exit-code", _run("journalctl", "-u", "porter-first-boot", "--no-pager")
        assert {each.name for each in (CARD / "porter").iterdir()} == {"authorized_keys", "problems.txt"}
        assert "expected a public key" in (CARD / "porter" / "problems.txt").read_text()
        assert socket.gethostname() == (DATA / "hostname").read_text() == "hall"
        assert (DATA / "etc/porter/porter.yaml").read_text() == "device:\n  id: hall\n"
        assert not (DATA / "ssh" / "authorized_keys").exists()
        assert _opened("porter.mqtt-password") == "swordfish 7"
        assert 'psk="swordfish 8"' in _opened("porter.wifi")
        assert not [file for file, data in _what_is_there().items() if b"swordfish" in data]
        assert {stat.S_IMODE(file.stat().st_mode) for file in SEALED.iterdir()} == {0o600}
        assert "swordfish" not in _run("journalctl", "--no-pager", "-b")
        # The next boot, after its owner took the wrong file away: nothing changes.
        _run("mount", "-o", "remount,rw", str(CARD))
        shutil.rmtree(CARD / "porter")
        (CARD / "porter").mkdir()
        before = _what_is_there()
        assert _boot({}) == "success"
        assert _what_is_there() == before
        options = _run("findmnt", "-rno", "OPTIONS", str(CARD)).split(",")
        assert "ro" in options, options
        return f"{sorted(each.name for each in SEALED.iterdir())}"
    finally:
        socket.sethostname(name)
        _run("umount", "--lazy", str(CARD))
