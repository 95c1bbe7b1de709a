# SPDX-License-Identifier: Apache-2.0
"""What leaves the device: the bodies of Porter's MQTT messages, contract v1 (docs/protocol.md).

Declared once; `config/schemas/*.json` are generated from these types. There is no field for an image, a box, an
embedding or a stranger, and unknown fields are refused on reading, so none can be smuggled through the outbox.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

CONTRACT_VERSION = 1

Ref = Annotated[
    str, Meta(pattern=r"^p_[0-9a-f]{4,32}$", description="Opaque name of a subject on this device only")
]
Time = Annotated[str, Meta(description="UTC, RFC 3339 with milliseconds and Z")]
ClockState = Literal["synced", "unsynced"]
Light = Literal["", "day", "night"]


class Payload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base: immutable, and unknown fields are an error."""


class Person(Payload, frozen=True):
    """Whom an event is about. `label` is there only where `events.publish_labels` says so."""

    ref: Ref
    label: str | UnsetType = UNSET


class Liveness(Payload, frozen=True):
    """Presentation attack detection: which method ran, and what it said. None runs: a photo may pass."""

    method: str = "none"
    result: float | None = None


class ConsentInfo(Payload, frozen=True):
    """The consent record the match rests on, and the day it ends."""

    id: str
    expires: Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}$")]


class ModelHashes(Payload, frozen=True):
    """SHA-256 of the two model files, as `sha256:<hex>`."""

    detector: str
    embedder: str


class Event(Payload, frozen=True):
    """Body of `match` and `match/late`.

    `seq` is 0 until the outbox assigns it (per boot, without gaps); `delivery` is set at the moment of publishing.
    `visit` is the `id` of the visit's start event, so that an end can be joined to its start.
    """

    v: Literal[1]
    event_type: Literal["match"]
    phase: Literal["start", "end"]
    id: Annotated[str, Meta(description="UUIDv7: drop repeats by it; QoS 1 delivers at least once")]
    visit: Annotated[str, Meta(description="id of this visit's start event")]
    boot: str
    seq: Annotated[int, Meta(ge=0)]
    device: str
    camera: str
    ts: Time
    mono_ms: Annotated[int, Meta(ge=0, description="Milliseconds since boot, at capture")]
    clock: ClockState
    valid_until: Time
    delivery: Literal["live", "late"]
    person: Person
    score: Annotated[float, Meta(ge=-1, le=1, description="Cosine, fused over `frames` samples")]
    threshold: float
    margin: Annotated[
        float, Meta(description="Score minus the second subject's; minus -1 where there is no second")
    ]
    frames: Annotated[int, Meta(ge=0)]
    quality: Annotated[float, Meta(ge=0, le=1)]
    fmr_at_threshold: float | None
    liveness: Liveness
    consent: ConsentInfo
    model: ModelHashes


class Present(Payload, frozen=True):
    """One subject at the door now, since when."""

    person: Person
    since: Time


class Presence(Payload, frozen=True):
    """Body of `presence`, retained: who is at the door now; `present` is empty at start and stop."""

    v: Literal[1]
    device: str
    camera: str
    ts: Time
    present: list[Present]


class ModelInfo(Payload, frozen=True):
    """One loaded model: manifest name, variant, file hash and the delegate that really runs it."""

    name: str
    task: Literal["detector", "embedder"]
    variant: str
    sha256: str
    delegate: Literal["edgetpu", "cpu"]


class CameraInfo(Payload, frozen=True):
    """One camera: its name in topics and its kind. `simulated` is true where frames come from files."""

    name: str
    source: str
    simulated: bool


class VisionInfo(Payload, frozen=True):
    """What the vision service tells the forwarder about itself; part of `info`."""

    cameras: list[CameraInfo]
    models: list[ModelInfo]
    subjects: Annotated[int, Meta(ge=0, le=500)]


class Info(Payload, frozen=True):
    """Body of `info`, retained."""

    v: Literal[1]
    device: str
    firmware: str
    contract: int
    boot: str
    ts: Time
    cameras: list[CameraInfo]
    models: list[ModelInfo]
    subjects: int
    paused: bool = False


class Alert(Payload, frozen=True):
    """Body of `alert/{code}`, retained; an empty payload clears it. `text` never names a person."""

    v: Literal[1]
    device: str
    code: str
    ts: Time
    text: str
    hint: str


class Trouble(Payload, frozen=True):
    """One standing alert of a service, before it becomes an `Alert` of this device."""

    code: str
    text: str
    hint: str
    since: Time


