# SPDX-License-Identifier: Apache-2.0
"""The forwarder as a process against a real mosquitto: nothing committed is lost, nothing old is live."""

from __future__ import annotations

import random
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from device.adapters.broker_mosquitto import Mosquitto, executable
from device.adapters.clock import SystemClock
from device.folders import shared_folder
from device.payloads import Event
from tests.events import event_id
from tests.subscriber import Subscriber, wait_for
from tests.system.services import Child, Site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.subscriber import Seen

pytestmark = pytest.mark.system
TOPIC = "porter/v1/lobby-01"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as running:
        yield running


def event_of(message: Seen) -> Event:
    return msgspec.json.decode(message.payload, type=Event)


def ids(subscriber: Subscriber) -> set[str]:
    """Of the events so far."""
    return {event_of(message).id for message in list(subscriber.messages) if "/match" in message.topic}


def check_nothing_old_is_live(messages: list[Seen], live_max_age_s: float) -> None:
    """`at` is CLOCK_MONOTONIC; an event's time is CLOCK_BOOTTIME, which differs only by time spent suspended."""
    suspended_s = time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
    for message in messages:
        if message.topic.endswith("/match"):
            event = event_of(message)
            assert event.boot == SystemClock().boot_id
            assert message.at + suspended_s - event.mono_ms / 1000 <= live_max_age_s + 0.5


def check_delivered(messages: list[Seen], committed: set[str]) -> None:
    """At least once, under one id each, in the order of their `seq` when seen first, without a gap."""
    events = [event_of(message) for message in messages if "/match" in message.topic]
    by_seq: dict[int, str] = {}
    for event in events:
        assert by_seq.setdefault(event.seq, event.id) == event.id
    assert list(by_seq) == list(range(1, len(by_seq) + 1))
    assert len(set(by_seq.values())) == len(by_seq)
    assert committed <= set(by_seq.values())


def test_a_committed_event_is_live_at_a_subscriber_at_once(broker: Mosquitto, tmp_path: Path) -> None:
    with Subscriber(broker.port) as subscriber, Site(tmp_path, broker.port) as site:
        subscriber.wait("/status")
        site.commit(1)
        (message,) = subscriber.wait("cam0/match")
        assert message.topic == f"{TOPIC}/cam0/match"
        assert (message.qos, message.retain, message.content_type) == (1, False, "application/json")
        assert message.expiry_s in (4, 5)
        assert (event_of(message).id, event_of(message).delivery) == (event_id(1), "live")
        wait_for(lambda: site.depth() == 0, 5, "the outbox to empty")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_kill_9_of_either_process_at_any_moment_loses_nothing(
    broker: Mosquitto, tmp_path: Path, seed: int
) -> None:
    dice = random.Random(seed)
    site = Site(tmp_path, broker.port)
    writers = [site.writer(0, 0.005).start()]
    site.forwarder.start()
    with Subscriber(broker.port, durable=True) as subscriber:
        for number in range(14):
            if dice.random() < 0.7:  # else it may be killed while it starts
                wait_for(lambda: bool(writers[-1].text()), 15, "the writer's first commit")
            time.sleep(dice.uniform(0.02, 0.4))
            if dice.random() < 0.5:
                site.forwarder.end(signal.SIGKILL)
                site.forwarder.start()
            else:
                writers[-1].end(signal.SIGKILL)
                writers.append(site.writer(100_000 * (number + 1), 0.005).start())
        writers[-1].end(signal.SIGKILL)
        wait_for(lambda: site.depth() == 0, 30, f"the outbox to empty:\n{site.forwarder.text()}")
        site.forwarder.end()
        committed = {
            event_id(int(line)) for writer in writers for line in re.findall(r"^\d+$", writer.text(), re.M)
        }
        assert committed
        wait_for(lambda: committed <= ids(subscriber), 15, "the subscriber")
        check_delivered(subscriber.messages, committed)
        check_nothing_old_is_live(subscriber.messages, 5)


def test_what_happens_while_the_broker_is_away_arrives_late_and_in_order(
    broker: Mosquitto, tmp_path: Path
) -> None:
    with Subscriber(broker.port, durable=True) as subscriber, Site(tmp_path, broker.port) as site:
        site.commit(1)
        subscriber.wait("cam0/match")
        broker.stop()
        site.commit(2, 3)
        time.sleep(5.5)  # older than live_max_age_s
        broker.start()
        subscriber.wait("match/late", 2)
        site.commit(4)
        subscriber.wait("cam0/match", 2)
        check_delivered(subscriber.messages, {event_id(number) for number in (1, 2, 3, 4)})
        check_nothing_old_is_live(subscriber.messages, 5)
        assert {event_of(message).delivery for message in subscriber.on("match/late")} == {"late"}
        assert all(message.expiry_s and message.expiry_s > 600_000 for message in subscriber.on("match/late"))


