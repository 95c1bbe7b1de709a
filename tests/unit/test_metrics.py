# SPDX-License-Identifier: Apache-2.0
"""Metrics: every series by its name, a textfile that is whole, an exporter on loopback only, and the dashboard."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import threading
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from device.adapters.clock import ManualClock
from device.errors import InputError
from device.metrics import DeviceCollector, Exporter, MetricsWriter
from device.payloads import (
    DeliveryFigures,
    Health,
    InferenceTimes,
    OutboxFigures,
    Reading,
    Temperatures,
    Trouble,
    VisionFigures,
)

if TYPE_CHECKING:
    from device.records import Stamp

ROOT = Path(__file__).resolve().parents[2]
HEALTH = Health(
    v=1,
    device="lobby-01",
    boot="0000b7c1",
    ts="2026-11-23T04:20:00.000Z",
    uptime_s=10.0,
    vision=VisionFigures(9.8, 1234, [InferenceTimes("detector", 3.1, 3.4)]),
    temperatures_c=Temperatures(Reading(51.5), Reading(None, "no Edge TPU")),
    undervoltage=False,
    disk_free_mb=9000,
    memory_mb=31.2,
    outbox=OutboxFigures(4, 2),
    delivery=DeliveryFigures(live=7, late=3, no_subscriber=1, refused=5, connects=2),
)
TROUBLE = Trouble(code="disk_low", text="", hint="", since="")


class Rig:
    """A writer and what it was asked for."""

    def __init__(self, textfile: str = "", health: Health = HEALTH) -> None:
        self.clock = ManualClock()
        self.collector = DeviceCollector("0.1.0")
        self.health = health
        self.renewed = 0
        self.writer = MetricsWriter(self.collector, textfile, self._renew)

    def step(self) -> None:
        self.writer.step(self.clock.now())

    def _renew(self, now: Stamp) -> None:
        self.renewed += 1
        self.collector.show(self.health, connected=True, troubles=[TROUBLE])


def series(text: str) -> dict[str, float]:
    """Every sample by name and labels."""
    return {
        f"{sample.name}{sorted(sample.labels.values()) or ''}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_textfile_has_every_series_and_no_half_of_it(tmp_path: Path) -> None:
    path = tmp_path / "porter.prom"
    rig = Rig(str(path))
    rig.step()
    found = series(path.read_text())
    assert found["porter_connected"] == 1
    assert found["porter_events_delivered_total['live']"] == 7
    assert found["porter_events_delivered_total['late']"] == 3
    assert found["porter_events_dropped_total"] == 2
    assert found["porter_outbox_events"] == 4
    assert found["porter_inference_seconds['0.95', 'detector']"] == pytest.approx(0.0034)
    assert found["porter_temperature_celsius['cpu']"] == 51.5
    assert "porter_temperature_celsius['tpu']" not in found
    assert found["porter_alert['disk_low']"] == 1
    assert found["porter_disk_free_bytes"] == 9e9
    assert [file.name for file in tmp_path.iterdir()] == ["porter.prom"]


def test_the_textfile_may_be_read_by_the_node_exporters_user_whatever_our_umask(tmp_path: Path) -> None:
    path = tmp_path / "porter.prom"
    before = os.umask(0o077)
    try:
        Rig(str(path)).step()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_it_is_renewed_every_fifteen_seconds(tmp_path: Path) -> None:
    rig = Rig(str(tmp_path / "porter.prom"))
    for _ in range(61):
        rig.step()
        rig.clock.advance(1)
    assert rig.renewed == 5


def test_a_silent_vision_service_has_no_series_but_that_it_is_down(tmp_path: Path) -> None:
    import msgspec

    path = tmp_path / "porter.prom"
    Rig(str(path), msgspec.structs.replace(HEALTH, vision=None)).step()
    found = series(path.read_text())
    assert found["porter_vision_up"] == 0
    assert not [name for name in found if "frames" in name or "inference" in name]


def test_a_file_that_cannot_be_written_is_said_once_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig(str(tmp_path / "nowhere" / "porter.prom"))
    for _ in range(5):
        rig.step()
        rig.clock.advance(20)
    assert rig.renewed == 5
    assert [record.message.split()[0] for record in caplog.records] == ["metrics_unwritten"]


def test_the_exporter_serves_the_same_on_loopback() -> None:
    rig = Rig()
    rig.step()
    with closing(Exporter(rig.writer.registry, 0)) as exporter:
        server = threading.Thread(target=exporter.step)
        server.start()
        with urllib.request.urlopen(f"http://127.0.0.1:{exporter.port}/metrics", timeout=10) as answer:
            found = series(answer.read().decode())
        server.join(10)
    assert found["porter_events_refused_total"] == 5


def test_a_port_that_is_taken_is_named() -> None:
    with closing(socket.socket()) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(InputError, match="cannot listen there"):
            Exporter(Rig().writer.registry, other.getsockname()[1])


def test_the_dashboard_asks_for_series_that_there_are(tmp_path: Path) -> None:
    path = tmp_path / "porter.prom"
    Rig(str(path)).step()
    there = {name.partition("[")[0] for name in series(path.read_text())}
    dashboard = json.loads((ROOT / "config/grafana/porter.json").read_text(encoding="utf-8"))
    asked = {
        name
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for name in re.findall(r"porter_\w+", target["expr"])
    }
    assert len(asked) >= 10
    assert asked <= there
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]]
    assert len(set(places)) == len(places)
