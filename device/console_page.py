# SPDX-License-Identifier: Apache-2.0
"""The page on the device's screen, as text: who this device is, where it is reached, whether it works, what is wrong.

For whoever stands before it with a screen and no computer. Nothing of it is about a person (device/screen_desk.py).
What comes from the network or another process is made harmless here: a console obeys escape sequences, and its font
has ASCII for certain.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from device.screen_desk import ScreenState

NAME_WIDTH = 11
LEAST_WIDTH, MOST_WIDTH = 40, 100
LEAST_HEIGHT = 10
VISION = {
    "looking": "looks",
    "paused": "paused: nobody is looked at",
    "stopped": "stopped",
    "silent": "says nothing",
}


@dataclass(frozen=True, slots=True)
class Service:
    """A unit as systemd sees it: `active`, `failed`, ..., and its own words on why."""

    state: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a page is made of; whatever could not be learnt is empty, and `screen` None.

    services: by their short names, `vision` and `forward`. when: the time as people here write it.
    """

    hostname: str
    version: str
    when: str
    synced: bool
    image: str = ""
    slot: str = ""
    addresses: Sequence[str] = ()
    services: Mapping[str, Service] = field(default_factory=dict)
    screen: ScreenState | None = None


def page(facts: Facts, width: int, height: int) -> str:
    """At most `height` lines of at most `width` signs; what does not fit is left out from the end, and said."""
    width, height = min(max(width, LEAST_WIDTH), MOST_WIDTH), max(height, LEAST_HEIGHT)
    lines = [*head(facts, width), "", *state(facts, width), "", *troubles(facts, width)]
    foot = ["", f"More: ssh admin@{facts.hostname}.local, then `porter doctor`"]
    if len(lines) + len(foot) > height:
        lines = [*lines[: height - len(foot) - 1], "..."]
    return "\n".join(harmless(line)[:width].rstrip() for line in (*lines, *foot)) + "\n"


def head(facts: Facts, width: int) -> list[str]:
    """Who, where and which."""
    device = facts.screen.device if facts.screen else facts.hostname
    clock = facts.when + (", set" if facts.synced else ", NOT set")
    slot = f", slot {facts.slot}" if facts.slot else ""
    image = f", image {facts.image}{slot}" if facts.image else ""
    addresses = ", ".join(facts.addresses) or "none: no network"
    return [
        *entry("PORTER", device, width),
        "",
        *entry("name", f"{facts.hostname}.local", width),
        *entry("address", addresses, width),
        *entry("version", f"{facts.version}{image}", width),
        *entry("clock", clock, width),
    ]


def state(facts: Facts, width: int) -> list[str]:
    """Both services, and what they do. A service that runs says so itself; of one that does not, systemd knows why."""
    screen = facts.screen
    vision = broker = ""
    subjects = "not known"
    if screen is not None:
        looks = f", {screen.camera}, {screen.fps:.1f} frames a second" if screen.vision == "looking" else ""
        vision, broker = VISION[screen.vision] + looks, f"{screen.broker}, {screen.connection}"
        if screen.vision in ("looking", "paused"):
            subjects = f"{screen.subjects} enrolled"
    return [
        *entry("camera", said(facts.services.get("vision"), vision), width),
        *entry("broker", said(facts.services.get("forward"), broker), width),
        *entry("subjects", subjects, width),
    ]


def said(service: Service | None, own: str) -> str:
    """systemd's word where a service does not run, else its own; the forwarder says both."""
    if service is not None and service.state != "active":
        return f"the service does not run ({service.state}): {service.text}".rstrip(": ")
    return own or ("not known: the service runs, and the forwarder says nothing" if service else "not known")


def troubles(facts: Facts, width: int) -> list[str]:
    """The standing alerts with their hints."""
    if facts.screen is None:
        return []
    standing = facts.screen.troubles
    if not standing:
        return ["no trouble"]
    lines = ["1 trouble" if len(standing) == 1 else f"{len(standing)} troubles"]
    for one in standing:
        lines += entry("  !", f"{one.code}: {one.text}, since {one.since}", width)
        lines += entry("", one.hint, width) if one.hint else []
    return lines


def entry(name: str, text: str, width: int) -> list[str]:
    """A name and its text, which goes on under itself."""
    indent = " " * NAME_WIDTH
    wrapped = textwrap.wrap(harmless(text), width, initial_indent=indent, subsequent_indent=indent)
    return [name.ljust(NAME_WIDTH) + wrapped[0][NAME_WIDTH:], *wrapped[1:]] if wrapped else [name]


def harmless(text: str) -> str:
    """Printable ASCII alone."""
    return "".join(sign if " " <= sign <= "~" else "?" for sign in text)