def test_reconnecting_after_a_broker_restart_takes_less_than_five_seconds(
    broker: Mosquitto, tmp_path: Path
) -> None:
    with Subscriber(broker.port, durable=True) as subscriber, Site(tmp_path, broker.port) as site:
        subscriber.wait("cam0/presence")
        broker.stop()
        broker.start()
        restarted = time.monotonic()
        wait_for(lambda: site.forwarder.text().count(" connected ") == 2, 5, "the second connection")
        assert time.monotonic() - restarted < 5
        subscriber.wait("cam0/presence", 2)


def test_repeated_broker_restarts_in_the_middle_of_delivery_lose_nothing(
    broker: Mosquitto, tmp_path: Path
) -> None:
    site = Site(tmp_path, broker.port)
    writer = site.writer(0, 0.002).start()
    with Subscriber(broker.port, durable=True) as subscriber, site:
        for _ in range(3):
            time.sleep(0.8)
            broker.stop()
            time.sleep(0.3)
            broker.start()
        writer.end(signal.SIGKILL)
        wait_for(lambda: site.depth() == 0, 30, f"the outbox to empty:\n{site.forwarder.text()}")
        committed = {event_id(int(line)) for line in re.findall(r"^\d+$", writer.text(), re.M)}
        subscriber.wait("/status", 2)
        wait_for(lambda: committed <= ids(subscriber), 15, "all")
        check_delivered(subscriber.messages, committed)
        check_nothing_old_is_live(subscriber.messages, 5)


def test_a_killed_forwarder_is_announced_by_its_will_and_a_stopped_one_by_itself(
    broker: Mosquitto, tmp_path: Path
) -> None:
    with Subscriber(broker.port) as subscriber, Site(tmp_path, broker.port) as site:
        subscriber.wait("/status")
        site.forwarder.end(signal.SIGKILL)
        killed = time.monotonic()
        *_, will = subscriber.wait("/status", 2)
        assert will.payload == b"offline"
        assert 4 < will.at - killed < 8
        site.forwarder.start()
        subscriber.wait("/status", 3)
        presences = len(subscriber.on("cam0/presence"))
        stopped = time.monotonic()
        assert site.forwarder.end() == 0
        assert time.monotonic() - stopped < 3
        assert subscriber.wait("/status", 4)[-1].payload == b"offline"
        assert b'"present":[]' in subscriber.wait("cam0/presence", presences + 1)[-1].payload
    with Subscriber(broker.port) as newcomer:
        assert [(message.payload, message.retain) for message in newcomer.wait("/status")] == [
            (b"offline", True)
        ]


def test_mqtt_3_1_1_delivers_the_same_bodies_without_properties(broker: Mosquitto, tmp_path: Path) -> None:
    site = Site(tmp_path, broker.port, extra='  tls: false\n  protocol: "3.1.1"')
    with Subscriber(broker.port) as subscriber, site:
        site.forwarder.wait_log("connected protocol=3.1.1")
        site.commit(1)
        (message,) = subscriber.wait("cam0/match")
        assert (message.expiry_s, message.content_type) == (None, "")
        assert event_of(message).id == event_id(1)


def test_a_reload_takes_all_of_a_good_file_and_nothing_of_a_bad_one(
    broker: Mosquitto, tmp_path: Path
) -> None:
    with Subscriber(broker.port) as subscriber, Site(tmp_path, broker.port) as site:
        cleared = len(subscriber.wait("alert/config_rejected"))
        good = site.config.read_text()
        bad = [
            (good + "  hosst: elsewhere\n", "hosst"),
            (good.replace("lobby-01", "other-01"), "device.id"),
            (good.replace("tls: false", "tls: true\n  ca_file: /nowhere.pem"), "/nowhere.pem"),
            ("mqtt: [", "porter.yaml"),
        ]
        for number, (text, named) in enumerate(bad):
            site.config.write_text(text)
            site.forwarder.signal(signal.SIGHUP)
            *_, alert = subscriber.wait("alert/config_rejected", cleared + number + 1)
            assert named in alert.payload.decode()
        site.commit(1)
        subscriber.wait("cam0/match")
        site.config.write_text(good.replace("  port", "  base: house\n  port"))
        site.forwarder.signal(signal.SIGHUP)
        assert subscriber.wait("porter/v1/lobby-01/status", 2)[-1].payload == b"offline"
        assert subscriber.wait("house/v1/lobby-01/status")[-1].payload == b"online"
        subscriber.wait("house/v1/lobby-01/cam0/presence")
        assert site.forwarder.end() == 0


