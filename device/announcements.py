# SPDX-License-Identifier: Apache-2.0
"""What this device shows as retained state: status, info, presence, alerts (contract v1). Pure: state in, messages out.

Presence is stamped with the moment of sending, so that a subscriber on MQTT 3.1.1, where nothing expires, can see how
old it is. A vision service that is gone, or says nothing for too long, shows nobody.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from device.mqtt_messages import Message
from device.payloads import CONTRACT_VERSION, Alert, Info, Presence, Trouble, rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from device.payloads import ServiceState
    from device.records import Stamp

JSON = "application/json"
PRESENCE_EXPIRY_S = 180
PRESENCE_REPEAT_S = 60
SILENT_AFTER_NS = 15_000_000_000
# Codes that an earlier run may have left at the broker: cleared at the first connection unless they stand.
KNOWN_ALERTS = (
    "broker_lost", "camera_limited", "camera_lost", "certificate_expiring", "clock_leapt", "clock_unsynced",
    "config_rejected", "consent_expiring", "delivery_refused", "disk_low", "gallery_corrupt", "gallery_failed",
    "gallery_restored", "key_unsealed", "lookalikes", "outbox_corrupt", "outbox_failed", "outbox_full",
    "tpu_hot", "tpu_lost", "tpu_slow", "undervoltage", "update_failed", "vision_lost",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Names:
    """What topics and bodies call this device. cameras: as in the configuration."""

    base: str
    device: str
    cameras: tuple[str, ...]
    firmware: str
    boot: str

    def topic(self, *levels: str) -> str:
        """`{base}/v1/{device}/...`; what may not stand in a level becomes `_`, so that no name can break out."""
        safe = (re.sub(r"[+#/\x00]", "_", level) for level in levels)
        return "/".join((self.base, "v1", self.device, *safe))


@dataclass(frozen=True, slots=True)
class Announcement:
    """A retained message, and the content by which it is known to be shown already. repeat_s 0: never repeated."""

    message: Message
    content: object
    repeat_s: int = 0


def vision_is_silent(state: ServiceState | None, now: Stamp) -> bool:
    """Whether nobody can say now who is at the door. A state from another boot lies in the future or far back."""
    return state is None or state.stopping or not 0 <= now.boot_ns - state.boot_ns <= SILENT_AFTER_NS


def status(names: Names, word: str) -> Message:
    """`online` or `offline`; the latter is the will, too."""
    return Message(names.topic("status"), word.encode(), retain=True, content_type="text/plain")


def nobody(names: Names, now: Stamp) -> list[Announcement]:
    """Empty presence for every camera."""
    return [_presence(names, camera, None, now) for camera in names.cameras]


def announcements(
    names: Names, state: ServiceState | None, troubles: Sequence[Trouble], codes: set[str], now: Stamp
) -> Iterator[Announcement]:
    """All that should be shown now, in the order in which it is sent after connecting.

    troubles: the forwarder's own. codes: alerts that may be retained at the broker; those that do not stand are
    cleared, those that stand are added.
    """
    yield Announcement(status(names, "online"), "online")
    silent = vision_is_silent(state, now)
    if state is not None and not silent:
        yield _info(names, state, now)
    for camera in names.cameras:
        yield _presence(names, camera, None if silent else state, now)
    standing = {trouble.code: trouble for trouble in (state.troubles if state and not silent else [])}
    standing |= {trouble.code: trouble for trouble in troubles}
    codes.update(code for code in standing if re.fullmatch(r"[a-z0-9_]{1,40}", code))
    for code in sorted(codes):
        yield _alert(names, code, standing.get(code))


def _info(names: Names, state: ServiceState, now: Stamp) -> Announcement:
    body = Info(
        v=1,
        device=names.device,
        firmware=names.firmware,
        contract=CONTRACT_VERSION,
        boot=names.boot,
        ts=rfc3339(now.utc_ns),
        cameras=state.info.cameras,
        models=state.info.models,
        subjects=state.info.subjects,
        paused=state.paused,
    )
    message = Message(names.topic("info"), msgspec.json.encode(body), retain=True, content_type=JSON)
    return Announcement(message, (state.info, state.paused))


def _presence(names: Names, camera: str, state: ServiceState | None, now: Stamp) -> Announcement:
    shown = [presence.present for presence in (state.presence if state else []) if presence.camera == camera]
    present = shown[0] if shown else []
    body = Presence(v=1, device=names.device, camera=camera, ts=rfc3339(now.utc_ns), present=present)
    message = Message(
        names.topic(camera, "presence"),
        msgspec.json.encode(body),
        retain=True,
        expiry_s=PRESENCE_EXPIRY_S,
        content_type=JSON,
    )
    return Announcement(message, present, PRESENCE_REPEAT_S)


def _alert(names: Names, code: str, trouble: Trouble | None) -> Announcement:
    topic = names.topic("alert", code)
    if trouble is None:
        return Announcement(Message(topic, b"", retain=True), None)
    body = Alert(v=1, device=names.device, code=code, ts=trouble.since, text=trouble.text, hint=trouble.hint)
    return Announcement(Message(topic, msgspec.json.encode(body), retain=True, content_type=JSON), trouble)
