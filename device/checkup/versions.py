# SPDX-License-Identifier: Apache-2.0
"""Whether what runs together belongs together: firmware and services, runtime and libedgetpu, picamera2 and numpy."""

from __future__ import annotations

import importlib.util
import platform
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import device
from device import __version__
from device.adapters.delegate_probe import ADVICE
from device.adapters.interpreter_tflite import RUNTIMES, find_runtime
from device.checkup.delegate import version
from device.checkup.finding import Finding
from device.control import ServiceStatus
from device.errors import PorterError
from device.payloads import ForwarderState
from device.shared_record import SharedRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from device.checkup.host import Host
    from device.control import ServiceUnavailable
    from device.options import InferenceOptions
    from device.records import Stamp

LIBRARY = ("libedgetpu1-std", "libedgetpu1-max")
# By the runtime: the TensorFlow that libedgetpu must be built for, as `ADVICE` says in words.
NEEDS_TF = {"tflite-runtime": ((2, 14), (2, 14)), "ai-edge-litert": ((2, 17), (99, 0))}
SYSTEM = ("/usr/lib/python3/dist-packages", "/usr/lib/python3")
RESTART = "sudo systemctl restart porter-vision porter-forward"


def found_at(name: str) -> str:
    """Where a module would be imported from; empty where there is none. It is not imported."""
    spec = importlib.util.find_spec(name)
    return str(spec.origin or "") if spec else ""


def version_findings(
    host: Host,
    inference: InferenceOptions,
    source: str,
    answer: ServiceStatus | ServiceUnavailable,
    forwarder: Path,
    now: Stamp,
    where: Callable[[str], str] = found_at,
) -> Iterator[Finding]:
    """source: camera.source. forwarder: the forwarder's record."""
    yield from services(answer, forwarder, now)
    newest, python = (3, 13), sys.version_info[:2]
    said = f"Python {platform.python_version()}"
    if python > newest:
        hint = f"it may work; it was tried up to {newest[0]}.{newest[1]}"
        yield Finding("versions", "note", f"{said}: newer than any that Porter was tried with", hint)
    else:
        yield Finding("versions", "ok", f"porter {__version__} on {said}")
    if inference.delegate == "edgetpu":
        yield from pair(host, inference.runtime)
    if source == "picamera2":
        yield camera_stack(where)


def services(answer: ServiceStatus | ServiceUnavailable, forwarder: Path, now: Stamp) -> Iterator[Finding]:
    """Whether both run what is installed: an update without a restart is half an update."""
    running = {}
    if isinstance(answer, ServiceStatus):
        running["vision"] = answer.firmware
        began_ns = now.utc_ns - round(answer.uptime_s * 1e9)
        if now.synced and answer.firmware == __version__ and code_changed_ns() > began_ns:
            text = "Porter's files changed after the vision service started"
            yield Finding("versions", "note", text, RESTART)
    try:
        forwarder.open("rb").close()
        state = SharedRecord(forwarder, ForwarderState).read()
    except OSError:
        state = None
    if state is not None:
        running["forward"] = state.firmware
    for name, said in running.items():
        if said != __version__:
            text = f"porter-{name} still runs {said or 'an older version'}, installed is {__version__}"
            yield Finding("versions", "wrong", text, RESTART)
    if running and all(said == __version__ for said in running.values()):
        names = " and ".join(f"porter-{name}" for name in running)
        yield Finding("versions", "ok", f"{names} run {__version__}, which is installed")


def code_changed_ns() -> int:
    """When the newest of the package's files was written, UTC; 0 where that cannot be seen."""
    folder = Path(device.__file__).parent
    return max((path.stat().st_mtime_ns for path in folder.rglob("*.py")), default=0)


def pair(host: Host, runtime: str) -> Iterator[Finding]:
    """Whether libedgetpu was built for the runtime's TensorFlow: one that was not crashes (`delegate_probe`)."""
    try:
        module = find_runtime(runtime)
    except PorterError:
        return  # the check of the delegate says so
    name = next(each for each, its in RUNTIMES.items() if its == module)
    for package in LIBRARY:
        said = host.run("dpkg-query", "--show", "--showformat=${Version}", package)
        if said.well and said.text:
            yield judged(name, package, said.text)
            return
    hint = "fine if it was built by hand; " + ADVICE["crashed"][1]
    yield Finding(
        "versions", "note", f"libedgetpu is not of a package: whether it fits {name} is not known", hint
    )


def judged(name: str, package: str, said: str) -> Finding:
    """A pair by its versions. A package of the maker's own does not say for which TensorFlow it was built."""
    both = f"{name} {version(name)} with {package} {said}"
    found = re.search(r"tf-?(\d+)\.(\d+)", said)
    if found is None:
        return Finding("versions", "note", f"{both}: not known to work together", ADVICE["crashed"][1])
    built = int(found[1]), int(found[2])
    lowest, highest = NEEDS_TF[name]
    if lowest <= built <= highest:
        return Finding("versions", "ok", f"{both}: a pair that works")
    return Finding("versions", "wrong", f"{both}: not a pair", ADVICE["crashed"][1])


def camera_stack(where: Callable[[str], str]) -> Finding:
    """picamera2, libcamera and numpy are built for one another: all three must be the distribution's."""
    places = {name: where(name) for name in ("picamera2", "libcamera", "numpy")}
    foreign = [name for name, place in places.items() if place and not place.startswith(SYSTEM)]
    missing = [name for name, place in places.items() if not place]
    if missing:
        hint = "sudo apt install python3-picamera2, and an environment made with --system-site-packages"
        return Finding("versions", "wrong", f"{', '.join(missing)} cannot be imported", hint)
    if foreign:
        hint = f"pip uninstall {' '.join(foreign)} in Porter's environment (raspberrypi/picamera2#1088)"
        text = f"{', '.join(foreign)} is not the distribution's, which picamera2 was built for"
        return Finding("versions", "wrong", text, hint)
    return Finding("versions", "ok", "picamera2, libcamera and numpy are the distribution's")
