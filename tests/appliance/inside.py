# SPDX-License-Identifier: Apache-2.0
"""Runs as root in the booted system and tries what the units promise; one line a check, then how many failed."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
import traceback
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from device.adapters.control_client import ControlClient
from device.control import Enrolled, EnrolRequest
from tests.appliance import card, failures, local
from tests.appliance.tools import (
    CREDENTIALS,
    PORTER,
    SERVICES,
    SOCKET,
    active,
    drop_in,
    no_drop_in,
    probed,
    refused,
    run,
    shown,
    status_line,
    wait_until,
)

if TYPE_CHECKING:
    from collections.abc import Callable

CHECKS: list[Callable[[], str | None]] = []
READY_S = 20.0
POLICY = "A test's own portrait, in the public domain, enrolled into a system that is thrown away.\n"


def check(function: Callable[[], str | None]) -> Callable[[], str | None]:
    """Those are run in the order in which they stand here; each goes on from what the one before left."""
    CHECKS.append(function)
    return function


@check
def both_services_are_ready_soon_after_the_boot() -> str:
    waited = {}
    for service in SERVICES:
        wait_until(lambda service=service: active(service), service, READY_S)  # type: ignore[misc]
        stamps = shown(service, "ExecMainStartTimestampMonotonic", "ActiveEnterTimestampMonotonic")
        begun, ready = (int(stamps[name]) for name in sorted(stamps, reverse=True))
        waited[service] = (ready - begun) / 1e6
        assert waited[service] < READY_S
    return ", ".join(f"{service} {seconds:.1f} s" for service, seconds in waited.items())


@check
def the_exposure_is_low() -> str:
    levels = {}
    for service in (*SERVICES, "porter-console"):
        said = run("systemd-analyze", "security", "--no-pager", f"{service}.service")
        found = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
        assert found is not None
        levels[service] = float(found[1])
    assert max(levels.values()) <= 1.5, levels
    return str(levels)


@check
def the_process_that_sees_has_no_network() -> str:
    found = probed("porter-vision")
    refused(found, "inet", "inet6", "packet", "broker secrets", "kernel messages")
    refused(found, "write /run/porter/forward", "write /etc/porter", "write /usr", "write /root")
    assert found["unix"] == found["gallery"] == found["write /var/lib/porter/shared"] == "ok", found
    assert found["bell"] == "ok", found
    assert found["user"] != 0
    assert (found["core"], found["capabilities"], found["others' processes"]) == (0, "0" * 16, False), found
    assert shown("porter-vision", "MemorySwapMax")["MemorySwapMax"] == "0"
    return f"inet {found['inet']}, packet {found['packet']}"


@check
def the_process_with_the_network_finds_no_camera_and_no_gallery() -> str:
    found = probed("porter-forward")
    refused(found, "gallery", "device key", "control socket", "camera", "kernel messages", "packet")
    refused(
        found,
        "write /run/porter/shared",
        "write /etc/porter",
        "write /usr",
        "write /root",
        "write and execute",
    )
    assert (
        found["inet"] == found["write /var/lib/porter/shared"] == found["write /run/porter/forward"] == "ok"
    ), found
    assert found["state folders"] == ["shared"], found
    assert found["run folders"] == ["forward", "public", "shared"], found
    assert (found["core"], found["capabilities"], found["others' processes"]) == (0, "0" * 16, False), found
    return f"gallery {found['gallery']}, control socket {found['control socket']}, camera {found['camera']}"


RESET_SOCKET = "/run/porter-usb-reset.sock"
ASK = """
import socket
with socket.socket(socket.AF_UNIX) as client:
    client.settimeout(20)
    try:
        client.connect("/run/porter-usb-reset.sock")
    except OSError as error:
        print(type(error).__name__)
    else:
        client.sendall(b"1-1 authorized 0\\n")
        print(client.makefile().readline(), end="")
