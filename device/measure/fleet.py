# SPDX-License-Identifier: Apache-2.0
"""Simulate a fleet of devices against a broker, and say what became of every event.

Each device is the real forwarder with its SQLite outbox and its own connection; what it publishes is made up: valid in
every field, and of nobody. A subscriber checks that each committed event arrives, and holds it against the contract.

  porter fleet --mosquitto                            100 devices, a broker of its own
  porter fleet --mosquitto --restart --devices 1000   the same a thousand times, a restart in the middle
  porter fleet broker.lan --ca ca.pem --username fleet --password-file secret --devices 500
  porter fleet localhost:1883 --plain --broker-pid "$(pidof mosquitto)" --json

Exit code 1 if an event was lost or still waits, or a message was against the contract. On a broker that others use,
all of it is below `porter-fleet/`, never where a door controller listens; what was retained is taken away at the end,
sessions end after an hour. Open files: 12 a device in its process (250 a process: 3,100), one a device in the broker;
soft limits are raised, for a higher hard limit see `ulimit -Hn`.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device.adapters.broker_mosquitto import Mosquitto
from device.errors import InputError
from device.measure.fleet_devices import FILES_A_DEVICE, Endpoint, allow_files
from device.measure.fleet_run import Fleet, Orders, sweep
from device.measure.report import machine, positive, table
from device.tls_files import TlsFiles, read_password

if TYPE_CHECKING:
    from collections.abc import Sequence

BASE = "porter-fleet"
A_PROCESS = 250


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("broker", nargs="?", metavar="HOST[:PORT]", help="somebody else's broker")
    parser.add_argument("--mosquitto", action="store_true", help="start a mosquitto for it, on loopback")
    parser.add_argument("--restart", action="store_true", help="restart that mosquitto in the middle")
    parser.add_argument("--devices", type=positive, default=100, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--rate",
        type=above_zero,
        default=0.2,
        metavar="HZ",
        help="events a second of one device: %(default)s",
    )
    parser.add_argument(
        "--seconds", type=positive, default=30, metavar="S", help="so long events are committed: %(default)s"
    )
    parser.add_argument(
        "--processes", type=positive, metavar="N", help=f"default: one for {A_PROCESS} devices"
    )
    parser.add_argument("--base", default=BASE, help="first topic level: %(default)s")
    parser.add_argument("--plain", action="store_true", help="no TLS")
    parser.add_argument(
        "--ca", default="", metavar="FILE", help="the broker's certificate authority (default: the system's)"
    )
    parser.add_argument("--username", default="", metavar="NAME", help="user name, of all devices")
    parser.add_argument("--password-file", default="", metavar="FILE", help="its first line is the password")
    parser.add_argument("--protocol", choices=("auto", "5", "3.1.1"), default="auto", help="MQTT version")
    parser.add_argument(
        "--broker-pid", type=positive, metavar="PID", help="measure this process too, where it runs here"
    )
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", help="where outboxes lie meanwhile (default: the system's)"
    )
    parser.add_argument("--json", action="store_true", help="the report as JSON")


def above_zero(text: str) -> float:
    """An argument that is a finite number above 0."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return value


def run(args: argparse.Namespace) -> int:
    """Runs it; 0 all arrived, 1 not."""
    check_arguments(args)
    processes = min(args.devices, args.processes or math.ceil(args.devices / A_PROCESS))
    allow_files(max(args.devices + 64, FILES_A_DEVICE * math.ceil(args.devices / processes) + 64))
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # else broker and devices would stay behind
    orders = Orders(args.devices, processes, args.rate, args.seconds, args.broker_pid)
    with tempfile.TemporaryDirectory(prefix="porter-fleet-", dir=args.folder) as name:
        if args.mosquitto:
            with Mosquitto(Path(name) / "broker") as broker:
                endpoint = Endpoint(broker.host, broker.port, args.base, None, args.protocol)
                report = Fleet(endpoint, orders, Path(name), broker).run(restart=args.restart)
        else:
            endpoint = endpoint_of(args)
            report = Fleet(endpoint, orders, Path(name)).run(restart=False)
            sweep(endpoint)
    report["machine"] = machine()
    print(json.dumps(report, indent=2) if args.json else text_of(report))
    return 1 if failed(report) else 0


