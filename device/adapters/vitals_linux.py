# SPDX-License-Identifier: Apache-2.0
"""The board's sensors, as the kernel shows them in /sys, and the folder's file system. Nothing here wakes hardware.

- CPU: the thermal zone of a processor's type (`cpu-thermal` on a Raspberry Pi, `x86_pkg_temp`).
- Edge TPU: only the PCIe one has a sensor (apex: `temp`, millidegrees, and `trip_point0_temp`, from where on its driver
  halves the clock); the USB stick has none.
- Undervoltage: the Raspberry Pi's firmware driver (`rpi_volt`, hwmon: `in0_lcrit_alarm`).

Never run on a Raspberry Pi: tested on files of the same form.
"""

from __future__ import annotations

import os
from pathlib import Path

from device.payloads import Reading
from device.ports import VitalSigns

CPU_ZONES = ("cpu-thermal", "cpu_thermal", "soc_thermal", "x86_pkg_temp")
CORAL_USB = (("1a6e", "089a"), ("18d1", "9302"))  # before and after its firmware is loaded
MAX_BYTES = 64


class LinuxVitals:
    """Reads below `root` (/ on a device). folder: whose file system counts."""

    def __init__(self, folder: Path, root: Path = Path("/")) -> None:
        self._folder = folder
        self._sys = root / "sys"
        self._statm = root / "proc/self/statm"

    def read(self) -> VitalSigns:
        """All sensors now."""
        free, share = self._disk()
        tpu_c, slows_at_c = self._tpu()
        return VitalSigns(self._cpu(), tpu_c, self._undervoltage(), free, share, self._memory(), slows_at_c)

    def _cpu(self) -> Reading:
        for zone in sorted(self._sys.glob("class/thermal/thermal_zone*")):
            if word(zone / "type") in CPU_ZONES:
                return millidegrees(zone / "temp")
        return Reading(None, "this board has no CPU sensor that is known")

    def _tpu(self) -> tuple[Reading, float | None]:
        for sensor in sorted(self._sys.glob("class/apex/apex_*/temp")):
            return millidegrees(sensor), millidegrees(sensor.with_name("trip_point0_temp")).value
        for device in sorted(self._sys.glob("bus/usb/devices/*")):
            if (word(device / "idVendor"), word(device / "idProduct")) in CORAL_USB:
                return Reading(None, "a USB Edge TPU has no sensor"), None
        return Reading(None, "no Edge TPU"), None

    def _undervoltage(self) -> bool | None:
        for monitor in sorted(self._sys.glob("class/hwmon/hwmon*")):
            if word(monitor / "name") == "rpi_volt":
                alarm = word(monitor / "in0_lcrit_alarm")
                return alarm == "1" if alarm in ("0", "1") else None
        return None

    def _disk(self) -> tuple[int | None, float | None]:
        try:
            found = os.statvfs(self._folder)
        except OSError:
            return None, None
        share = found.f_bavail / found.f_blocks if found.f_blocks else None
        return found.f_bavail * found.f_frsize // 1_000_000, share

    def _memory(self) -> float | None:
        fields = (word(self._statm) or "").split()
        if len(fields) < 2 or not fields[1].isdigit():
            return None
        return round(int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def word(path: Path) -> str | None:
    """The text of a small file, stripped; None where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES).decode("ascii", "replace").strip()
    except OSError:
        return None


def millidegrees(path: Path) -> Reading:
    """A sensor that counts in thousandths of a degree."""
    text = word(path)
    try:
        return Reading(int(text or "") / 1000)
    except ValueError:
        return Reading(None, "the sensor cannot be read")


class FixedVitals:
    """Sensors for tests and simulations: they say what they were told."""

    def __init__(self, signs: VitalSigns) -> None:
        self.signs = signs

    def read(self) -> VitalSigns:
        """The same again."""
        return self.signs
