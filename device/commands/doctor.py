# SPDX-License-Identifier: Apache-2.0
"""Check this device, and say what to expect of its recognition.

Looks at the configuration, the models' files, the running service and the consent ledger, and prints what is wrong
with a hint each. Then, for the gallery as it is, how often a stranger's visit is expected to end in a match and how
often a subject's first look is missed, with 95 % intervals; and the same for galleries of other sizes, since more
subjects need a higher threshold. `--subjects N` asks for a size of your own; it needs no running service.

The rates are those of public press photos (the data are named): a door is darker and people hurry. They are for
choosing, not for promising.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from device.adapters.clock import SystemClock
from device.adapters.models_folder import check_file, load_manifest, pick_variant
from device.assembly import operating_point
from device.broker_access import tls_files, too_open
from device.certificates import days_left, ends_ns, said
from device.commands.check_config import notes
from device.commands.common import add_service_arguments, client
from device.commands.configured import service_config, there
from device.commands.ledger import read
from device.control import ServiceStatus, ServiceUnavailable, StatusRequest
from device.errors import InputError, PorterError
from device.folders import LEDGER
from device.loaded_models import models_folder
from device.options import Config
from device.recognition.gallery import MAX_SUBJECTS
from device.records import Expected
from device.vigil import WARN_DAYS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from device.recognition.operating_point import OperatingPoint

Level = Literal["ok", "note", "wrong"]
SIZES = (1, 10, 50, 100, 250, 500)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. hint: what to do, where it is not well."""

    what: str
    level: Level
    text: str
    hint: str = ""


