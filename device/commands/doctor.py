# SPDX-License-Identifier: Apache-2.0
"""Check this device, and say what to expect of its recognition.

Looks at the configuration, both services and how systemd has them, camera, zone, models, what the models run on,
gallery, consent ledger, the way to the broker, clock, disk, power, updates and versions, and says what is wrong and
what to do.
It is done within 10 seconds whatever hangs, on a board that is not too busy to start programs. It changes nothing and
disturbs no service: it opens no camera, no gallery in use and no MQTT session. As an ordinary user of the group porter
it says what it may not see; `sudo porter doctor` sees all.
Exit code 0: nothing is wrong (there may be notes), 1: something is, 2: wrong use.

Then, for the gallery as it is, how often a stranger's visit is expected to end in a match and how often a subject's
first look is missed, with 95 % intervals; and the same for galleries of other sizes, since more subjects need a higher
threshold. `--subjects N` asks for a size of your own, on any machine: only configuration and models are looked at.

The rates are those of public press photos (the data are named): a door is darker and people hurry. They are for
choosing, not for promising. What each line means: docs/troubleshooting.md, which has the form of `--json` as well.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from device import __version__
from device.adapters.board_pi import board_model
from device.adapters.clock import SystemClock
from device.adapters.control_client import ControlClient
from device.adapters.models_folder import load_manifest, pick_variant
from device.adapters.vitals_linux import LinuxVitals
from device.assembly import operating_point
from device.checkup.broker import broker_findings
from device.checkup.camera import camera_findings
from device.checkup.clock import clock_findings
from device.checkup.delegate import delegate_findings
from device.checkup.disk import disk_findings
from device.checkup.finding import Finding, Level
from device.checkup.gallery import gallery_findings, ledger_findings
from device.checkup.host import Host
from device.checkup.models import model_findings
from device.checkup.power import power_findings
from device.checkup.runner import Check, examine
from device.checkup.service import ANSWER_S, ask, forwarder_findings, printable, vision_findings
from device.checkup.units import unit_findings
from device.checkup.update import update_findings
from device.checkup.versions import version_findings
from device.checkup.zone import zone_findings
from device.commands.check_config import notes
from device.commands.common import add_service_arguments, socket_path
from device.commands.configured import DEFAULT_CONFIG, service_config
from device.control import ServiceStatus
from device.errors import InputError
from device.folders import FORWARD, FORWARDER, LEDGER
from device.loaded_models import models_folder
from device.options import Config
from device.payloads import rfc3339
from device.recognition.gallery import MAX_SUBJECTS
from device.records import Expected

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from device.control import ServiceUnavailable
    from device.ports import Clock
    from device.recognition.operating_point import OperatingPoint

SIZES = (1, 10, 50, 100, 250, 500)
ORDER = """
config service camera zone models delegate gallery ledger broker clock disk power units update versions
""".split()  # noqa: SIM905  one name a line would be 15 lines


class Report(msgspec.Struct, frozen=True):
    """All of it, as `--json` prints it (docs/troubleshooting.md). `v` counts up where a reader must change.

    expected: for the gallery as it is, or as asked for; None where unmeasured.
    """

    v: Literal[1]
    device: str
    firmware: str
    at: str
    counts: dict[Level, int]
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
    found = report(args, service_config(args), Host())
    print(msgspec.json.encode(found).decode() if args.json else "\n".join(text(found)))
    return int(found.counts["wrong"] > 0)


def report(args: argparse.Namespace, config: Config, host: Host) -> Report:
    """Looks at everything, whatever is missing or hangs. Raises InputError where there is no such embedder."""
    point, data = configured_point(config)
    clock = SystemClock()
    now = clock.now()
    answer = ask(ControlClient(socket_path(args, DEFAULT_CONFIG), timeout_s=ANSWER_S))
    status = answer if isinstance(answer, ServiceStatus) else None
    checks = basic_checks(config, answer, needed=args.subjects is None)
    if args.subjects is None:
        checks += device_checks(config, host, answer, clock)
    findings = sorted(examine(checks), key=lambda finding: ORDER.index(finding.what))
    counted = Counter(finding.level for finding in findings)
    levels: tuple[Level, ...] = ("ok", "note", "wrong")
    return Report(
        v=1,
        device=config.device.id,
        firmware=__version__,
        at=rfc3339(now.utc_ns),
        counts={level: counted[level] for level in levels},
        findings=findings,
        target_fpir=config.recognition.target_fpir,
        fixed_threshold=config.recognition.threshold,
        expected=point.expected(args.subjects) if args.subjects else (status.expected if status else None),
        sizes=[found for size in SIZES if (found := point.expected(size)) is not None],
        data=data,
    )


def basic_checks(config: Config, answer: ServiceStatus | ServiceUnavailable, *, needed: bool) -> list[Check]:
    """What can be looked at on any machine."""
    return [
        Check("config", lambda: [Finding("config", "note", note) for note in notes(config)]),
        Check("service", lambda: vision_findings(answer, needed=needed)),
        Check("models", lambda: model_findings(config)),
    ]


def device_checks(
    config: Config, host: Host, answer: ServiceStatus | ServiceUnavailable, clock: Clock
) -> list[Check]:
    """What is of this device alone."""
    state_dir = Path(config.device.state_dir)
    forwarder = Path(config.device.run_dir) / FORWARD / FORWARDER
    inference, source, now = config.inference, config.camera.source, clock.now()
    return [
        Check("service", lambda: forwarder_findings(forwarder, clock)),
        Check("camera", lambda: camera_findings(config.camera, host, answer)),
        Check("zone", lambda: zone_findings(config.zone, config.camera, detector_px(config))),
        Check("delegate", lambda: delegate_findings(config, host, answer)),
        Check("gallery", lambda: gallery_findings(config, host, answer)),
        Check("ledger", lambda: ledger_findings(state_dir / LEDGER)),
        Check("broker", lambda: broker_findings(config.mqtt, host, now)),
        Check("clock", lambda: clock_findings(host, state_dir, now)),
        Check("disk", lambda: disk_findings(host, state_dir)),
        Check(
            "power",
            lambda: power_findings(host, LinuxVitals(state_dir, host.root).read(), board_model(host.root)),
        ),
        Check("units", lambda: unit_findings(host)),
        Check("update", lambda: update_findings(host)),
        Check("versions", lambda: version_findings(host, inference, source, answer, forwarder, now)),
    ]


def detector_px(config: Config) -> tuple[int, int]:
    """Width and height of the configured detector's input."""
    picture = load_manifest(models_folder(config), config.models.detector).input
    return picture.width_px, picture.height_px


def configured_point(config: Config) -> tuple[OperatingPoint, str]:
    """What the configured embedder's manifest makes of the configured target, and the data behind it."""
    manifest = load_manifest(models_folder(config), config.models.embedder)
    variant = pick_variant(manifest, config.inference.delegate)
    return operating_point(config, variant), variant.scores.data if variant.scores else ""


def text(report: Report) -> Iterator[str]:
    """The report as people read it."""
    for finding in report.findings:
        # Some of these words came from files, programs and the network.
        yield f"{finding.level:<6}{finding.what:<9}{printable(finding.text)}"
        if finding.hint and finding.level != "ok":
            yield f"{'':<15}{printable(finding.hint)}"
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
        yield ""
    yield ", ".join(f"{number} {level}" for level, number in report.counts.items())


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
