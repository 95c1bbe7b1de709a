# SPDX-License-Identifier: Apache-2.0
"""What becomes of a service that crashes, hangs or finds its gallery locked; and where the gallery's key comes from."""

from __future__ import annotations

import os
import re
import subprocess
import time
from itertools import pairwise
from pathlib import Path

from tests.appliance.tools import (
    CREDENTIALS,
    PORTER,
    SERVICES,
    active,
    drop_in,
    no_drop_in,
    run,
    shown,
    status_line,
    wait_until,
)

STATE = Path("/var/lib/porter")
CONFIG = Path("/etc/porter/porter.yaml")
KEY = CREDENTIALS / "porter.device-key"
ALERT = "porter/v1/lobby-01/alert/vision_lost"
# The shipped waits are ten times as long.
SCALED = """[Unit]
StartLimitBurst=12
StartLimitAction=none
[Service]
ExecStart=
ExecStart=/bin/false
RestartSec=500ms
RestartMaxDelaySec=6s
"""


def who_crashes_again_and_again_has_a_days_budget() -> str:
    budget = {
        "StartLimitIntervalUSec": "1d",
        "StartLimitBurst": "1200",
        "StartLimitAction": "reboot",
        "RestartUSec": "5s",
        "RestartSteps": "10",
        "RestartMaxDelayUSec": "1min",
        "RestartUSecNext": "5s",  # a single crash
    }
    for service in SERVICES:
        assert shown(service, *budget) == budget, service
    # A key that this systemd does not know would be one line here, and ignored.
    complaints = run(
        "journalctl",
        "-b",
        "-o",
        "cat",
        "--no-pager",
        "_PID=1",
        "-g",
        "Unknown key|Failed to parse",
        good=False,
    )
    assert "porter" not in complaints, complaints
    drop_in("porter-forward", SCALED)
    since = run("date", "+%F %T").strip()
    run("systemctl", "restart", "porter-forward", good=False)
    wait_until(
        lambda: shown("porter-forward", "ActiveState")["ActiveState"] == "failed", "the last start", 60
    )
    ended = shown("porter-forward", "Result", "NRestarts")
    ends = exits(since)
    no_drop_in("porter-forward")
    run("systemctl", "restart", "porter-forward")
    wait_until(lambda: status_line("porter-forward").endswith(": connected"), "the connection", 30)
    assert len(ends) == 12, (ends, ended)
    waits = [10 * (after - before) for before, after in pairwise(ends)]
    wanted = [5 * 12 ** (n / 10) for n in range(11)]
    # What a start and an end take comes on top, ten times too long as well: seconds on a busy machine.
    assert all(want - 1 < wait < want + 60 for wait, want in zip(waits, wanted, strict=True)), waits
    return f"{ended}; waits as if unscaled: {', '.join(f'{wait:.0f}' for wait in waits)} s"


def exits(since: str) -> list[float]:
    """When the forwarder ended, in seconds, as PID 1 noted it."""
    said = run(
        "journalctl", "-b", "-o", "short-unix", "--no-pager", "-u", "porter-forward", "--since", since,
        "-g", "Main process exited",
    )  # fmt: skip
    return [float(line.split()[0]) for line in said.splitlines() if "porter-forward" in line]


def a_hung_worker_is_killed_and_started_again() -> str:
    """A camera that hangs as it is opened: a pipe where a picture should be, and nobody writes into it."""
    good, pipe = CONFIG.read_text(), STATE / "hung.png"
    os.mkfifo(pipe, 0o644)
    CONFIG.write_text(re.sub(r"(?m)^  path: .*$", f"  path: {pipe}\n  stall_after_s: 1", good))
    drop_in("porter-vision", "[Service]\nWatchdogSec=4\nRestartSec=1\n")
    since = run("date", "+%F %T").strip()
    try:
        run("systemctl", "restart", "porter-vision")
        wait_until(lambda: active("porter-vision"), "the vision service")
        before = shown("porter-vision", "MainPID")["MainPID"]
        # Only that one thread hangs: the service answers meanwhile.
        assert "camera" in run(PORTER, "status")
        seconds = wait_until(
            lambda: shown("porter-vision", "MainPID")["MainPID"] not in ("0", before), "another process", 120
        )
        said = run("journalctl", "-u", "porter-vision", "--no-pager", "-o", "cat", "--since", since)
        assert "heartbeat_stale workers=capture" in said, said[-2000:]
        assert "Watchdog timeout" in said, said[-2000:]
    finally:
        CONFIG.write_text(good)
        pipe.unlink()
        no_drop_in("porter-vision")
        run("systemctl", "restart", "porter-vision")
    wait_until(looks, "frames again", 60)
    return f"after {seconds:.0f} s"


