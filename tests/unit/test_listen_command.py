# SPDX-License-Identifier: Apache-2.0
"""Whom `porter listen` connects to, and with whose credentials; tests/system listens to a real broker."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import pytest

from device.commands import listen
from device.errors import InputError
from device.options import Config
from device.options_delivery import MqttOptions

if TYPE_CHECKING:
    from pathlib import Path


def arguments(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    listen.add_arguments(parser)
    return parser.parse_args(given)


def made(config: Config, *given: str) -> dict[str, Any]:
    """What its connection would be made with."""
    return vars(listen.make_listener(arguments(*given), config))


@pytest.fixture
def config(tmp_path: Path) -> Config:
    password = tmp_path / "password"
    password.write_text("secret\n")
    return Config(
        mqtt=MqttOptions(
            host="broker.lan", port=1883, tls=False, username="lobby-01", password_file=str(password)
        )
    )


def test_the_configured_broker_is_spoken_to_as_configured_but_under_another_name(config: Config) -> None:
    found = made(config)
    assert (found["_host"], found["_port"], found["_tls"]) == ("broker.lan", 1883, None)
    assert found["_credentials"] == ("lobby-01", "secret")
    assert found["_client_id"].startswith("porter-listen-")


def test_another_broker_does_not_see_the_configured_credentials_and_is_met_with_tls(config: Config) -> None:
    found = made(config, "elsewhere.example:8883")
    assert (found["_host"], found["_port"]) == ("elsewhere.example", 8883)
    assert found["_credentials"] == ("", "")
    assert found["_tls"] is not None


@pytest.mark.parametrize(
    ("given", "port"), [(("b",), 8883), (("b", "--plain"), 1883), (("b:99", "--plain"), 99)]
)
def test_a_port_that_is_not_named_follows_from_tls(config: Config, given: tuple[str, ...], port: int) -> None:
    assert made(config, *given)["_port"] == port


def test_a_broker_without_a_port_number_is_named(config: Config) -> None:
    with pytest.raises(InputError, match="expected HOST or HOST:PORT"):
        made(config, "mqtt://broker.lan")


def test_a_password_file_that_is_missing_is_named(config: Config, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: cannot be read"):
        made(config, "b", "--password-file", str(tmp_path / "nowhere"))