"""


def asked_as(user: str) -> str:
    """What the helper of the USB says to that user."""
    return run("runuser", "-u", user, "--", "/opt/porter/.venv/bin/python", "-c", ASK).strip()


@check
def only_the_vision_service_may_have_a_usb_port_reset() -> str:
    status = Path(RESET_SOCKET).stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o660, 0)
    for user in ("porter-forward", "nobody"):
        assert asked_as(user) == "PermissionError", user
    said = asked_as("porter-vision")
    assert said == "no: no Coral Edge TPU is on the USB", said
    again = asked_as("porter-vision")
    assert again.startswith("no: the last reset was "), again
    failed = run("systemctl", "list-units", "--failed", "--plain", "--no-legend", "porter-usb-reset@*")
    assert failed == "", failed
    return f"{said}; {again}"


@check
def the_usb_helper_is_root_without_roots_rights() -> str:
    level = re.search(
        r"Overall exposure level for \S+: ([\d.]+)",
        run("systemd-analyze", "security", "--no-pager", "porter-usb-reset@test.service"),
    )
    assert level is not None
    assert float(level[1]) <= 2.0, level[1]
    found = probed("porter-usb-reset@", "probe_root")
    refused(found, "inet", "unix", "gallery", "configuration", "mount", "write and execute")
    refused(found, "write /usr", "write /root", "write /run", "write /sys/kernel", "another user's file")
    assert found["write state"] == "ok", found
    assert found["capabilities"] == "0" * 16, found
    return f"exposure {level[1]}; /sys/devices: {found['write /sys/devices']} (a container's is read-only)"


@check
def a_broker_that_refuses_shows_in_the_status_line() -> str:
    run("mosquitto_passwd", "-c", "-b", "/etc/mosquitto/passwords", "lobby-01", "secret")
    Path("/etc/mosquitto/passwords").chmod(0o644)
    run("systemctl", "reset-failed", "mosquitto", good=False)
    run("systemctl", "restart", "mosquitto")
    wait_until(lambda: "Not authorized" in status_line("porter-forward"), "the refusal", 60)
    return status_line("porter-forward")


@check
def user_and_password_arrive_as_sealed_credentials() -> str:
    CREDENTIALS.mkdir(mode=0o700, exist_ok=True)
    for name, value in {"username": "lobby-01", "password": "secret"}.items():
        file = CREDENTIALS / f"porter.mqtt-{name}"
        run("systemd-creds", "encrypt", "--with-key=host", f"--name={file.name}", "-", str(file), given=value)
        assert value.encode() not in file.read_bytes()
    run("systemctl", "restart", "porter-forward")
    wait_until(lambda: status_line("porter-forward").endswith(": connected"), "the connection", 30)
    return status_line("porter-forward")


check(failures.the_device_key_arrives_as_a_sealed_credential)


@check
def somebody_who_enrolled_is_matched_and_the_broker_hears_it() -> str:
    subscriber = "mosquitto_sub -u lobby-01 -P secret -t porter/v1/+/+/match -q 1 -C 1 -W 90"
    listener = subprocess.Popen(subscriber.split(), stdout=subprocess.PIPE, text=True)
    client = ControlClient(Path(SOCKET))
    client.ask(EnrolRequest(label="test", policy_text=POLICY, acknowledged=True), Enrolled)
    said = json.loads(listener.communicate(timeout=100)[0])
    assert (said["event_type"], said["phase"], said["delivery"]) == ("match", "start", "live")
    assert said["person"].keys() == {"ref"}
    assert "connected" in run(PORTER, "status")
    return f"score {said['score']}, {len(run(PORTER, 'subjects').splitlines())} lines of subjects"


@check
def a_command_from_the_broker_reaches_the_process_that_sees() -> str:
    for verb in ("pause", "resume"):
        topic = f"porter/v1/lobby-01/cmd/{verb}"
        run("mosquitto_pub", "-u", "lobby-01", "-P", "secret", "-t", topic, "-n", "-q", "1")
        wait_until(
            lambda verb=verb: ("paused" in run(PORTER, "status")) is (verb == "pause"),  # type: ignore[misc]
            f"{verb} to take effect",
        )
    return "paused and resumed"


check(local.identify_reaches_the_led_through_the_sandbox)
check(local.the_screen_shows_the_device_and_nobody)
check(local.without_a_screen_there_is_no_page_and_no_failure)
check(local.the_screens_process_finds_one_folder_of_porter)


@check
def the_doctor_finds_nothing_wrong_and_disturbs_nobody() -> str:
    run("useradd", "--groups", "porter", "helper")
    said = {}
    for user in ("root", "helper"):
        before = [shown(service, "MainPID", "NRestarts") for service in SERVICES]
        heard = run("journalctl", "-u", "porter-forward", "-u", "porter-vision", "-o", "cat", "--no-pager")
        began = time.monotonic()
        report = json.loads(run("runuser", "-u", user, "--", PORTER, "doctor", "--json", good=False))
        seconds = time.monotonic() - began
        after = [shown(service, "MainPID", "NRestarts") for service in SERVICES]
        assert (before, status_line("porter-forward").endswith(": connected")) == (after, True)
        news = run("journalctl", "-u", "porter-forward", "-u", "porter-vision", "-o", "cat", "--no-pager")
        assert not re.search("lost|taken over|error|locked", news.removeprefix(heard), re.I), news[-1000:]
        # This container has the host's clock, which may be nobody's.
        bad = [each for each in report["findings"] if each["level"] == "wrong" and "clock" not in str(each)]
        assert not bad, bad
        assert seconds < 10, f"{seconds:.1f} s"
        said[user] = f"{report['counts']['ok']} ok in {seconds:.1f} s"
        well = {each["what"] for each in report["findings"] if each["level"] == "ok"}
        # Of the camera it may note that this machine is slow; that nothing is wrong with it was looked at above.
        assert "camera" in {each["what"] for each in report["findings"]}, report
        assert well >= {
            "models",
            "delegate",
            "gallery",
            "broker",
            "units",
            "versions",
        }, well
    return str(said)


def doctors_word(what: str) -> str:
    """What is wrong with it, as root's doctor says."""
    report = json.loads(run(PORTER, "doctor", "--json", good=False))
    return " | ".join(
        each["text"] for each in report["findings"] if (each["what"], each["level"]) == (what, "wrong")
    )


