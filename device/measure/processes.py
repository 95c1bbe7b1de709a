# SPDX-License-Identifier: Apache-2.0
"""Both services as the processes that they are: how soon the first frame is done, and how much memory they hold.

The vision service runs in a folder of its own on frames from files. Its one subject is enrolled as everyone is, in
front of the (simulated) camera through the control socket, so that what is measured embeds and compares. The forwarder
delivers to a broker on this machine.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from device.adapters.broker_embedded import EmbeddedBroker
from device.adapters.control_client import ControlClient
from device.control import SOCKET_NAME, Enrolled, EnrolRequest, ServiceStatus, StatusRequest
from device.demo_scenes import write_scene
from device.errors import PorterError
from device.measure.children import PATIENCE_S, POLL_S, child, memory_mb
from device.measure.frames import FACE_PX, SIZE_PX

FRAMES = 100
STARTS = 3
SETTLE_S = 3.0
POLICY = "The benchmark's own portrait, in the public domain, enrolled into a gallery that is thrown away.\n"
CONFIG = """\
device: {{id: bench, state_dir: {folder}/state, run_dir: {folder}/run}}
camera: {{source: files, path: {folder}/frames, width_px: {width}, height_px: {height}, rate_hz: 30, loop: true}}
motion: {{enabled: false}}
models: {{folder: {models}}}
mqtt: {{host: {host}, port: {port}, tls: false}}
"""


@dataclass(frozen=True, slots=True)
class ProcessFigures:
    """first_frame_s: each start's; rss_mb: resident set after FRAMES frames, and once connected; peaks beside."""

    first_frame_s: list[float]
    rss_mb: dict[str, float]
    peak_rss_mb: dict[str, float]


def measure_processes(folder: Path, models: Path) -> ProcessFigures:
    """Starts the services in `folder`, which is empty, and measures them. Raises PorterError where one does not run."""
    for name in ("state", "run"):
        (folder / name).mkdir()
    write_scene(
        folder / "frames", "astronaut", width_px=SIZE_PX[0], height_px=SIZE_PX[1], face_px=round(FACE_PX)
    )
    config = folder / "porter.yaml"
    with EmbeddedBroker() as broker:
        config.write_text(
            CONFIG.format(
                folder=folder.resolve(),
                models=models.resolve(),
                host=broker.host,
                port=broker.port,
                width=SIZE_PX[0],
                height=SIZE_PX[1],
            )
        )
        first = []
        for _ in range(STARTS - 1):
            with child("vision", config) as vision:
                first.append(vision.wait_for("first_frame"))
        with child("vision", config) as vision:
            first.append(vision.wait_for("first_frame"))
            process_frames(ControlClient(folder / "run" / SOCKET_NAME))
            with child("forward", config) as forward:
                forward.wait_for("connected")
                time.sleep(SETTLE_S)
                both = {"vision": vision, "forward": forward}
                rss = {name: memory_mb(running.process.pid, "VmRSS") for name, running in both.items()}
                peak = {name: memory_mb(running.process.pid, "VmHWM") for name, running in both.items()}
    return ProcessFigures(first, rss, peak)


def process_frames(client: ControlClient) -> None:
    """Enrols the portrait, and waits until FRAMES more frames are done and a face was embedded among them."""
    client.ask(EnrolRequest(label="bench", policy_text=POLICY, acknowledged=True), Enrolled)
    before = client.ask(StatusRequest(), ServiceStatus)
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        now = client.ask(StatusRequest(), ServiceStatus)
        if now.frames >= before.frames + FRAMES and now.embedded > before.embedded:
            return
        time.sleep(POLL_S)
    raise PorterError(f"the vision service did not process {FRAMES} frames in {PATIENCE_S:g} s")