class Report(msgspec.Struct, frozen=True):
    """All of it, as `--json` prints it. expected: for the gallery as it is, or as asked for; None where unmeasured."""

    findings: list[Finding]
    target_fpir: float
    fixed_threshold: float | None
    expected: Expected | None
    sizes: list[Expected]
    data: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument(
        "--subjects", type=int, metavar="N", help=f"what to expect of a gallery of N (1 to {MAX_SUBJECTS})"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    add_service_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the report; 0 nothing is wrong, 1 something is."""
    if args.subjects is not None and not 1 <= args.subjects <= MAX_SUBJECTS:
        raise InputError(f"--subjects {args.subjects}: expected 1 to {MAX_SUBJECTS}")
    config = service_config(args)
    report = examine(args, config)
    print(msgspec.json.encode(report).decode() if args.json else "\n".join(text(report)))
    return int(any(finding.level == "wrong" for finding in report.findings))


def examine(args: argparse.Namespace, config: Config) -> Report:
    """Looks at everything; nothing that is missing ends it. Raises InputError where there is no such embedder."""
    findings = [Finding("config", "note", note) for note in notes(config)]
    status: ServiceStatus | None = None
    try:
        status = client(args).ask(StatusRequest(), ServiceStatus)
    except ServiceUnavailable as error:
        # Who asks what N subjects would mean may be anywhere; who asks about this device expects one that runs.
        findings.append(Finding("service", "note" if args.subjects else "wrong", error.message, error.hint))
    else:
        findings += service_findings(status)
    findings += [*model_findings(config), ledger_finding(Path(config.device.state_dir) / LEDGER)]
    findings += broker_findings(config)
    point, data = configured_point(config)
    expected = point.expected(args.subjects) if args.subjects else (status.expected if status else None)
    return Report(
        findings=findings,
        target_fpir=config.recognition.target_fpir,
        fixed_threshold=config.recognition.threshold,
        expected=expected,
        sizes=[found for size in SIZES if (found := point.expected(size)) is not None],
        data=data,
    )


def configured_point(config: Config) -> tuple[OperatingPoint, str]:
    """What the configured embedder's manifest makes of the configured target, and the data behind it."""
    manifest = load_manifest(models_folder(config), config.models.embedder)
    variant = pick_variant(manifest, config.inference.delegate)
    return operating_point(config, variant), variant.scores.data if variant.scores else ""


def service_findings(status: ServiceStatus) -> Iterator[Finding]:
    """What the running service says of itself."""
    for trouble in status.troubles:
        yield Finding("service", "wrong", f"{trouble.code}: {trouble.text}", trouble.hint)
    if status.simulated:
        yield Finding("camera", "note", f"{status.camera} shows files: a simulation")
    if status.state == "paused":
        yield Finding("service", "note", "paused: nobody is looked at", "porter resume")
    elif status.frames == 0:
        yield Finding("camera", "wrong", f"no frame from {status.camera} yet", "journalctl -u porter-vision")
    else:
        yield Finding("camera", "ok", f"{status.camera} gives {status.fps:.1f} frames a second")
    if status.subjects == 0:
        hint = "porter enrol --label NAME --policy policy.md"
        yield Finding("gallery", "note", "nobody is enrolled, so nobody is compared", hint)


def model_findings(config: Config) -> Iterator[Finding]:
    """Whether the configured models' files are what their manifests say."""
    folder = models_folder(config)
    for name in (config.models.detector, config.models.embedder):
        try:
            manifest = load_manifest(folder, name)
            variant = pick_variant(manifest, config.inference.delegate)
            check_file(folder, manifest, variant)
        except PorterError as error:
            yield Finding("models", "wrong", error.message, error.hint)
        else:
            yield Finding("models", "ok", f"{name} ({variant.name}) is what its manifest says")


def broker_findings(config: Config) -> Iterator[Finding]:
    """The files that the configuration names for the broker; credentials are systemd's, and only the service's."""
    mqtt, now = config.mqtt, SystemClock().now()
    for name in too_open(mqtt):
        yield Finding("broker", "wrong", f"{name}: every user of this device may read it", f"chmod o= {name}")
    files = tls_files(mqtt, None)
    if not mqtt.tls or not (files.ca_file or files.cert_file):
        return
    try:
        files.context()
    except InputError as error:
        yield Finding("broker", "wrong", error.message, error.hint)
        return
    for name in filter(None, (files.ca_file, files.cert_file)):
        ends = ends_ns(name)
        if ends is None:
            yield Finding("broker", "note", f"{name}: when it ends cannot be read here (openssl is missing?)")
            continue
        level: Level = "wrong" if days_left(ends, now.utc_ns) < WARN_DAYS else "ok"
        hint = "issue a new one (docs/broker.md)" if level == "wrong" else ""
        yield Finding("broker", level, said(name, ends, now.utc_ns), hint)


def ledger_finding(path: Path) -> Finding:
    """Whether every line of the consent ledger is in its place."""
    if not there(path):
        return Finding("ledger", "note", f"{path}: nothing was ever written; no service has run here")
    try:
        entries, _ = read(path)
    except InputError as error:
        return Finding("ledger", "note", error.message, error.hint)
    except PorterError as error:
        return Finding("ledger", "wrong", error.message, error.hint)
    return Finding("ledger", "ok", f"{len(entries)} entries, every one in its place")


def text(report: Report) -> Iterator[str]:
    """The report as people read it."""
    for finding in report.findings:
        yield f"{finding.level:<6}{finding.what:<9}{finding.text}"
        if finding.hint and finding.level != "ok":
            yield f"{'':<15}{finding.hint}"
    yield ""
    if report.expected is not None:
        yield from outlook(report, report.expected)
    if report.sizes:
        why = (
            f"threshold fixed at {report.fixed_threshold:g}" if report.fixed_threshold else "by gallery size"
        )
        yield f"{why}:"
        yield "  subjects  threshold  strangers' visits matched   first looks missed"
        for each in report.sizes:
            missed = share(each.fnir, each.fnir_95)
            yield f"  {each.subjects:>8}  {each.threshold:>9.3f}  {rate(each.fpir):<26}  {missed}"
        yield f"data: {report.data}"


def outlook(report: Report, expected: Expected) -> Iterator[str]:
    """What to expect of one gallery."""
    chosen = "set by recognition.threshold" if report.fixed_threshold else f"for {rate(report.target_fpir)}"
    yield f"gallery of {expected.subjects}: a match needs a score of {expected.threshold:.3f} ({chosen})"
    yield f"  a comparison with a stranger matches   {rate(expected.fmr)}  ({ends(expected.fmr_95)})"
    yield f"  a stranger's visit ends in a match     {rate(expected.fpir)}  ({ends(expected.fpir_95)})"
    yield f"  a subject's first look is missed       {share(expected.fnir, expected.fnir_95)}"
    if not expected.counted:
        yield "  false matches so rare were not counted, but continued from those that were (docs/decisions/0021)"
    yield ""


def ends(interval: tuple[float, float]) -> str:
    """An interval of rates in words."""
    return f"95 %: {rate(interval[0])} to {rate(interval[1])}"


def rate(value: float) -> str:
    """`1 in 10,000`."""
    if value <= 0.0:
        return "never"
    return f"1 in {float(f'{1 / value:.2g}'):,.0f}" if value < 0.1 else f"{100 * value:.0f} %"


def share(value: float, interval: tuple[float, float]) -> str:
    """`0.6 % (0.2 to 1.4)`."""
    return f"{100 * value:.1f} % ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})"
