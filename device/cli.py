# SPDX-License-Identifier: Apache-2.0
"""`porter`: the verbs, and the one place where errors become a line, a hint and an exit code.

Each verb lives in a module with `add_arguments(parser)` and `run(args) -> int`, imported only when it is asked for:
`porter forward` never loads what sees, and `porter vision` never loads a network client.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from dataclasses import dataclass

from device import __version__
from device.errors import PorterError
from device.logs import one_line

EXIT_OK, EXIT_FAILED, EXIT_USAGE = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb: its module and the sentence in `porter --help`."""

    module: str
    summary: str


VERBS = {
    "vision": Verb(
        "device.vision_service", "run the vision service: camera to outbox (systemd starts this one)"
    ),
    "forward": Verb(
        "device.forward_service", "run the forwarder: outbox to broker (systemd starts this one)"
    ),
    "enrol": Verb(
        "device.commands.enrol", "enrol the consenting person who stands before this device's camera"
    ),
    "subjects": Verb("device.commands.subjects", "list who is enrolled, and until when their consent holds"),
    "withdraw": Verb("device.commands.withdraw", "erase a subject who withdraws their consent"),
    "renew": Verb("device.commands.renew", "renew a subject's consent: they agree again"),
    "rotate-key": Verb(
        "device.commands.rotate_key", "renew every key of the gallery; nobody has to enrol again"
    ),
    "rename": Verb("device.commands.rename", "give a subject another label"),
    "ledger": Verb("device.commands.ledger", "verify the consent ledger, or show what it says of a subject"),
    "listen": Verb("device.commands.listen", "print what devices publish on a broker, and check it"),
    "outbox": Verb("device.commands.outbox", "say what waits for the broker, and what was dropped"),
    "status": Verb("device.commands.status", "say what the services are doing"),
    "console": Verb(
        "device.commands.console", "show a page about this device on its screen (systemd starts this one)"
    ),
    "doctor": Verb(
        "device.commands.doctor",
        "check this device, and say what to expect of its recognition and what to do",
    ),
    "pause": Verb("device.commands.pause", "stop looking until `porter resume`"),
    "resume": Verb("device.commands.resume", "look again after `porter pause`"),
    "check-config": Verb(
        "device.commands.check_config", "check a configuration file and say what is wrong with it"
    ),
    "models": Verb(
        "device.commands.models", "list the models, check their hashes, tensors and Edge TPU mapping"
    ),
    "replay": Verb("device.replay", "run recorded frames through the pipeline and print what it decides"),
    "first-boot": Verb(
        "device.commands.first_boot", "take the settings that lie on the card (systemd starts this one)"
    ),
    "update": Verb("device.commands.update", "install an update into the slot that does not run, and try it"),
    "commit": Verb(
        "device.commands.commit", "keep or refuse an update that is being tried (systemd starts this one)"
    ),
    "usb-reset": Verb(
        "device.commands.usb_reset", "reset the port of a Coral Edge TPU (systemd starts this one)"
    ),
    "demo": Verb("device.demo", "watch the whole of Porter work on this machine, broker included"),
    "evaluate": Verb(
        "device.measure.evaluate", "measure verification, identification and detection on a data folder"
    ),
    "bench": Verb("device.measure.bench", "measure speed and memory, stage by stage, beside OpenCV"),
    "bench-delivery": Verb(
        "device.measure.delivery", "measure the way of an event: commit to subscriber, with mosquitto"
    ),
    "fleet": Verb("device.measure.fleet", "simulate many devices against a broker; was anything lost?"),
}

EPILOG = """\
To begin: `porter demo` shows everything; `porter check-config FILE` checks a configuration;
`porter enrol --label NAME --policy policy.md` enrols a person at the camera.
Every verb explains itself: `porter VERB --help`."""


def verb_list() -> str:
    """The verbs with their summaries, one a line."""
    return "\n".join(f"  {name:<14}{verb.summary}" for name, verb in VERBS.items())


def main(argv: list[str] | None = None) -> int:
    """Runs one verb; returns the exit code: 0 ok, 1 failed, 2 wrong use."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        prog="porter",
        description="Door camera firmware that knows only the people who asked to be known.\n\nverbs:\n"
        + verb_list(),
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"porter {__version__}")
    parser.add_argument("verb", choices=VERBS, metavar="VERB", help="one of the verbs above")
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help="the verb's own arguments")
    chosen = parser.parse_args(argv)

    verb = VERBS[chosen.verb]
    module = importlib.import_module(verb.module)
    verb_parser = argparse.ArgumentParser(
        prog=f"porter {chosen.verb}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(verb_parser)
    # The one place that looks at the environment: what systemd tells a service it starts.
    verb_parser.set_defaults(
        notify_socket=os.environ.get("NOTIFY_SOCKET"),
        credentials_dir=os.environ.get("CREDENTIALS_DIRECTORY"),
        journal="JOURNAL_STREAM" in os.environ,
    )
    return run_guarded(module.run, verb_parser.parse_args(chosen.rest))


def run_guarded(run, args: argparse.Namespace) -> int:  # type: ignore[no-untyped-def]  # a module's function
    """Calls `run(args)`; what the user can mend becomes a line and a hint on standard error."""
    try:
        return int(run(args))
    except PorterError as error:
        print(f"porter: {error}", file=sys.stderr)
        tell_manager(args, error)
        return error.exit_code
    except KeyboardInterrupt:
        print("porter: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `porter subjects | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED


def tell_manager(args: argparse.Namespace, error: PorterError) -> None:
    """A service that ends with an error leaves it in `systemctl status`, where the screen's page finds it."""
    address = getattr(args, "notify_socket", None)
    if address is not None:
        from device.adapters.notify_systemd import SystemdNotifier

        SystemdNotifier(address).notify(f"STATUS={one_line(error.message)}")
