# SPDX-License-Identifier: Apache-2.0
"""Health: what is reported, how often, from which sensors, and which alerts follow."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

import msgspec
import pytest

from device.adapters.clock import ManualClock
from device.adapters.outbox_memory import MemoryOutbox
from device.adapters.state_file import MemoryStateBoard
from device.adapters.vitals_linux import FixedVitals, LinuxVitals
from device.announcements import Names
from device.delivery import Counters
from device.errors import StorageError
from device.health import HealthReport
from device.inference_times import KEPT, TimedInterpreter
from device.payloads import Health, InferenceTimes, Reading, ServiceState, VisionFigures, VisionInfo
from device.ports import VitalSigns
from device.troubles import Troubles
from tests.events import make_event

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from device.ports import Interpreter

SIGNS = VitalSigns(
    cpu_c=Reading(51.5),
    tpu_c=Reading(None, "a USB Edge TPU has no sensor"),
    undervoltage=False,
    disk_free_mb=9000,
    disk_share_free=0.6,
    memory_mb=31.2,
)
FIGURES = VisionFigures(
    9.8, 1234, [InferenceTimes("detector", 3.1, 3.4), InferenceTimes("embedder", 2.2, 2.9)]
)


class Torn(MemoryOutbox):
    """An outbox that cannot be counted."""

    def depth(self) -> int:
        raise StorageError("outbox: disk I/O error", hint="a failure asked for by a test")


class Rig:
    """A report with fakes around it."""

    def __init__(self, signs: VitalSigns = SIGNS, outbox: MemoryOutbox | None = None) -> None:
        self.clock = ManualClock(boot_id="0000b7c1")
        self.board = MemoryStateBoard()
        self.outbox = outbox or MemoryOutbox()
        self.vitals = FixedVitals(signs)
        self.troubles = Troubles(self.clock)
        self.report = HealthReport(
            Names("porter", "lobby-01", ("cam0",), "0.1.0", "0000b7c1"),
            board=self.board,
            outbox=self.outbox,
            vitals=self.vitals,
            troubles=self.troubles,
            counters=lambda: Counters(live=7, late=3, no_subscriber=2, refused=1),
            connects=lambda: 4,
        )
        self.report.connected(self.clock.now())

    def look(self) -> None:
        """The vision service shows itself."""
        info = VisionInfo(cameras=[], models=[], subjects=0)
        state = ServiceState(
            boot_ns=self.clock.now().boot_ns,
            stopping=False,
            info=info,
            presence=[],
            troubles=[],
            figures=FIGURES,
        )
        self.board.show(state)

    def due(self) -> Sequence[Health]:
        return [
            msgspec.json.decode(message.payload, type=Health)
            for message in self.report.due(5, self.clock.now())
        ]


def test_a_report_says_all_of_it_and_is_neither_kept_nor_waited_for() -> None:
    rig = Rig()
    rig.clock.advance(2)
    rig.look()
    rig.outbox.append([make_event(1), make_event(2)])
    rig.outbox.drop([make_event(1).id])
    (message,) = rig.report.due(1, rig.clock.now())
    assert (message.topic, message.qos, message.retain, message.expiry_s) == (
        "porter/v1/lobby-01/health",
        0,
        False,
        180,
    )
    said = msgspec.json.decode(message.payload)
    assert said["vision"]["inference"][0] == {"task": "detector", "p50_ms": 3.1, "p95_ms": 3.4}
    assert said["vision"]["fps"] == 9.8
    assert said["temperatures_c"] == {
        "cpu": {"value": 51.5, "reason": ""},
        "tpu": {"value": None, "reason": "a USB Edge TPU has no sensor"},
    }
    assert said["outbox"] == {"depth": 1, "dropped": 1}
    assert said["delivery"] == {"live": 7, "late": 3, "no_subscriber": 2, "refused": 1, "connects": 4}


def test_it_comes_after_connecting_and_then_once_a_minute() -> None:
    rig = Rig()
    counts = []
    for _ in range(200):
        rig.clock.advance(1)
        counts.append(len(rig.due()))
    assert [second for second, count in enumerate(counts, 1) if count] == [2, 62, 122, 182]


def test_a_report_waits_for_room() -> None:
    rig = Rig()
    rig.clock.advance(3)
    assert list(rig.report.due(0, rig.clock.now())) == []
    assert len(rig.due()) == 1


def test_a_silent_vision_service_has_no_figures() -> None:
    rig = Rig()
    rig.look()
    rig.clock.advance(20)
    (health,) = rig.due()
    assert health.vision is None


def test_an_outbox_that_cannot_be_read_is_null_and_stops_no_report() -> None:
    rig = Rig(outbox=Torn())
    rig.clock.advance(3)
    (health,) = rig.due()
    assert (health.outbox.depth, health.outbox.dropped) == (None, None)


def test_a_full_medium_and_a_weak_supply_are_alerts_until_they_end() -> None:
    rig = Rig(replace(SIGNS, disk_free_mb=400, disk_share_free=0.04, undervoltage=True))
    rig.clock.advance(3)
    rig.due()
    assert [trouble.code for trouble in rig.troubles.standing()] == ["disk_low", "undervoltage"]
    rig.vitals.signs = replace(SIGNS, disk_free_mb=99)
    rig.clock.advance(61)
    rig.due()
    assert [trouble.code for trouble in rig.troubles.standing()] == ["disk_low"]
    rig.vitals.signs = replace(SIGNS, disk_free_mb=None, disk_share_free=None, undervoltage=None)
    rig.clock.advance(61)
    rig.due()
    assert rig.troubles.standing() == []


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_sensors_of_a_raspberry_pi_with_a_pcie_edge_tpu(tmp_path: Path) -> None:
    put(tmp_path / "sys/class/thermal/thermal_zone0/type", "gpu-thermal\n")
    put(tmp_path / "sys/class/thermal/thermal_zone0/temp", "99000\n")
    put(tmp_path / "sys/class/thermal/thermal_zone1/type", "cpu-thermal\n")
    put(tmp_path / "sys/class/thermal/thermal_zone1/temp", "48312\n")
    put(tmp_path / "sys/class/apex/apex_0/temp", "61050\n")
    put(tmp_path / "sys/class/apex/apex_0/trip_point0_temp", "84800\n")
    put(tmp_path / "sys/class/hwmon/hwmon0/name", "cpu_thermal\n")
    put(tmp_path / "sys/class/hwmon/hwmon1/name", "rpi_volt\n")
    put(tmp_path / "sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n")
    put(tmp_path / "proc/self/statm", "20000 7812 3000 1 0 4000 0\n")
    signs = LinuxVitals(tmp_path, tmp_path).read()
    assert (signs.cpu_c, signs.tpu_c, signs.tpu_slows_at_c) == (Reading(48.312), Reading(61.05), 84.8)
    assert signs.undervoltage is True
    assert signs.memory_mb == pytest.approx(7812 * 4096 / 1e6, abs=0.05)
    assert signs.disk_free_mb is not None
    assert signs.disk_share_free is not None
    assert 0 <= signs.disk_share_free <= 1


def test_an_edge_tpu_is_hot_from_its_drivers_limit_on_and_until_it_is_clearly_cooler() -> None:
    rig = Rig()
    alerts = []
    for tpu_c in (84.7, 84.8, 80.0, 79.7, 82.0, 91.0, None):
        rig.vitals.signs = replace(SIGNS, tpu_c=Reading(tpu_c), tpu_slows_at_c=84.8)
        rig.report.report(rig.clock.now())
        alerts.append([trouble.code for trouble in rig.troubles.standing()])
    assert alerts == [[], ["tpu_hot"], ["tpu_hot"], [], [], ["tpu_hot"], []]


def test_without_a_limit_nothing_is_called_hot() -> None:
    rig = Rig(replace(SIGNS, tpu_c=Reading(99.0)))
    rig.report.report(rig.clock.now())
    assert rig.troubles.standing() == []


def test_the_coral_stick_has_no_sensor_and_says_so(tmp_path: Path) -> None:
    put(tmp_path / "sys/bus/usb/devices/2-1/idVendor", "18d1\n")
    put(tmp_path / "sys/bus/usb/devices/2-1/idProduct", "9302\n")
    signs = LinuxVitals(tmp_path, tmp_path).read()
    assert signs.tpu_c == Reading(None, "a USB Edge TPU has no sensor")
    assert signs.cpu_c.value is None
    assert signs.cpu_c.reason


@pytest.mark.parametrize("text", ["", "warm", "\xff\xfe", "9" * 5000])
def test_a_sensor_that_talks_nonsense_has_no_value(tmp_path: Path, text: str) -> None:
    put(tmp_path / "sys/class/thermal/thermal_zone0/type", "cpu-thermal")
    put(tmp_path / "sys/class/thermal/thermal_zone0/temp", text)
    reading = LinuxVitals(tmp_path, tmp_path).read().cpu_c
    assert reading.value is None or len(text) == 5000


def test_a_folder_that_is_gone_has_no_free_space_to_tell(tmp_path: Path) -> None:
    signs = LinuxVitals(tmp_path / "nowhere", tmp_path).read()
    assert (signs.disk_free_mb, signs.disk_share_free, signs.undervoltage, signs.memory_mb) == (
        None,
        None,
        None,
        None,
    )


def test_inference_times_are_of_the_last_so_many() -> None:
    timed = TimedInterpreter(cast("Interpreter", None))
    assert timed.percentiles_ms() is None
    timed.took_s.extend([9.0] * KEPT)
    timed.took_s.extend(number / 1000 for number in range(KEPT))  # 0 to 255 ms
    assert timed.percentiles_ms() == (128.0, 243.0)