def check_arguments(args: argparse.Namespace) -> None:
    """Raises InputError where they contradict one another."""
    if args.mosquitto == (args.broker is not None):
        raise InputError(
            "expected a broker, HOST[:PORT], or --mosquitto, and not both", hint="porter fleet --mosquitto"
        )
    if args.restart and not args.mosquitto:
        raise InputError(
            "--restart: only a broker of its own can be restarted",
            hint="--mosquitto; or restart yours by hand while events are sent",
        )
    if args.folder is not None and not args.folder.is_dir():
        raise InputError(f"{args.folder}: expected a folder", hint="make it, or leave --folder out")
    if args.base == "porter":
        raise InputError(
            "--base porter: a door controller would take these events for real", hint=f"--base {BASE}"
        )
    if args.mosquitto and (args.ca or args.username or args.password_file):
        raise InputError(
            "--ca, --username, --password-file: the mosquitto of --mosquitto wants none",
            hint="leave them out",
        )


def endpoint_of(args: argparse.Namespace) -> Endpoint:
    """Somebody else's broker. Raises InputError."""
    host, _, port = args.broker.rpartition(":")
    if not host:
        host, port = port, "1883" if args.plain else "8883"
    if not port.isdigit():
        raise InputError(f"{args.broker}: expected HOST or HOST:PORT", hint="porter fleet broker.lan:8883")
    return Endpoint(
        host,
        int(port),
        args.base,
        None if args.plain else TlsFiles(args.ca),
        args.protocol,
        args.username,
        read_password(args.password_file),
    )


def failed(report: dict[str, Any]) -> bool:
    """Whether anything was lost, still waits, or was against the contract."""
    return bool(report["lost"] or report["waiting"] or report["gaps"] or report["problems"])


def text_of(report: dict[str, Any]) -> str:
    """The report for people."""
    rows = [
        ("devices, in processes", f"{report['devices']}, {report['processes']}"),
        ("all of them connected after", f"{report['all_connected_s']:.1f} s"),
        ("events committed", f"{report['committed']}, {report['committed_hz']:.0f} a second"),
        ("delivered", str(report["delivered"])),
        ("lost", str(report["lost"])),
        ("still waiting in an outbox", str(report["waiting"])),
        ("repeats", str(report["repeats"])),
        ("late", str(report["late"])),
        ("refused by the broker", str(report["refused"])),
        *latency_rows("commit to subscriber", report["latency_ms"]),
        *latency_rows("the same around the restart", report["latency_restart_ms"]),
        ("CPU of one device, both services' part", f"{100 * report['device_cpu_share']:.2f} %"),
        ("memory of one device, shared process", f"{report['device_rss_mb']:.2f} MB"),
    ]
    if (back := report["return"]) is not None:
        rows.append(("back after the restart", f"{back['devices_back']} connections"))
        if back["devices_back"]:
            rows += [
                (
                    "first, half, last of them",
                    ", ".join(f"{back[k]:.1f}" for k in ("first_s", "p50_s", "last_s")) + " s",
                ),
                ("most within one second", str(back["most_in_one_second"])),
            ]
    if (broker := report["broker"]) is not None:
        rows += [
            ("broker's CPU", f"{broker['cpu_s']:.1f} s, {100 * broker['cpu_share']:.1f} %"),
            ("broker's memory, at most", f"{broker['rss_mb']:.1f} MB"),
        ]
    rows += [(f"lost connection: {why}", str(count)) for why, count in report["disconnects"].items()]
    lines = [table(("fleet", "measured"), rows)]
    lines += [f"against the contract: {problem}" for problem in report["problems"]]
    return "\n".join(lines)


def latency_rows(what: str, ms: dict[str, float] | None) -> Sequence[tuple[str, str]]:
    """p50, p95, p99 and the largest in one row; none where nothing was measured."""
    if ms is None:
        return []
    return [
        (
            f"{what}, p50 p95 p99 max",
            " ".join(f"{ms[key]:.0f}" for key in ("p50", "p95", "p99", "max")) + " ms",
        )
    ]