@check
def a_drop_in_that_weakens_a_unit_is_named_by_the_doctor() -> str:
    drop_in("porter-vision", "[Service]\nIPAddressDeny=\nLimitCORE=infinity\n")
    said = doctors_word("units")
    no_drop_in("porter-vision")
    assert "porter-vision.service has IPAddressDeny=(nothing)" in said, said
    assert (
        "LimitCORE=infinity, shipped is 0: by /run/systemd/system/porter-vision.service.d/test.conf" in said
    )
    assert not doctors_word("units")
    return "IPAddressDeny and LimitCORE"


@check
def a_real_node_exporter_reads_the_metrics() -> str:
    folder, address = "/run/porter/forward", "127.0.0.1:9199"
    assert stat.S_IMODE(Path(f"{folder}/porter.prom").stat().st_mode) == 0o644
    options = [
        "--collector.disable-defaults",
        "--collector.textfile",
        f"--collector.textfile.directory={folder}",
    ]
    exporter = subprocess.Popen(
        ["prometheus-node-exporter", *options, f"--web.listen-address={address}"], stderr=subprocess.DEVNULL
    )
    try:

        def served() -> str:
            try:
                with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
                    return str(answer.read().decode())
            except OSError:
                return ""

        wait_until(lambda: "porter_connected 1" in served(), "porter_connected", 40)
        said = served()
        assert "node_textfile_scrape_error 0" in said
        assert 'porter_events_delivered_total{delivery="live"}' in said
    finally:
        exporter.terminate()
        exporter.wait(10)
    return f"{sum(line.startswith('porter_') for line in said.splitlines())} values"


