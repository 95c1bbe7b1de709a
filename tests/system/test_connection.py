# SPDX-License-Identifier: Apache-2.0
"""A broker that does not let us in, with the real forwarder: log and `porter status` say why and what to do.

Whatever is wrong, nothing is lost and plain TCP is never tried.
"""

from __future__ import annotations

import argparse
import signal
import time
from typing import TYPE_CHECKING

import pytest

from device.adapters.broker_mosquitto import Mosquitto
from device.broker_access import PASSWORD, USERNAME
from device.commands.status import forwarder_lines
from device.loopback import free_ports
from tests.subscriber import Subscriber, wait_for
from tests.system.certificates import Authority
from tests.system.services import Site
from tests.system.test_delivery import make_password_file

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


def status(site: Site) -> str:
    """What `porter status` says of the forwarder."""
    return "\n".join(forwarder_lines(argparse.Namespace(config=site.config, socket=None)))


def tls(certificate: tuple[Path, Path]) -> tuple[str, str]:
    return f"certfile {certificate[0]}", f"keyfile {certificate[1]}"


# What is wrong: the name of a certificate, broker options, lines of the `mqtt` section; what is said; what is advised.
WRONG = {
    "expired": (r"certificate has expired", "renew the broker's certificate"),
    "elsewhere": (r"certificate is not valid for", "mqtt.host must be a name"),
    "unknown authority": (r"unable to get local issuer", "mqtt.ca_file names the authority"),
    "no TLS there": (r"", "brokers speak TLS on 8883"),
    "wants a certificate": (r"", "mqtt.client_cert_file"),
    "wrong password": (r"Not authorized", "may this user"),
    "nobody there": (r"Connection refused", "does the broker run"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_said_with_what_to_do(what: str, authority: Authority, tmp_path: Path) -> None:
    extra, anonymous = f"  ca_file: {authority.ca}", True
    options: tuple[str, ...] = ()
    if what == "expired":
        options = tls(authority.issue("c-old", expired=True))
    elif what == "elsewhere":
        options = tls(authority.issue("c-else", "DNS:elsewhere.example"))
    elif what == "unknown authority":
        options, extra = tls(authority.issue("c-good")), "  keep_alive_s: 30"
    elif what == "wants a certificate":
        options = (
            *tls(authority.issue("c-strict")),
            f"cafile {authority.ca}",
            "require_certificate true",
        )
    elif what == "wrong password":
        make_password_file(tmp_path / "passwords", "porter", "right")
        (tmp_path / "secret").write_text("wrong")
        options, anonymous = (f"password_file {tmp_path / 'passwords'}",), False
        extra = f"  tls: false\n  username: porter\n  password_file: {tmp_path / 'secret'}"
    broker = Mosquitto(tmp_path / "broker", *options, anonymous=anonymous, port=free_ports()[0])
    if what != "nobody there":
        broker.start()
    site = Site(tmp_path, broker.port, extra=extra)
    site.commit(1)
    words, hint = WRONG[what]
    try:
        with site:
            wait_for(lambda: "no connection" in status(site), 20, f"the status in {site.forwarder.text()}")
            assert words in status(site)
            assert hint in site.forwarder.text()
            if what not in ("nobody there", "wants a certificate"):  # those may pass by themselves
                wait_for(lambda: "trouble   broker_lost" in status(site), 20, status(site))
                assert hint in status(site)
        assert site.depth() == 1
    finally:
        broker.stop()


def test_user_and_password_may_be_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_password_file(tmp_path / "passwords", "porter", "right")
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / USERNAME).write_text("porter\n")
    (credentials / PASSWORD).write_text("right\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    options = f"password_file {tmp_path / 'passwords'}"
    with (
        Mosquitto(tmp_path / "broker", options, anonymous=False) as broker,
        Site(tmp_path, broker.port, extra="  tls: false") as site,
    ):
        site.forwarder.wait_log(" connected ")
        wait_for(lambda: ", connected" in status(site), 10, "the status")
        assert "right" not in site.forwarder.text()


def test_a_connection_outlives_its_certificate_and_the_next_one_does_not(
    authority: Authority, tmp_path: Path
) -> None:
    certificate, key = authority.issue("c-short", seconds=12)
    ends = time.monotonic() + 12
    broker = Mosquitto(tmp_path / "broker", *tls((certificate, key)))
    with broker, Site(tmp_path, broker.port, extra=f"  ca_file: {authority.ca}") as site:
        site.forwarder.wait_log(" connected ")
        time.sleep(max(0.0, ends + 1.5 - time.monotonic()))
        site.commit(1)
        wait_for(lambda: site.depth() == 0, 10, "an event over the connection that stands")
        broker.stop()
        broker.start()
        site.commit(2)
        site.forwarder.wait_log("certificate has expired", 30)
        assert site.depth() == 1
        renewed, new_key = authority.issue("c-renewed")
        certificate.write_bytes(renewed.read_bytes())
        key.write_bytes(new_key.read_bytes())
        broker.stop()
        broker.start()
        wait_for(lambda: site.depth() == 0, 60, "the event, once the certificate is renewed")


def test_how_long_it_was_away_is_told_when_it_is_back(tmp_path: Path) -> None:
    """The alert is raised at once, as a wrong password does not pass, and seen by subscribers after the reload."""
    make_password_file(tmp_path / "passwords", "porter", "right")
    secret = tmp_path / "secret"
    secret.write_text("wrong")
    # Subscribers come in by a second listener, on which anonymous clients may read.
    people = free_ports()[1]
    config = (
        f"per_listener_settings true\nlistener {{port}} 127.0.0.1\nallow_anonymous false\n"
        f"password_file {tmp_path / 'passwords'}\nlistener {people} 127.0.0.1\nallow_anonymous true\n"
    )
    port = free_ports()[2]
    broker = Mosquitto(tmp_path / "broker", config=config.format(port=port), port=port)
    extra = f"  tls: false\n  username: porter\n  password_file: {secret}"
    with broker, Subscriber(people) as subscriber, Site(tmp_path, port, extra=extra) as site:
        wait_for(lambda: "trouble   broker_lost" in status(site), 20, "the alert on the device")
        secret.write_text("right")
        site.forwarder.signal(signal.SIGHUP)
        wait_for(
            lambda: any(m.payload for m in subscriber.on("alert/broker_lost")), 60, "the alert at the broker"
        )
        assert b"there was no connection for" in subscriber.on("alert/broker_lost")[-1].payload
        wait_for(lambda: not subscriber.on("alert/broker_lost")[-1].payload, 30, "the alert's end")
