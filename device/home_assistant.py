# SPDX-License-Identifier: Apache-2.0
"""Home Assistant finds this device by one retained message: device discovery (its docs: MQTT, "Device discovery").

The entities stand on the contract's topics alone; nothing is published for Home Assistant besides. What may surprise:

- The event entity listens to `match`, where nothing old ever comes. Its types are the phases, `start` and `end`.
- Health sensors expire: their topic is not retained, and a figure that nobody renews must not stay on a dashboard.
- When Home Assistant starts it says so on `{prefix}/status`; everybody answers within 5 s, not all at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from device.announcements import JSON
from device.health import EXPIRY_S
from device.mqtt_messages import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from device.announcements import Names
    from device.mqtt_messages import Received
    from device.records import Stamp

NS = 1_000_000_000
JITTER_S = 5.0
BIRTH = b"online"
# The body as it is, with the phase as Home Assistant's event type.
EVENT_TEMPLATE = "{{ dict(value_json, event_type=value_json.phase) | to_json }}"
P95_TEMPLATE = (
    "{{ (value_json.vision.inference | selectattr('task', 'eq', '%s') | map(attribute='p95_ms') | first"
    " | default(none)) if value_json.vision else none }}"
)
# key: name, template, unit, device class
FIGURES = {
    "fps": ("Frame rate", "{{ value_json.vision.fps if value_json.vision else none }}", "fps", None),
    "detector_p95": ("Detector time (p95)", P95_TEMPLATE % "detector", "ms", "duration"),
    "embedder_p95": ("Embedder time (p95)", P95_TEMPLATE % "embedder", "ms", "duration"),
    "cpu_temperature": ("CPU temperature", "{{ value_json.temperatures_c.cpu.value }}", "°C", "temperature"),
    "tpu_temperature": (
        "Edge TPU temperature",
        "{{ value_json.temperatures_c.tpu.value }}",
        "°C",
        "temperature",
    ),
    "disk_free": ("Free disk space", "{{ value_json.disk_free_mb }}", "MB", "data_size"),
    "outbox_depth": ("Events waiting", "{{ value_json.outbox.depth }}", None, None),
    "outbox_dropped": ("Events dropped", "{{ value_json.outbox.dropped }}", None, None),
}


class HomeAssistant:
    """The correspondent that makes this device known. uniform: dice for the jitter, seconds."""

    def __init__(
        self, names: Names, *, prefix: str, commands: bool, uniform: Callable[[float, float], float]
    ) -> None:
        self._birth_topic = f"{prefix}/status"
        self._topic = f"{prefix}/device/{names.device}/config"
        self._payload = msgspec.json.encode(discovery(names, commands=commands))
        self._uniform = uniform
        self._due_ns: int | None = None

    @property
    def filters(self) -> Sequence[str]:
        """Where Home Assistant says that it has started."""
        return (self._birth_topic,)

    def connected(self, now: Stamp) -> None:
        """Known at once on every connection."""
        self._due_ns = now.boot_ns

    def received(self, message: Received, now: Stamp) -> None:
        """Its birth message, be it retained or not."""
        if message.topic == self._birth_topic and message.payload == BIRTH:
            self._due_ns = now.boot_ns + round(self._uniform(0.0, JITTER_S) * NS)

    def due(self, limit: int, now: Stamp) -> Sequence[Message]:
        """The discovery message, when it is time."""
        if limit < 1 or self._due_ns is None or now.boot_ns < self._due_ns:
            return ()
        self._due_ns = None
        return (Message(self._topic, self._payload, retain=True, content_type=JSON),)


def discovery(names: Names, *, commands: bool) -> dict[str, Any]:
    """The body, with the abbreviations that Home Assistant knows: it is retained for each of many devices."""
    ident = f"porter_{names.device}"
    there = {"avty_t": names.topic("status")}
    components: dict[str, dict[str, Any]] = {
        "online": {
            "p": "binary_sensor",
            "name": "Connection",
            "dev_cla": "connectivity",
            "ent_cat": "diagnostic",
            "stat_t": names.topic("status"),
            "pl_on": "online",
            "pl_off": "offline",
        }
    }
    for camera in names.cameras:
        components[f"{camera}_match"] = there | {
            "p": "event",
            "name": "Match" if len(names.cameras) == 1 else f"Match {camera}",
            "stat_t": names.topic(camera, "match"),
            "evt_typ": ["start", "end"],
            "val_tpl": EVENT_TEMPLATE,
        }
    for key, (name, template, unit, device_class) in FIGURES.items():
        components[key] = (
            there | _figure(name, template, unit, device_class) | {"stat_t": names.topic("health")}
        )
    components |= (
        _controls(names, there) if commands else {"pause": {"p": "switch"}, "identify": {"p": "button"}}
    )
    for key, component in components.items():
        if len(component) > 1:  # one of nothing but its platform takes the entity away
            component["uniq_id"] = f"{ident}_{key}"
    return {
        "dev": {
            "ids": [ident],
            "name": f"Porter {names.device}",
            "mf": "Porter",
            "mdl": "Door camera",
            "sw": names.firmware,
        },
        "o": {"name": "Porter", "sw": names.firmware},
        "qos": 1,
        "cmps": components,
    }


def _figure(name: str, template: str, unit: str | None, device_class: str | None) -> dict[str, Any]:
    figure: dict[str, Any] = {
        "p": "sensor",
        "name": name,
        "val_tpl": template,
        "stat_cla": "measurement",
        "ent_cat": "diagnostic",
        "exp_aft": EXPIRY_S,
    }
    if unit is not None:
        figure["unit_of_meas"] = unit
    if device_class is not None:
        figure["dev_cla"] = device_class
    return figure


def _controls(names: Names, there: dict[str, str]) -> dict[str, dict[str, Any]]:
    return {
        "pause": there
        | {
            "p": "switch",
            "name": "Pause",
            "ic": "mdi:eye-off",
            "cmd_t": names.topic("cmd", "pause"),
            "pl_on": '{"on":true}',
            "pl_off": '{"on":false}',
            "stat_t": names.topic("info"),
            "val_tpl": "{{ 'ON' if value_json.paused else 'OFF' }}",
            "stat_on": "ON",
            "stat_off": "OFF",
        },
        "identify": there
        | {
            "p": "button",
            "name": "Identify",
            "dev_cla": "identify",
            "ent_cat": "diagnostic",
            "cmd_t": names.topic("cmd", "identify"),
            "pl_prs": "{}",
        },
    }