class Command(Payload, frozen=True):
    """Body of `cmd/{verb}`; an empty payload is a command without any of it.

    `on` belongs to `pause` alone: false resumes, so that one topic is enough for a switch.
    """

    corr: Annotated[
        str,
        Meta(max_length=128, description="Comes back in the result, where MQTT 5's correlation data cannot"),
    ] = ""
    valid_until: Annotated[str, Meta(max_length=40, description="UTC, RFC 3339: refused after it")] = ""
    on: bool = True


class CommandResult(Payload, frozen=True):
    """Body of `cmd/{verb}/result`. `error` is empty where `ok`; `text` says more, for people."""

    v: Literal[1]
    device: str
    verb: str
    corr: str
    ok: bool
    error: Literal["", "retained", "expired", "malformed", "too_large", "unknown", "unavailable", "no_answer"]
    text: str
    ts: Time


class InferenceTimes(Payload, frozen=True):
    """How long the last inferences of one model took."""

    task: Literal["detector", "embedder"]
    p50_ms: Annotated[float, Meta(ge=0)]
    p95_ms: Annotated[float, Meta(ge=0)]


class VisionFigures(Payload, frozen=True):
    """What the vision service measures of itself, for `health`. fps: frames processed a second.

    light: for what light the camera is set; empty where it does not say.
    """

    fps: Annotated[float, Meta(ge=0)]
    frames: Annotated[int, Meta(ge=0)]
    inference: list[InferenceTimes]
    light: Light = ""


class Reading(Payload, frozen=True):
    """A sensor's value, or null and why there is none."""

    value: float | None
    reason: str = ""


class Temperatures(Payload, frozen=True):
    """Degrees Celsius."""

    cpu: Reading
    tpu: Reading


class OutboxFigures(Payload, frozen=True):
    """What waits, and what was given up; null where the outbox cannot be read."""

    depth: int | None
    dropped: int | None


class DeliveryFigures(Payload, frozen=True):
    """Publications since the forwarder began: acknowledged live or late, of these without a subscriber, refused."""

    live: int
    late: int
    no_subscriber: int
    refused: int
    connects: int


class Health(Payload, frozen=True):
    """Body of `health`, every minute, not retained. vision: null while the vision service says nothing."""

    v: Literal[1]
    device: str
    boot: str
    ts: Time
    uptime_s: Annotated[float, Meta(ge=0, description="Since boot")]
    vision: VisionFigures | None
    temperatures_c: Temperatures
    undervoltage: bool | None
    disk_free_mb: int | None
    memory_mb: float | None
    outbox: OutboxFigures
    delivery: DeliveryFigures


class Wish(Payload, frozen=True):
    """What the forwarder hands on from the broker to the vision service: all that a command can reach there.

    `number` counts up within a boot; the vision service answers with it on the state board.
    """

    number: Annotated[int, Meta(ge=1)]
    verb: Literal["pause", "resume", "restart"]


class ForwarderState(Payload, frozen=True):
    """What the forwarder says of itself to `porter status` (`/run/porter/forward/state.json`), which shows it as it is.

    `boot_ns` (CLOCK_BOOTTIME) is refreshed every few seconds: an older one means that the forwarder is gone.
    `firmware` is the version that runs; empty from before there was one.
    """

    boot_ns: int
    broker: str
    connection: str
    troubles: list[Trouble]
    firmware: str = ""


class ServiceState(Payload, frozen=True):
    """What the vision service shows the forwarder through the state board (`/run/porter/shared/state.json`).

    Kept on tmpfs: presence and alerts are states, not events, so nothing of them needs to survive a power cut, and
    the SD card is not worn. `boot_ns` (CLOCK_BOOTTIME) is refreshed every few seconds: an older one means that the
    vision service is gone, and the forwarder then publishes an empty presence.
    """

    boot_ns: int
    stopping: bool
    info: VisionInfo
    presence: list[Presence]
    troubles: list[Trouble]
    paused: bool = False
    wish: int = 0  # the number of the last one that was granted
    figures: VisionFigures | None = None


def rfc3339(utc_ns: int) -> str:
    """UTC with milliseconds and Z; what lies outside the years 1 to 9999 is held at their ends."""
    seconds, rest = divmod(utc_ns, 1_000_000_000)
    seconds = min(max(seconds, -62_135_596_800), 253_402_300_799)
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest // 1_000_000:03d}Z".rjust(24, "0")


def utc_ns_of(text: str) -> int:
    """What `rfc3339` wrote, as nanoseconds since 1970, to the millisecond. Raises ValueError."""
    return round(datetime.fromisoformat(text).timestamp() * 1000) * 1_000_000


def without_label(event: Event) -> Event:
    """The event about the opaque ref alone."""
    return msgspec.structs.replace(event, person=Person(event.person.ref))