@check
def a_reload_takes_a_good_configuration_and_keeps_the_old_one_for_a_bad() -> str:
    file = Path("/etc/porter/porter.yaml")
    good = file.read_text()
    for text, said in (
        (f"{good}log:\n  level: debug\n", False),
        (f"{good}nonsense: true\n", True),
        (good, False),
    ):
        file.write_text(text)
        run("systemctl", "reload", *SERVICES)
        wait_until(
            lambda said=said: ("config_rejected" in run(PORTER, "status", "--socket", SOCKET)) is said,  # type: ignore[misc]
            f"config_rejected to be {said}",
        )
        assert all(active(service) for service in SERVICES)
    return "debug, nonsense, and back"


@check
def a_hung_service_is_killed_and_started_again() -> str:
    drop_in("porter-vision", "[Service]\nWatchdogSec=4\nRestartSec=1\n")
    run("systemctl", "restart", "porter-vision")
    wait_until(lambda: active("porter-vision"), "the vision service")
    before = shown("porter-vision", "MainPID", "NRestarts")
    os.kill(int(before["MainPID"]), signal.SIGSTOP)
    seconds = wait_until(
        lambda: active("porter-vision") and shown("porter-vision", "MainPID")["MainPID"] != before["MainPID"],
        "another process",
        120,
    )
    assert "watchdog" in run("journalctl", "-u", "porter-vision", "--no-pager", "-o", "cat").lower()
    no_drop_in("porter-vision")
    return f"after {seconds:.0f} s"


check(failures.a_hung_worker_is_killed_and_started_again)
check(failures.who_crashes_again_and_again_has_a_days_budget)
check(failures.a_real_camera_without_a_sealed_key_is_an_alert)
check(failures.a_gallery_that_the_key_does_not_open_stops_one_service_and_reboots_nothing)


@check
def stopping_is_quick_and_clean() -> str:
    began = time.monotonic()
    run("systemctl", "stop", "porter.target")
    for service in SERVICES:
        wait_until(lambda service=service: not active(service), f"{service} to stop")  # type: ignore[misc]
        assert shown(service, "Result")["Result"] == "success"
    seconds = time.monotonic() - began
    assert seconds < 30
    assert not list(Path("/var/lib/systemd/coredump").glob("*"))
    return f"{seconds:.1f} s"


@check
def the_doctor_reads_a_closed_gallery_and_leaves_nothing_behind() -> str:
    folder = Path("/var/lib/porter")
    before = {path.name: path.stat().st_uid for path in folder.iterdir()}
    report = json.loads(run(PORTER, "doctor", "--json", good=False))
    assert {path.name: path.stat().st_uid for path in folder.iterdir()} == before
    texts = [each["text"] for each in report["findings"] if each["what"] == "gallery"]
    assert f"{folder}/gallery.sqlite: whole, simulated, 1 subjects" in texts, texts
    assert "porter-vision.service is inactive" in doctors_word("units")
    return str(texts[0])


check(card.the_settings_of_a_card_are_taken_sealed_and_deleted)


def main() -> None:
    """All checks, whatever becomes of one."""
    failed = 0
    for function in CHECKS:
        name, began = function.__name__.replace("_", " "), time.monotonic()
        try:
            said = function()
        except Exception as error:  # noqa: BLE001  the others are still worth running
            failed += 1
            print(f"APPLIANCE FAILED {name}: {error!r}", flush=True)
            traceback.print_exc(file=sys.stdout)
        else:
            print(f"APPLIANCE ok {name} ({time.monotonic() - began:.1f} s): {said}", flush=True)
    print(f"APPLIANCE {len(CHECKS) - failed} passed, {failed} failed", flush=True)


main()
