# SPDX-License-Identifier: Apache-2.0
"""Check a configuration file: every problem with its line, what was expected and what to do; exit 2 on any.

Looks at nothing but the file, so it may be run on another machine than the device. `--show` prints the configuration
in effect, defaults included, as YAML that Porter reads back. Options under old names work and are named; `--write` puts
the new names into the file and keeps the old one beside it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from device import __version__, config
from device.config_migrations import MIGRATIONS
from device.config_upgrade import upgrade_file
from device.errors import ConfigError, InputError
from device.option_docs import sections_table, value_text
from device.option_rules import value_of
from device.options_optics import OpticsOptions

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from device.config_migrations import Migration
    from device.config_moves import Move
    from device.options import Config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("file", metavar="FILE", type=Path, help="the configuration, e.g. config/porter.yaml")
    parser.add_argument(
        "--show", action="store_true", help="print the configuration in effect, defaults included"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object, for programs")
    parser.add_argument(
        "--write",
        action="store_true",
        help="write the new names of options; what the file was before stays beside it as FILE.before-VERSION",
    )


def run(args: argparse.Namespace, migrations: Sequence[Migration] = MIGRATIONS) -> int:
    """Checks the file. Raises ConfigError where it is wrong, unless JSON was asked for."""
    if args.json:
        if args.write:
            raise InputError("expected --json or --write, got both")
        return _run_json(args.file, migrations, show=args.show)
    kept = upgrade_file(args.file, __version__, migrations) if args.write else None
    found, moves = config.examine(config.read(args.file), str(args.file), migrations)
    print(f"{args.file}: ok")
    if kept is not None:
        print(f"  written with its options' new names; as it was: {kept}")
    for line in [*summary(found), *(f"note    {note}" for note in old_names(moves, args.file))]:
        print(f"  {line}")
    if args.show:
        print(as_yaml(found), end="")
    return 0


def old_names(moves: Sequence[Move], file: Path) -> Iterator[str]:
    """A note for each option under an old name, and what to do about all of them."""
    for move in moves:
        yield f"{move}; works as it is"
    if moves:
        yield f"porter check-config {file} --write writes the new names; on the image, the next kept update does"


def _run_json(file: Path, migrations: Sequence[Migration], *, show: bool) -> int:
    answer: dict[str, Any] = {"file": str(file), "ok": True, "problems": []}
    code = 0
    try:
        found, moves = config.examine(config.read(file), str(file), migrations)
    except ConfigError as error:
        answer |= {"ok": False, "problems": [_problem(each) for each in (error, *error.others)]}
        code = error.exit_code
    else:
        answer["notes"] = [*notes(found), *old_names(moves, file)]
        if show:
            answer["config"] = msgspec.to_builtins(found)
    print(json.dumps(answer, ensure_ascii=False, indent=2))
    return code


def _problem(error: ConfigError) -> dict[str, Any]:
    return {"line": error.line, "path": error.path, "expected": error.expected, "hint": error.hint}


def as_yaml(found: Config) -> str:
    """The whole configuration as YAML; `config.parse` gives it back unchanged."""
    lines = []
    for section in sections_table():
        lines.append(f"{section.name}:")
        lines += [f"  {o.name}: {value_text(value_of(found, o.path))}" for o in section.options]
    return "\n".join(lines) + "\n"


def summary(found: Config) -> Iterator[str]:
    """What this configuration makes of the device, in a few lines."""
    camera, mqtt, inference = found.camera, found.mqtt, found.inference
    rate = f"{camera.rate_hz:g} Hz" if camera.rate_hz else "as fast as possible"
    security = "TLS" if mqtt.tls else "plain TCP"
    rule = found.recognition
    decided = f"threshold {rule.threshold:g}" if rule.threshold is not None else f"FPIR {rule.target_fpir:g}"
    yield f"camera  {camera.name}: {camera.source} {camera.path}, {camera.width_px}x{camera.height_px}, {rate}"
    yield f"models  {found.models.detector} and {found.models.embedder} on {inference.delegate}; {decided}"
    yield f"broker  {mqtt.host}:{mqtt.port}, {security}, topics {mqtt.base}/v1/{found.device.id}/..."
    for note in notes(found):
        yield f"note    {note}"


def notes(found: Config) -> Iterator[str]:
    """What is allowed, but worth a second look."""
    mqtt = found.mqtt
    if not mqtt.tls:
        yield "mqtt.tls is false: whoever is on the network can read and forge events"
        if mqtt.port == 8883:
            yield "mqtt.port 8883 is usually TLS; plain brokers listen on 1883"
    if found.camera.source == "files":
        yield "camera.source is files: a simulation, whose gallery no real camera will open"
    if found.camera.source != "picamera2" and found.optics != OpticsOptions():
        yield f"optics is for camera.source picamera2: with {found.camera.source} none of it has an effect"
    if found.camera.source == "usb" and re.fullmatch("/dev/video[0-9]+", found.camera.path):
        name = "`ls -l /dev/v4l/by-id` shows its lasting name"
        yield f"camera.path {found.camera.path} may be another camera after a start: {name}"
    if found.events.publish_labels:
        yield "events.publish_labels is true: the broker and its subscribers learn the subjects' labels"
    if found.inference.delegate == "edgetpu" and found.inference.fallback == "cpu":
        yield "inference.fallback is cpu: without the Edge TPU Porter goes on, slower, and raises an alert"