def test_a_wrong_password_is_named_in_the_log_and_the_right_one_taken_after_a_reload(tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    make_password_file(passwords, "porter", "right")
    secret = tmp_path / "secret"
    secret.write_text("no-g00d\n")  # a word that is not in this folder's name, which the log may well name
    with Mosquitto(tmp_path / "broker", f"password_file {passwords}", anonymous=False) as broker:
        site = Site(
            tmp_path, broker.port, extra=f"  tls: false\n  username: porter\n  password_file: {secret}"
        )
        with site:
            site.forwarder.wait_log("Not authorized")
            assert "no-g00d" not in site.forwarder.text()
            secret.write_text("right\nsecond line\n")
            site.forwarder.signal(signal.SIGHUP)
            site.forwarder.wait_log(" connected ")


def make_password_file(path: Path, user: str, password: str) -> None:
    subprocess.run(
        [executable("mosquitto_passwd", "mosquitto"), "-c", "-b", str(path), user, password], check=True
    )


def test_an_outbox_in_ruins_is_set_aside_with_an_alert_until_somebody_takes_it_away(
    broker: Mosquitto, tmp_path: Path
) -> None:
    (shared_folder(tmp_path) / "outbox.sqlite").write_bytes(b"ruins" * 1000)
    with Subscriber(broker.port) as subscriber, Site(tmp_path, broker.port) as site:
        wait_for(lambda: any(m.payload for m in subscriber.on("alert/outbox_corrupt")), 10, "the alert")
        heard = len(subscriber.on("alert/outbox_corrupt"))
        site.forwarder.end()
        site.forwarder.start()
        wait_for(lambda: len(subscriber.on("alert/outbox_corrupt")) > heard, 10, "the alert once more")
        site.commit(1)
        subscriber.wait("cam0/match")
        (aside,) = tmp_path.glob("shared/outbox.sqlite.corrupt-*")
        assert aside.read_bytes() == b"ruins" * 1000
        # Not ended and begun again by the restart, which would ring.
        assert all(message.payload for message in subscriber.on("alert/outbox_corrupt"))
        aside.rename(tmp_path / "evidence")
        wait_for(lambda: not subscriber.on("alert/outbox_corrupt")[-1].payload, 10, "the alert's end")


def test_both_processes_survive_an_outbox_that_breaks_under_them(broker: Mosquitto, tmp_path: Path) -> None:
    site = Site(tmp_path, broker.port)
    writer = site.writer(0, 0.01).start()
    with Subscriber(broker.port, durable=True) as subscriber, site:
        subscriber.wait("cam0/match", 20)
        (tmp_path / "shared" / "outbox.sqlite.damaged").touch()  # as the one that notices does
        wait_for(lambda: any(tmp_path.glob("shared/outbox.sqlite.corrupt-*")), 10, "the set-aside file")
        before = len(subscriber.on("cam0/match"))
        subscriber.wait("cam0/match", before + 20)
        assert writer.process is not None
        assert writer.process.poll() is None
        writer.end(signal.SIGKILL)
        seqs = [event_of(message).seq for message in subscriber.on("cam0/match")]
        assert sorted(set(seqs)) == sorted(seqs), "seq goes on in the fresh file"


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        (
            "  tls: false\n  username: porter\n  password_file: /nowhere/secret",
            "/nowhere/secret: cannot be read",
        ),
        ("  tls: true\n  ca_file: /nowhere/ca.pem", "/nowhere/ca.pem: cannot be read"),
    ],
)
def test_a_wrong_file_ends_the_start_with_one_line_and_a_hint(tmp_path: Path, extra: str, named: str) -> None:
    site = Site(tmp_path, 1, extra=extra)
    assert site.forwarder.start().end(signal.SIGCONT) == 2
    assert named in site.forwarder.text()
    assert "hint: " in site.forwarder.text()
    assert "Traceback" not in site.forwarder.text()


def test_a_missing_configuration_ends_the_start_with_one_line_and_a_hint(tmp_path: Path) -> None:
    child = Child(tmp_path / "log", "device", "forward", "--config", str(tmp_path / "missing.yaml")).start()
    assert child.end(signal.SIGCONT) == 2
    assert "missing.yaml" in child.text()
    assert "Traceback" not in child.text()


def test_the_forwarder_stays_small(broker: Mosquitto, tmp_path: Path) -> None:
    with Subscriber(broker.port) as subscriber, Site(tmp_path, broker.port) as site:
        site.commit(*range(500))
        subscriber.wait("cam0/match", 500)
        assert site.forwarder.process is not None
        with Path(f"/proc/{site.forwarder.process.pid}/status").open() as file:
            rss_kb = next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
        assert rss_kb < 40_000
