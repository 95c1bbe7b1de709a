# SPDX-License-Identifier: Apache-2.0
"""flash.sh write into a file: what it refuses before it writes, what it writes, and what an interruption leaves."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.flashing import MIB, ROOT, desk, made, run

if TYPE_CHECKING:
    from tests.flashing import Desk

__all__ = ["desk", "made"]


def test_an_image_with_the_settings_of_one_device_arrives_whole(desk: Desk) -> None:
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "me", "-f", desk.folder / "key")
    secrets = desk.folder / "secrets"
    secrets.mkdir()
    (secrets / "mqtt-password").write_text("swordfish\n")
    config = desk.file("mine.yaml", "device:\n  id: hall\n")
    wifi = desk.file("wifi", 'network={\n  ssid="net"\n  psk="password"\n}\n')
    code, said = desk.to_file(
        *(
            "--config",
            config,
            "--wifi-file",
            wifi,
            "--ssh-key",
            desk.folder / "key.pub",
            "--secrets",
            secrets,
        ),
        *("--hostname", "Front-Door", "--timezone", "Europe/Berlin"),
    )
    assert code == 0, said
    assert "swordfish" not in said
    assert desk.card.stat().st_size == 32 * MIB
    assert desk.on_card("porter/porter.yaml") == "device:\n  id: hall\n"
    assert desk.on_card("porter/mqtt-password") == "swordfish\n"
    assert desk.on_card("porter/hostname") == "Front-Door\n"
    assert desk.on_card("porter/timezone") == "Europe/Berlin\n"
    assert desk.on_card("porter/authorized_keys").startswith("ssh-ed25519 ")
    assert 'ssid="net"' in desk.on_card("porter/wifi.conf")
    image = (desk.folder / "porter.img").read_bytes()
    assert desk.card.read_bytes()[12 * MIB :] == image[12 * MIB :]
    assert list((desk.folder / "tmp").iterdir()) == []


def test_a_plain_image_without_settings_arrives_as_it_is(desk: Desk) -> None:
    desk.image = desk.folder / "porter.img"
    code, said = desk.to_file()
    assert code == 0, said
    assert desk.card.read_bytes() == desk.image.read_bytes()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--hostname", "-door"), "hostname: expected 1 to 63 letters"),
        (("--hostname", "front door"), "hostname: expected 1 to 63 letters"),
        (("--timezone", "Europe/Atlantis"), "no such time zone"),
        (("--config", "away.yaml"), "away.yaml: expected a file"),
        (("--ssh-key", "{folder}/bad.yaml"), "expected a public key"),
        (("--config", "{folder}/bad.yaml"), "porter.yaml:1: devise"),
        (("--wifi-file", "{folder}/bad.yaml"), "expected country=XX or network={"),
        (("--secrets", "{folder}/empty"), "empty, expected any of wifi.conf"),
        (("--secrets", "{folder}"), "is none of wifi.conf"),
        (("--mqtt-client-cert", "{folder}/cert"), "certificate and key go together"),
        (("--hostname",), "wants a value"),
        (("--colour", "red"), "unknown option --colour"),
        (("--sha256", "0" * 64), "its SHA-256 is"),
        (("--sha256", "abc"), "expected a SHA-256"),
        (("--image", "{folder}/away.img"), "expected a file"),
        (("--image", "{folder}/bad.yaml"), "expected .img"),
        (("/dev/null",), "a disk or --to-file"),
    ],
)
def test_what_is_wrong_ends_before_anything_is_written(
    desk: Desk, words: tuple[str, ...], reason: str
) -> None:
    desk.file("bad.yaml", "devise:\n  id: hall\n")
    desk.file("cert", "-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n")
    (desk.folder / "empty").mkdir()
    code, said = desk.to_file(*(word.format(folder=desk.folder) for word in words))
    assert (code, reason in said, desk.card.exists()) == (2, True, False), said


def test_a_damaged_image_and_one_without_its_hash_or_map_are_refused(desk: Desk) -> None:
    hashes = desk.folder / "porter.sha256"
    kept = hashes.read_text()
    hashes.unlink()
    code, said = desk.to_file()
    assert (code, f"{hashes}: not there, expected beside the image" in said) == (2, True), said
    hashes.write_text("\n")
    assert "no line for porter.img.zst" in desk.to_file()[1]
    hashes.write_text(kept)
    with desk.image.open("r+b") as opened:
        opened.seek(100)
        (byte,) = opened.read(1)
        opened.seek(100)
        opened.write(bytes([byte ^ 1]))
    code, said = desk.to_file()
    assert (code, "expected" in said, desk.card.exists()) == (2, True, False), said
    (desk.folder / "porter.bmap").write_text("<bmap/>")
    code, said = desk.to_file("--sha256", hashlib.sha256(desk.image.read_bytes()).hexdigest())
    assert (code, "expected a bmap file" in said) == (2, True), said
    (desk.folder / "porter.bmap").unlink()
    assert desk.to_file()[0] == 2


def test_a_file_that_is_there_is_not_written_over(desk: Desk) -> None:
    desk.card.write_text("mine")
    code, said = desk.to_file()
    assert (code, desk.card.read_text()) == (2, "mine"), said


def test_an_image_whose_contents_are_not_as_its_map_says_ends_with_nothing(desk: Desk) -> None:
    """The outer hash fits, the inner does not: as with a map of another image."""
    with (desk.folder / "porter.img").open("r+b") as opened:
        opened.seek(21 * MIB)
        opened.write(b"something else")
    desk.image = desk.folder / "porter.img"
    code, said = desk.to_file("--sha256", hashlib.sha256(desk.image.read_bytes()).hexdigest())
    assert (code, "bmaptool could not write" in said, desk.card.exists()) == (1, True, False), said
    assert not desk.card.with_name("card.img.half").exists()


def test_what_is_no_disk_or_a_partition_is_refused(desk: Desk) -> None:
    for name, reason in (
        ("/dev/null", "is no disk"),
        ("/dev/nothing", "No such file"),
        ("away", "No such file"),
    ):
        code, said = desk.write(name, "--yes", "null")
        assert (code, reason in said) == (2, True), said


def test_an_interruption_says_what_the_card_holds_and_leaves_no_secret(desk: Desk) -> None:
    """A bmaptool that takes its time stands for a slow card."""
    desk.image.unlink()
    desk.image = desk.folder / "porter.img"
    slow = desk.folder / "bmaptool"
    slow.write_text("#!/bin/sh\necho begun\nexec sleep 60\n")
    slow.chmod(0o755)
    environment = {
        **os.environ,
        "TMPDIR": str(desk.folder / "tmp"),
        "PATH": f"{desk.folder}:{os.environ['PATH']}",
    }
    password = desk.file("password", "swordfish")
    with subprocess.Popen(
        [
            # Whoever runs the tests in the background of a shell has them ignore Ctrl-C, and so all their children.
            "env",
            "--default-signal=INT",
            ROOT / "flash.sh",
            "write",
            "--image",
            desk.image,
            "--to-file",
            desk.card,
            "--mqtt-password",
            password,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        while "begun" not in process.stdout.readline():
            assert process.poll() is None
        os.killpg(process.pid, signal.SIGINT)
        said = process.communicate(timeout=30)[1]
    assert process.returncode == 1
    assert "half written" in said
    assert not desk.card.exists()
    assert not desk.card.with_name("card.img.half").exists()
    assert list((desk.folder / "tmp").iterdir()) == []


def test_help_and_the_list_of_disks_need_nothing(desk: Desk) -> None:
    code, said = desk.write("--help")
    assert (code, "--secrets FOLDER" in said, "--yes NAME" in said) == (0, True, True)
    code, said = desk.write()
    assert (code, "which disk?" in said) == (2, True)
