# SPDX-License-Identifier: Apache-2.0
"""A subscriber hears that an update was not kept: from the record of `porter commit` through the real forwarder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from device.adapters.broker_mosquitto import Mosquitto
from device.commands.update import acknowledge
from device.payloads import Alert
from device.update_record import UpdateBook, UpdateRecord, fell_back, kept
from tests.subscriber import Subscriber, wait_for
from tests.system.services import Site, Surroundings

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.system
TOPIC = "alert/update_failed"
TRIED = UpdateRecord("0.2.0", "0.1.0", "trying", broker=True, boot="b0070001", slot="b")


def told(ear: Subscriber) -> str:
    """The alert's text as it stands; empty where it does not."""
    seen = ear.on(TOPIC)
    return msgspec.json.decode(seen[-1].payload, type=Alert).text if seen and seen[-1].payload else ""


def test_an_update_that_fell_back_is_an_alert_until_one_is_kept_or_somebody_acknowledges(
    tmp_path: Path,
) -> None:
    book = UpdateBook(tmp_path / "data" / "last.json", tmp_path / "run" / "last.json")
    book.write(TRIED)
    program = Surroundings(program=("tests.system.updated", str(tmp_path / "run" / "last.json")))
    site = tmp_path / "site"
    site.mkdir()
    with Mosquitto(tmp_path / "broker") as broker, Subscriber(broker.port) as ear:
        forwarder = Site(site, broker.port, around=program).forwarder.start()
        forwarder.wait_log("connected")
        book.write(fell_back(TRIED, "the camera gives no frames"))
        text = "an update was not kept: 0.2.0: the camera gives no frames"
        wait_for(lambda: told(ear) == text, 15, "the alert")
        with Subscriber(broker.port) as late:
            wait_for(lambda: told(late) == text, 15, "the retained alert")
        acknowledge(book)
        wait_for(lambda: told(ear) == "", 15, "the end by an acknowledgement")

        book.write(fell_back(TRIED, "no broker"))
        wait_for(lambda: "no broker" in told(ear), 15, "the alert again")
        forwarder.end()
        heard = len(ear.on(TOPIC))
        forwarder.start()
        wait_for(lambda: len(ear.on(TOPIC)) > heard, 15, "the alert after a restart")
        # Not ended in between: an alert that ends and begins with each boot would ring at every one.
        assert all(message.payload for message in ear.on(TOPIC)[heard:])
        last = book.read()
        assert last is not None
        book.write(kept(last))
        wait_for(lambda: told(ear) == "", 15, "the end by an update that was kept")
        forwarder.end()
