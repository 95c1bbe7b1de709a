# SPDX-License-Identifier: Apache-2.0
"""What the models run on: the runtime, and for an Edge TPU its library, the device, and who may use it.

The probe's child runs only where nobody else has the Edge TPU: a second process that merely tries it makes the first
one's transfers fail (google-coral/edgetpu#237). So never while a vision service is up or on its way, nor while another
process holds the lock `edgetpu.lock` in `run_dir`; while we probe, we hold it.

Never run with an Edge TPU: tested on files of the same form and with a stub delegate.
"""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device.adapters.clock import SystemClock
from device.adapters.delegate_probe import ADVICE, DelegateProbe
from device.adapters.edgetpu_lock import LOCK, EdgeTpuLock
from device.adapters.interpreter_tflite import RUNTIMES, find_runtime
from device.adapters.models_folder import check_file, load_manifest, pick_variant
from device.adapters.vitals_linux import CORAL_USB, word
from device.checkup.finding import Finding
from device.control import ServiceStatus
from device.errors import HardwareError, PorterError
from device.loaded_models import models_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from device.adapters.delegate_probe import ProbeResult
    from device.checkup.host import Host
    from device.control import ServiceUnavailable
    from device.options import Config

PROBE_S = 4.5
LOADS = "import ctypes, sys; ctypes.CDLL(sys.argv[1])"
UDEV = (
    "a udev rule must give it to the group plugdev (libedgetpu's package brings one); then plug it in again"
)


def probed(model: Path, **how: Any) -> ProbeResult:
    """What a child process finds, waited for."""
    return DelegateProbe(model, **how).wait()


def delegate_findings(
    config: Config,
    host: Host,
    answer: ServiceStatus | ServiceUnavailable,
    probe: Callable[..., ProbeResult] = probed,
) -> Iterator[Finding]:
    """answer: what the vision service said, since whoever runs the models knows best."""
    module = find_runtime(config.inference.runtime)
    name = next(each for each, its in RUNTIMES.items() if its == module)
    if config.inference.delegate == "cpu":
        yield Finding("delegate", "ok", f"the models run on the CPU, by {name} {version(name)}")
        return
    library = config.inference.edgetpu_library
    loaded = host.run(sys.executable, "-P", "-c", LOADS, library)
    if not loaded.well:
        last = loaded.text.rpartition("\n")[2]
        yield Finding("delegate", "wrong", f"{library}: {ADVICE['missing'][0]}: {last}", ADVICE["missing"][1])
    nodes = list(devices(host))
    if not nodes:
        yield Finding("delegate", "wrong", "no Edge TPU is plugged in", ADVICE["refused"][1])
    for what, node in nodes:
        yield usable(host, what, node)
    if loaded.well and nodes:
        yield in_use_or_probed(config, host, answer, lambda: tried(config, module, probe))


def version(name: str) -> str:
    """A package's version; empty where it is not known."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def devices(host: Host) -> Iterator[tuple[str, Path]]:
    """Every Edge TPU that the kernel shows: what it is, and its node."""
    for node in sorted(host.path("dev").glob("apex_*")):
        yield f"the PCIe Edge TPU {node.name}", node
    for device in sorted(host.path("sys/bus/usb/devices").glob("*")):
        ids = word(device / "idVendor"), word(device / "idProduct")
        if ids not in CORAL_USB:
            continue
        bus, number = (int(word(device / name) or 0) for name in ("busnum", "devnum"))
        fresh = "" if ids == CORAL_USB[1] else ", still without its firmware: its first user loads it"
        yield (
            f"the USB Edge TPU {ids[0]}:{ids[1]}{fresh}",
            host.path(f"dev/bus/usb/{bus:03d}/{number:03d}"),
        )


def usable(host: Host, what: str, node: Path) -> Finding:
    """Whether the vision service's user may use it."""
    try:
        if host.vision.may_use(node):
            return Finding("delegate", "ok", f"{what} is there, and the vision service may use it")
    except OSError as error:
        return Finding("delegate", "wrong", f"{what}: {node}: {error.strerror}", "plug it out and in again")
    return Finding("delegate", "wrong", f"{what}: the vision service's user may not use {node}", UDEV)


def in_use_or_probed(
    config: Config,
    host: Host,
    answer: ServiceStatus | ServiceUnavailable,
    attempt: Callable[[], Finding],
) -> Finding:
    """What the service says of it, or an attempt of our own where that disturbs nobody."""
    if isinstance(answer, ServiceStatus):
        off = [model.name for model in answer.models if model.delegate != "edgetpu"]
        if not off:
            return Finding(
                "delegate", "ok", "the vision service runs its models on the Edge TPU (not probed beside it)"
            )
        text = f"the vision service runs {' and '.join(off)} on the CPU, not on the Edge TPU as configured"
        return Finding("delegate", "wrong", text, "the alert tpu_lost says why; then restart porter-vision")
    if host.vision_runs():
        return Finding("delegate", "note", "the vision service is on its way and may use it: not probed")
    lock = EdgeTpuLock(Path(config.device.run_dir) / LOCK, "porter doctor")
    try:
        lock.take(SystemClock().now().boot_ns)
    except HardwareError as error:
        return Finding("delegate", "note", f"{error.message}: not probed", error.hint)
    try:
        return attempt()
    finally:
        lock.give_back()


def tried(config: Config, module: str, probe: Callable[..., ProbeResult]) -> Finding:
    """The probe's verdict, on the embedder."""
    folder, inference = models_folder(config), config.inference
    try:
        manifest = load_manifest(folder, config.models.embedder)
        path = check_file(folder, manifest, pick_variant(manifest, "edgetpu"))
    except PorterError:
        return Finding("delegate", "note", "there is no model to try it with; see models")
    options = {"device": inference.edgetpu_device} if inference.edgetpu_device else {}
    result = probe(
        path, runtime_module=module, library=inference.edgetpu_library, options=options, timeout_s=PROBE_S
    )
    error = result.error(inference.edgetpu_library)
    if error is None:
        return Finding("delegate", "ok", f"the Edge TPU runs {config.models.embedder}")
    if result.verdict == "timeout":
        hint = (
            "the first use after plugging in loads its firmware, which takes seconds: once more; "
            + error.hint
        )
        return Finding("delegate", "wrong", error.message, hint)
    return Finding("delegate", "wrong", error.message, error.hint)
