# SPDX-License-Identifier: Apache-2.0
"""Print what Porter devices publish on a broker, readably, and hold it against the contract.

Every message is checked: topic, body, what topic and body say of each other. Gaps in a boot's events and repeats of one
are told, as your subscriber would see them. Exit code 1 if anything was against the contract; a gap is not: a device
whose outbox was full has dropped events, and whoever begins to listen late begins in the middle.

  porter listen                        the broker of this device's configuration
  porter listen broker.lan --ca ca.pem --username audit --password-file secret
  porter listen localhost:1883 --plain --device lobby-01 --for 60
  porter listen --json | jq .          one JSON object a message, for programs
"""

from __future__ import annotations

import argparse
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from device.adapters.broker_mqtt import MqttBroker
from device.adapters.clock import SystemClock
from device.commands.configured import DEFAULT_CONFIG, service_config
from device.contract import judge
from device.errors import BrokerUnavailable, InputError
from device.listening import Listener, line_of
from device.mqtt_messages import Connected, Disconnected, Received, SubscriptionRefused
from device.options_delivery import MqttOptions
from device.tls_files import TlsFiles, read_password

if TYPE_CHECKING:
    from collections.abc import Callable

    from device.options import Config

POLL_S = 0.2
NS = 1_000_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument(
        "broker", nargs="?", metavar="HOST[:PORT]", help="the broker (default: the configured one)"
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help=f"take the broker and its credentials from here (default: {DEFAULT_CONFIG}, where it exists)",
    )
    parser.add_argument("--base", help="first topic level (default: mqtt.base)")
    parser.add_argument("--device", default="+", metavar="ID", help="one device only (default: all)")
    parser.add_argument("--plain", action="store_true", help="no TLS")
    parser.add_argument(
        "--ca", metavar="FILE", help="the broker's certificate authority (default: the system's)"
    )
    parser.add_argument("--username", metavar="NAME", help="user name at the broker (default: mqtt.username)")
    parser.add_argument("--password-file", metavar="FILE", help="its first line is the password")
    parser.add_argument("--protocol", choices=("auto", "5", "3.1.1"), help="MQTT version")
    parser.add_argument(
        "--for", dest="seconds", type=float, metavar="S", help="end after so long (default: Ctrl-C)"
    )
    parser.add_argument("--count", type=int, metavar="N", help="end after so many messages")
    parser.add_argument("--json", action="store_true", help="one JSON object a message")


def run(args: argparse.Namespace) -> int:
    """Listens; 0 all was as the contract has it, 1 something was not or the broker went away."""
    config = service_config(args)
    base = args.base or config.mqtt.base
    broker = make_listener(args, config)
    listener = Listener()
    try:
        lost = listen(args, base, broker, listener, lambda text: print(text, flush=True))
    except KeyboardInterrupt:
        lost = ""
    finally:
        broker.disconnect()
    print(listener.summary(), file=sys.stderr)
    if lost:
        print(f"porter: {lost}", file=sys.stderr)
    return 1 if lost or listener.problems else 0


def make_listener(args: argparse.Namespace, config: Config) -> MqttBroker:
    """A connection under a name of its own: a device's would push that device off the broker.

    What the configuration says of credentials is for the configured broker only: another one must not see them.
    """
    mqtt = config.mqtt if args.broker is None else MqttOptions(tls=not args.plain)
    host, _, port = (args.broker or f"{mqtt.host}:{mqtt.port}").rpartition(":")
    if not host:
        host, port = port, "1883" if args.plain else "8883"
    if not port.isdigit():
        raise InputError(f"{args.broker}: expected HOST or HOST:PORT", hint="porter listen broker.lan:8883")
    files = TlsFiles(args.ca or mqtt.ca_file, mqtt.client_cert_file, mqtt.client_key_file)
    return MqttBroker(
        host,
        int(port),
        client_id=f"porter-listen-{secrets.token_hex(4)}",
        tls=files if mqtt.tls and not args.plain else None,
        protocol=args.protocol or mqtt.protocol,
        username=args.username or mqtt.username,
        password=read_password(args.password_file or mqtt.password_file),
    )


def listen(
    args: argparse.Namespace, base: str, broker: MqttBroker, listener: Listener, tell: Callable[[str], None]
) -> str:
    """Until the end that `args` names; returns why the connection went, or nothing."""
    clock = SystemClock()
    end_ns = clock.now().boot_ns + round(args.seconds * NS) if args.seconds else None
    try:
        broker.connect(None, 0)
    except BrokerUnavailable as error:
        return error.message
    while end_ns is None or clock.now().boot_ns < end_ns:
        for signal in broker.poll(POLL_S):
            if isinstance(signal, Connected):
                broker.subscribe([f"{base}/v1/{args.device}/#"])
                print(
                    f"connected (MQTT {signal.protocol}); listening on {base}/v1/{args.device}/#",
                    file=sys.stderr,
                )
            elif isinstance(signal, Disconnected):
                return signal.reason
            elif isinstance(signal, SubscriptionRefused):
                return f"the broker does not let this user hear {signal.topic_filter} (0x{signal.reason_code:02x})"
            elif isinstance(signal, Received):
                judged = judge(base, signal.topic, signal.payload, retained=signal.retained)
                heard = listener.hear(signal, judged)
                tell(msgspec.json.encode(heard).decode() if args.json else line_of(heard, clock.now()))
                if args.count and listener.messages >= args.count:
                    return ""
    return ""
