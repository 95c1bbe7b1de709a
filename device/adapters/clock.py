# SPDX-License-Identifier: Apache-2.0
"""Where time comes from: the kernel's clocks, or a test's hand.

`boot_ns` is CLOCK_BOOTTIME: it counts through suspend and never jumps. Whether UTC can be believed is asked of the
kernel the way systemd asks it: an error bound of 16 s or more means that nobody has disciplined the clock. The
STA_UNSYNC flag is not used: systemd sets it on purpose where the hardware clock keeps local time
(systemd `src/basic/time-util.c`, `ntp_synced`).
"""

from __future__ import annotations

import ctypes
import time
from pathlib import Path

from device.errors import InputError
from device.records import Stamp

BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")
MAX_ERROR_US = 16_000_000
NS_PER_S = 1_000_000_000


class _Timex(ctypes.Structure):
    """The head of the kernel's `struct timex` (adjtimex(2)); the rest is room for what we do not read."""

    _fields_ = (
        ("modes", ctypes.c_int),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("rest", ctypes.c_byte * 512),
    )


class SystemClock:
    """The clocks of this machine."""

    def __init__(self, boot_id_file: Path = BOOT_ID_FILE) -> None:
        try:
            self._boot_id = boot_id_file.read_text("ascii").strip().replace("-", "")[:8].lower()
            int(self._boot_id, 16)
        except (OSError, ValueError) as error:
            raise InputError(
                f"{boot_id_file}: no boot identifier ({error})",
                hint="Porter needs Linux with /proc mounted (systemd: not `ProcSubset=pid`)",
            ) from error
        self._adjtimex = ctypes.CDLL(None).adjtimex

    @property
    def boot_id(self) -> str:
        """The first 8 hexadecimal digits of the kernel's boot identifier."""
        return self._boot_id

    def now(self) -> Stamp:
        """This moment."""
        return Stamp(time.clock_gettime_ns(time.CLOCK_BOOTTIME), time.time_ns(), self._synced())

    def _synced(self) -> bool:
        timex = _Timex()  # modes 0: only reads, which needs no privilege
        return bool(self._adjtimex(ctypes.byref(timex)) >= 0 and timex.maxerror < MAX_ERROR_US)


class ManualClock:
    """A clock that only moves when it is told to. Starts at 2026-11-23T04:20:00Z, one hour after boot."""

    def __init__(
        self,
        *,
        boot_id: str = "b0070001",
        boot_ns: int = 3600 * NS_PER_S,
        utc_ns: int = 1_795_407_600 * NS_PER_S,
        synced: bool = True,
    ) -> None:
        self.boot_id = boot_id
        self._boot_ns = boot_ns
        self._utc_ns = utc_ns
        self.synced = synced

    def now(self) -> Stamp:
        """The moment it was set to."""
        return Stamp(self._boot_ns, self._utc_ns, self.synced)

    def advance(self, seconds: float) -> None:
        """Time passes, on both clocks."""
        ns = round(seconds * NS_PER_S)
        self._boot_ns += ns
        self._utc_ns += ns

    def jump_utc(self, seconds: float) -> None:
        """UTC is corrected; boot time knows nothing of it."""
        self._utc_ns += round(seconds * NS_PER_S)

    def reboot(self, boot_id: str, *, down_s: float = 30.0) -> None:
        """The machine was off for a while; boot time begins again."""
        self.boot_id = boot_id
        self._boot_ns = 0
        self._utc_ns += round(down_s * NS_PER_S)
