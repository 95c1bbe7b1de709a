# SPDX-License-Identifier: Apache-2.0
"""The camera: what the service that has it says, and where none runs, whether its devices are there to be used.

It is never opened here: a camera belongs to one process at a time.
"""

from __future__ import annotations

import importlib.util
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from device.checkup.finding import Finding
from device.control import ServiceStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from device.checkup.host import Host
    from device.control import ServiceUnavailable
    from device.options import CameraOptions

RIBBON = "power off, ribbon out and in again at both ends; camera_auto_detect=1 in config.txt (docs/troubleshooting.md)"
# libcamera's own needs: the sensor's graph, the picture's device, and memory for its buffers.
CSI_NODES = (("media[0-9]*",), ("video[0-9]*",), ("dma_heap/*", "udmabuf"))
SLOW = 0.5


def has_module(name: str) -> bool:
    """Whether a module can be found; it is not imported."""
    return importlib.util.find_spec(name) is not None


def camera_findings(
    options: CameraOptions,
    host: Host,
    answer: ServiceStatus | ServiceUnavailable,
    installed: Callable[[str], bool] = has_module,
) -> Iterator[Finding]:
    """answer: what the vision service said."""
    if isinstance(answer, ServiceStatus):
        yield from running(options, answer)
    elif options.source == "picamera2":
        yield from csi(host, installed)
    elif options.source == "usb":
        yield from usb(options, host, installed)
    elif Path(options.path).exists():
        yield Finding("camera", "note", f"{options.path} shows files: a simulation")
    else:
        yield Finding(
            "camera", "wrong", f"camera.path: {options.path} is not there", "name a folder or file that is"
        )


def running(options: CameraOptions, status: ServiceStatus) -> Iterator[Finding]:
    """From the service that has it. A camera that is lost or frozen is its alert `camera_lost`."""
    if status.simulated:
        yield Finding("camera", "note", f"{status.camera} shows files: a simulation")
    if status.source != options.source:
        text = f"the service has a camera of source {status.source}, configured is {options.source}"
        yield Finding("camera", "wrong", text, "sudo systemctl restart porter-vision")
    if status.state == "paused":
        yield Finding("camera", "ok", f"{status.camera} is closed while the service is paused")
    elif status.frames == 0:
        yield Finding("camera", "wrong", f"no frame from {status.camera} yet", "journalctl -u porter-vision")
    elif options.rate_hz and status.fps < SLOW * options.rate_hz:
        text = (
            f"{status.camera} gives {status.fps:.1f} frames a second, camera.rate_hz is {options.rate_hz:g}"
        )
        yield Finding("camera", "note", text, "just started? else docs/troubleshooting.md, Slow")
    else:
        yield Finding("camera", "ok", f"{status.camera} gives {status.fps:.1f} frames a second")


def csi(host: Host, installed: Callable[[str], bool]) -> Iterator[Finding]:
    """A camera on a ribbon: what libcamera needs, without asking it, since that opens devices."""
    if not installed("picamera2"):
        hint = "sudo apt install python3-picamera2, and an environment made with --system-site-packages"
        yield Finding("camera", "wrong", "picamera2 cannot be imported", hint)
    for patterns in CSI_NODES:
        nodes = [node for pattern in patterns for node in sorted(host.path("dev").glob(pattern))]
        if not nodes:
            text = f"no /dev/{' or '.join(patterns)}: the kernel shows no camera"
            yield Finding("camera", "wrong", text, RIBBON)
            return
        if not any(host.vision.may_use(node) for node in nodes):
            text = f"the vision service's user may not use {nodes[0]}"
            yield Finding("camera", "wrong", text, "its group must be video: ls -l; udevadm trigger")
            return
    yield Finding("camera", "ok", "devices for a camera on a ribbon are there (not opened)")


def usb(options: CameraOptions, host: Host, installed: Callable[[str], bool]) -> Iterator[Finding]:
    """A camera by its node."""
    if not installed("av"):
        yield Finding("camera", "wrong", "PyAV cannot be imported", "pip install 'porter-camera[video]'")
    node = host.path(options.path)
    try:
        mode, allowed = node.stat().st_mode, host.vision.may_use(node)
    except OSError as error:
        hint = "ls /dev/video*; plug it out and in; camera.path names it"
        yield Finding("camera", "wrong", f"{options.path}: {error.strerror}", hint)
        return
    if not stat.S_ISCHR(mode):
        yield Finding(
            "camera", "wrong", f"{options.path}: not a device", "camera.path names it: ls /dev/video*"
        )
    elif not allowed:
        text = f"the vision service's user may not use {options.path}"
        yield Finding("camera", "wrong", text, "its group must be video: ls -l; udevadm trigger")
    else:
        yield Finding("camera", "ok", f"{options.path} is there (not opened)")
