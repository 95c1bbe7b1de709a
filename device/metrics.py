# SPDX-License-Identifier: Apache-2.0
"""Prometheus metrics of a device, from the same report as `health`, connected or not.

Written as a textfile for the node exporter (`metrics.textfile`), or served on the loopback interface (`metrics.port`).
Names and units by Prometheus' conventions; a sensor that is not there is a series that is not there.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CollectorRegistry, generate_latest, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from device.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from device.payloads import Health, Trouble
    from device.records import Stamp

log = logging.getLogger("porter.metrics")

PERIOD_NS = 15_000_000_000
LOOPBACK = "127.0.0.1"


class DeviceCollector(Collector):
    """The newest report as metrics. `show` by one thread, `collect` by any."""

    def __init__(self, firmware: str) -> None:
        self._firmware = firmware
        self._shown: tuple[Health, bool, Sequence[Trouble]] | None = None

    def show(self, health: Health, *, connected: bool, troubles: Sequence[Trouble]) -> None:
        """Puts a report in the last one's place."""
        self._shown = (health, connected, troubles)

    def collect(self) -> Iterator[Metric]:
        """All series; none before the first report."""
        if self._shown is None:
            return
        health, connected, troubles = self._shown
        build = GaugeMetricFamily("porter_build_info", "Always 1.", labels=["device", "firmware"])
        build.add_metric([health.device, self._firmware], 1)
        yield build
        yield GaugeMetricFamily("porter_connected", "Whether the broker has accepted us.", value=connected)
        alerts = GaugeMetricFamily(
            "porter_alert", "1 for each standing alert of the forwarder.", labels=["code"]
        )
        for trouble in troubles:
            alerts.add_metric([trouble.code], 1)
        yield alerts
        yield from _delivery(health)
        yield from _sensors(health)
        yield from _vision(health)


def _delivery(health: Health) -> Iterator[Metric]:
    sent = health.delivery
    yield CounterMetricFamily(
        "porter_connects", "Connections since the forwarder began.", value=sent.connects
    )
    events = CounterMetricFamily(
        "porter_events_delivered", "Events with a PUBACK below 0x80.", labels=["delivery"]
    )
    events.add_metric(["live"], sent.live)
    events.add_metric(["late"], sent.late)
    yield events
    yield CounterMetricFamily("porter_events_refused", "PUBACKs from 0x80 on.", value=sent.refused)
    text = "Events that the broker had nobody to hand to."
    yield CounterMetricFamily("porter_events_without_subscriber", text, value=sent.no_subscriber)
    if health.outbox.depth is not None:
        yield GaugeMetricFamily("porter_outbox_events", "Events that wait.", value=health.outbox.depth)
    if health.outbox.dropped is not None:
        yield CounterMetricFamily("porter_events_dropped", "Events given up.", value=health.outbox.dropped)


def _sensors(health: Health) -> Iterator[Metric]:
    heat = GaugeMetricFamily("porter_temperature_celsius", "Temperatures.", labels=["sensor"])
    for name, reading in (("cpu", health.temperatures_c.cpu), ("tpu", health.temperatures_c.tpu)):
        if reading.value is not None:
            heat.add_metric([name], reading.value)
    yield heat
    if health.undervoltage is not None:
        yield GaugeMetricFamily(
            "porter_undervoltage", "Whether the supply is too weak.", value=health.undervoltage
        )
    if health.disk_free_mb is not None:
        yield GaugeMetricFamily("porter_disk_free_bytes", "Free for Porter.", value=health.disk_free_mb * 1e6)
    if health.memory_mb is not None:
        yield GaugeMetricFamily(
            "porter_forwarder_memory_bytes", "Resident memory.", value=health.memory_mb * 1e6
        )


def _vision(health: Health) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "porter_vision_up", "Whether the vision service speaks.", value=health.vision is not None
    )
    if health.vision is None:
        return
    yield GaugeMetricFamily("porter_frames_per_second", "Frames processed.", value=health.vision.fps)
    yield CounterMetricFamily(
        "porter_frames", "Frames since the vision service began.", value=health.vision.frames
    )
    times = GaugeMetricFamily(
        "porter_inference_seconds", "Of the last 256 inferences.", labels=["task", "quantile"]
    )
    for each in health.vision.inference:
        times.add_metric([each.task, "0.5"], each.p50_ms / 1e3)
        times.add_metric([each.task, "0.95"], each.p95_ms / 1e3)
    yield times


class MetricsWriter:
    """Renews the report, and the textfile where one is wanted. On the forwarder's thread."""

    def __init__(self, collector: DeviceCollector, textfile: str, renew: Callable[[Stamp], None]) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(collector)
        self._textfile = textfile
        self._renew = renew
        self._due_ns = 0
        self._problem = ""

    def step(self, now: Stamp) -> None:
        """Every 15 s. A file that cannot be written is logged once; events are worth more than figures."""
        if now.boot_ns < self._due_ns:
            return
        self._due_ns = now.boot_ns + PERIOD_NS
        self._renew(now)
        if not self._textfile:
            return
        try:
            self._write()
        except OSError as error:
            if self._problem != str(error):
                log.warning("metrics_unwritten path=%s error=%r", self._textfile, error.strerror)
            self._problem = str(error)
        else:
            self._problem = ""

    def _write(self) -> None:
        """Whole or not at all, and for every user: the node exporter is another one, and our umask keeps others out."""
        fresh = Path(f"{self._textfile}.new")
        with fresh.open("wb") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(generate_latest(self.registry))
        fresh.replace(self._textfile)


class Exporter:
    """Serves the metrics on loopback; `step` waits for one request. Raises InputError where the port is taken."""

    def __init__(self, registry: CollectorRegistry, port: int) -> None:
        try:
            self._server = make_server(LOOPBACK, port, make_wsgi_app(registry), handler_class=QuietHandler)
        except OSError as error:
            raise InputError(
                f"metrics.port {port}: cannot listen there: {error.strerror}",
                hint="is it taken? 0 turns it off",
            ) from error
        self._server.timeout = 0.5

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.server_port

    def step(self) -> None:
        """Serves one request, if one comes within half a second."""
        self._server.handle_request()

    def close(self) -> None:
        """Stops listening."""
        self._server.server_close()


class QuietHandler(WSGIRequestHandler):
    """Logs nothing; a client that connects and says nothing is left after a second."""

    timeout = 1.0

    def log_message(self, *_: object) -> None:
        """Nothing."""