def looks() -> bool:
    """Whether frames come."""
    found = re.search(r"(?m)^frames +(\d+)", run(PORTER, "status", good=False))
    return found is not None and int(found[1]) > 0


def seal(secret: bytes) -> None:
    """The device key, as `flash.sh` and docs/privacy.md have it sealed; in the clear only in memory."""
    CREDENTIALS.mkdir(mode=0o700, exist_ok=True)
    command = ["systemd-creds", "encrypt", "--with-key=host", f"--name={KEY.name}", "-", str(KEY)]
    subprocess.run(command, input=secret, check=True, capture_output=True, timeout=60)
    assert secret not in KEY.read_bytes()


def the_device_key_arrives_as_a_sealed_credential() -> str:
    """An installation whose key was a file moves to a credential: the file goes, the gallery is sealed anew."""
    old = (STATE / "device.key").read_bytes()
    secret = os.urandom(32)
    seal(secret)
    run("systemctl", "restart", "porter-vision")
    wait_until(lambda: active("porter-vision"), "the vision service")
    assert not list(STATE.glob("device.key*")), "a key beside the gallery"
    assert "key_unsealed" not in run(PORTER, "status")
    kept = {file: file.read_bytes() for file in STATE.rglob("*") if file.is_file()}
    assert kept
    assert not [file for file, data in kept.items() if secret in data or old in data]
    return f"{len(kept)} files, the key in none"


def a_real_camera_without_a_sealed_key_is_an_alert() -> str:
    """In a folder of its own. No camera is there, which is an alert of its own and stops nothing."""
    good, folder = CONFIG.read_text(), STATE / "real"
    for made in (folder, folder / "shared"):
        made.mkdir()
        os.chown(made, STATE.stat().st_uid, STATE.stat().st_gid)
    real = good.replace("source: files", "source: usb")
    real = re.sub(r"(?m)^  path: .*$", "  path: /dev/video9", real)
    CONFIG.write_text(real.replace("id: lobby-01", f"id: lobby-01\n  state_dir: {folder}"))
    found = {}
    sealed = KEY.read_bytes()
    try:
        for name in ("without", "with"):
            if name == "without":
                KEY.unlink()
            else:
                KEY.write_bytes(sealed)
            run("systemctl", "restart", "porter-vision")
            wait_until(
                lambda: "camera_lost" in run(PORTER, "status", good=False), "the alert about the camera"
            )
            found[name] = "key_unsealed" in run(PORTER, "status")
            assert (folder / "device.key").exists() is (name == "without")
    finally:
        CONFIG.write_text(good)
        KEY.write_bytes(sealed)
        run("systemctl", "restart", "porter-vision", good=False)
    wait_until(looks, "the simulated camera", 60)
    assert found == {"without": True, "with": False}
    return "stands without, ends with"


def a_gallery_that_the_key_does_not_open_stops_one_service_and_reboots_nothing() -> str:
    sealed = KEY.read_bytes()
    before = {name: (STATE / name).read_bytes() for name in ("gallery.sqlite", "consent-ledger.jsonl")}
    seal(os.urandom(32))
    try:
        run("systemctl", "restart", "porter-vision", good=False)
        wait_until(lambda: shown("porter-vision", "SubState")["SubState"] == "failed", "its end")
        # Not "auto-restart": nothing is tried again, so nothing counts towards a reboot.
        assert shown("porter-vision", "ExecMainStatus", "NRestarts") == {
            "ExecMainStatus": "2",
            "NRestarts": "0",
        }
        line = status_line("porter-vision")
        assert "does not open it" in line, line
        said = run("journalctl", "-u", "porter-vision", "-n", "20", "--no-pager", "-o", "cat")
        assert "restore the key" in said, said
        # What a subscriber sees.
        heard = run(
            "mosquitto_sub", "-u", "lobby-01", "-P", "secret", "-t", ALERT, "-q", "1", "-C", "1", "-W", "60"
        )
        assert "vision_lost" in heard
        assert active("porter-forward")
        time.sleep(1)
        assert shown("porter-vision", "SubState", "NRestarts") == {"SubState": "failed", "NRestarts": "0"}
    finally:
        KEY.write_bytes(sealed)
    after = {name: (STATE / name).read_bytes() for name in before}
    assert after == before, "the gallery was touched"
    run("systemctl", "start", "porter-vision")
    wait_until(looks, "frames again", 60)
    assert len(run(PORTER, "subjects").splitlines()) > 1, "whoever was enrolled is gone"
    assert not list(STATE.glob("*corrupt*"))
    wait_until(lambda: "vision_lost" not in run(PORTER, "status"), "the alert to end")
    return line[:100]
