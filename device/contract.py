# SPDX-License-Identifier: Apache-2.0
"""The MQTT contract as a table: every topic, what it carries and how. `config/asyncapi.yaml` is made from it.

`judge` holds a message against it, for `porter listen` and for the tests: whatever they see must be in the table.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from device.payloads import Alert, Command, CommandResult, Event, Health, Info, Payload, Presence

ROOT = "{base}/v1/{device}"
LEVEL = r"[^/+#]+"
Maturity = Literal["stable", "experimental"]


@dataclass(frozen=True, slots=True)
class Channel:
    """One topic. body: None is text or nothing that Porter owns; expiry: what MQTT 5 says of it, in words."""

    name: str
    address: str
    summary: str
    body: type[Payload] | None
    qos: int
    retained: bool
    expiry: str = "none"
    to_device: bool = False
    may_be_empty: bool = False
    words: tuple[str, ...] = ()
    maturity: Maturity = "stable"


CHANNELS = (
    Channel(
        "status",
        f"{ROOT}/status",
        "Whether the device is connected; its will.",
        None,
        qos=1,
        retained=True,
        words=("online", "offline"),
    ),
    Channel(
        "info",
        f"{ROOT}/info",
        "What the device is and runs.",
        Info,
        qos=1,
        retained=True,
    ),
    Channel(
        "alert",
        f"{ROOT}/alert/{{code}}",
        "A standing alert; empty: it ended.",
        Alert,
        qos=1,
        retained=True,
        may_be_empty=True,
    ),
    Channel(
        "health",
        f"{ROOT}/health",
        "How the device is doing, every minute.",
        Health,
        qos=0,
        retained=False,
        expiry="180 s",
        maturity="experimental",
    ),
    Channel(
        "match",
        f"{ROOT}/{{camera}}/match",
        "The start or end of a visit, live only.",
        Event,
        qos=1,
        retained=False,
        expiry="when it stops being live",
    ),
    Channel(
        "matchLate",
        f"{ROOT}/{{camera}}/match/late",
        "The start or end of a visit that could not be delivered live.",
        Event,
        qos=1,
        retained=False,
        expiry="7 days",
    ),
    Channel(
        "presence",
        f"{ROOT}/{{camera}}/presence",
        "Who is at the door now.",
        Presence,
        qos=1,
        retained=True,
        expiry="180 s",
    ),
    Channel(
        "command",
        f"{ROOT}/cmd/{{verb}}",
        "A command; never retained.",
        Command,
        qos=1,
        retained=False,
        to_device=True,
        may_be_empty=True,
        maturity="experimental",
    ),
    Channel(
        "commandResult",
        f"{ROOT}/cmd/{{verb}}/result",
        "What became of a command.",
        CommandResult,
        qos=1,
        retained=False,
        maturity="experimental",
    ),
)


@dataclass(frozen=True, slots=True)
class Judged:
    """A message and what the contract says of it. body: None where it is text, empty or wrong; problems: one a line."""

    channel: Channel | None
    levels: dict[str, str]
    body: Payload | None
    problems: tuple[str, ...]


def judge(base: str, topic: str, payload: bytes, *, retained: bool) -> Judged:
    """Holds one message that arrived against the contract. retained: whether it was there before the subscription."""
    for channel in CHANNELS:
        found = pattern(base, channel.address).fullmatch(topic)
        if found is None:
            continue
        problems = []
        if retained and not channel.retained:
            problems.append("retained, which this topic never is")
        body, problem = _read(channel, payload)
        if problem:
            problems.append(problem)
        elif body is not None:
            problems += _contradictions(channel, found.groupdict(), body)
        return Judged(channel, found.groupdict(), body, tuple(problems))
    return Judged(None, {}, None, ("no topic of contract v1",))


def pattern(base: str, address: str) -> re.Pattern[str]:
    """The topics of an address, its parameters as groups."""
    text = re.escape(address).replace(re.escape("{base}"), re.escape(base))
    return re.compile(re.sub(r"\\{(\w+)\\}", rf"(?P<\1>{LEVEL})", text))


def _read(channel: Channel, payload: bytes) -> tuple[Payload | None, str]:
    if not payload and channel.may_be_empty:
        return None, ""
    if channel.body is None:
        known = payload.decode("utf-8", "replace") in channel.words
        return None, "" if known else f"expected {' or '.join(channel.words)}"
    try:
        return msgspec.json.decode(payload, type=channel.body), ""
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return None, f"not a body of {channel.name}: {error}"


def _contradictions(channel: Channel, levels: dict[str, str], body: Payload) -> list[str]:
    """What topic and body say differently."""
    said: dict[str, Any] = {name: getattr(body, name, level) for name, level in levels.items()}
    problems = [
        f"{name} is {said[name]!r} in the body and {level!r} in the topic"
        for name, level in levels.items()
        if said[name] != level
    ]
    if isinstance(body, Event):
        expected = "live" if channel.name == "match" else "late"
        if body.delivery != expected:
            problems.append(f"delivery is {body.delivery!r} on {channel.name}")
    return problems
