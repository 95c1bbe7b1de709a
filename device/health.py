# SPDX-License-Identifier: Apache-2.0
"""`health`: once a minute, how the device is doing. Figures only: nothing of anybody who came by.

It is not retained, and expires: a figure that nobody renews is no figure (Home Assistant's docs ask for that, too).
The alerts `disk_low`, `undervoltage` and `tpu_hot` come from the same readings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from device.announcements import JSON, vision_is_silent
from device.errors import StorageError
from device.mqtt_messages import Message
from device.payloads import DeliveryFigures, Health, OutboxFigures, Temperatures, rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from device.announcements import Names
    from device.delivery import Counters
    from device.mqtt_messages import Received
    from device.ports import Outbox, StateBoard, Vitals, VitalSigns
    from device.records import Stamp
    from device.troubles import Troubles

NS = 1_000_000_000
PERIOD_NS = 60 * NS
FIRST_NS = 2 * NS
EXPIRY_S = 180
LOW_SHARE = 0.05
LOW_MB = 100
COOLER_C = 5.0  # so far below its limit the Edge TPU counts as cool again


class HealthReport:
    """The correspondent that reports. counters, connects: of the forwarder, asked at each report."""

    filters: Sequence[str] = ()

    def __init__(
        self,
        names: Names,
        *,
        board: StateBoard,
        outbox: Outbox,
        vitals: Vitals,
        troubles: Troubles,
        counters: Callable[[], Counters],
        connects: Callable[[], int],
    ) -> None:
        self._names = names
        self._board = board
        self._outbox = outbox
        self._vitals = vitals
        self._troubles = troubles
        self._counters = counters
        self._connects = connects
        self._due_ns = 0

    def connected(self, now: Stamp) -> None:
        """The first report comes at once, but after what is retained."""
        self._due_ns = now.boot_ns + FIRST_NS

    def received(self, message: Received, now: Stamp) -> None:
        """Hears nothing."""

    def due(self, limit: int, now: Stamp) -> Sequence[Message]:
        """A report, once a minute."""
        if now.boot_ns < self._due_ns or limit < 1:
            return ()
        self._due_ns = now.boot_ns + PERIOD_NS
        body = msgspec.json.encode(self.report(now))
        return (Message(self._names.topic("health"), body, qos=0, expiry_s=EXPIRY_S, content_type=JSON),)

    def report(self, now: Stamp) -> Health:
        """How the device is now."""
        signs, state, counters = self._vitals.read(), self._board.read(), self._counters()
        self._look_at(signs)
        try:
            waiting = OutboxFigures(self._outbox.depth(), self._outbox.dropped())
        except StorageError:  # the alert outbox_failed says it
            waiting = OutboxFigures(None, None)
        return Health(
            v=1,
            device=self._names.device,
            boot=self._names.boot,
            ts=rfc3339(now.utc_ns),
            uptime_s=round(now.boot_ns / NS, 1),
            vision=None if state is None or vision_is_silent(state, now) else state.figures,
            temperatures_c=Temperatures(signs.cpu_c, signs.tpu_c),
            undervoltage=signs.undervoltage,
            disk_free_mb=signs.disk_free_mb,
            memory_mb=signs.memory_mb,
            outbox=waiting,
            delivery=DeliveryFigures(
                counters.live, counters.late, counters.no_subscriber, counters.refused, self._connects()
            ),
        )

    def _look_at(self, signs: VitalSigns) -> None:
        share, free_mb = signs.disk_share_free, signs.disk_free_mb
        if share is not None and free_mb is not None and (share < LOW_SHARE or free_mb < LOW_MB):
            self._troubles.raise_(
                "disk_low",
                f"less than {LOW_SHARE:.0%} or {LOW_MB} MB of the storage medium is free",
                "look what fills it: du -xh /var /data | sort -h | tail; events are lost once it is full",
            )
        else:
            self._troubles.clear("disk_low")
        self._look_at_tpu(signs.tpu_c.value, signs.tpu_slows_at_c)
        if signs.undervoltage:
            self._troubles.raise_(
                "undervoltage",
                "the board's supply voltage was too low",
                "use the power supply that the board asks for",
            )
        else:
            self._troubles.clear("undervoltage")

    def _look_at_tpu(self, tpu_c: float | None, slows_at_c: float | None) -> None:
        if tpu_c is None or slows_at_c is None or tpu_c < slows_at_c - COOLER_C:
            self._troubles.clear("tpu_hot")
        elif tpu_c >= slows_at_c:
            self._troubles.raise_(
                "tpu_hot",
                f"the Edge TPU is hotter than {slows_at_c:.0f} degrees Celsius: its driver slows it down",
                "out of the sun, air around it, a heat sink",
            )
