# SPDX-License-Identifier: Apache-2.0
"""What the two services say of themselves: standing alerts, state, people; the forwarder by its record in `run_dir`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from device.checkup.finding import Finding
from device.checkup.runner import unreadable
from device.control import ServiceStatus, ServiceUnavailable, StatusRequest
from device.payloads import ForwarderState
from device.shared_record import SharedRecord
from device.status_desk import is_silent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from device.adapters.control_client import ControlClient
    from device.checkup.finding import Level
    from device.ports import Clock

ANSWER_S = 2.5  # between two frames; a reload takes longer, and is said to


def ask(client: ControlClient) -> ServiceStatus | ServiceUnavailable:
    """The vision service's answer, or why there is none."""
    try:
        return client.ask(StatusRequest(), ServiceStatus)
    except ServiceUnavailable as error:
        return error


def vision_findings(answer: ServiceStatus | ServiceUnavailable, *, needed: bool) -> Iterator[Finding]:
    """needed: whether a service must run here; who asks what N subjects would mean may be anywhere."""
    if not isinstance(answer, ServiceStatus):
        yield Finding("service", "wrong" if needed else "note", answer.message, answer.hint)
        return
    for trouble in answer.troubles:
        yield Finding("service", "wrong", f"{trouble.code}: {trouble.text}", trouble.hint)
    if answer.state == "paused":
        yield Finding("service", "note", "paused: nobody is looked at", "porter resume")
    elif not answer.troubles:
        yield Finding("service", "ok", f"the vision service is {answer.state} and has no standing alert")


def forwarder_findings(record: Path, clock: Clock) -> Iterator[Finding]:
    """What the forwarder says: the connection, and its alerts. record: its file; the group porter may not read it."""
    try:
        record.stat()
        with record.open("rb"):
            pass
    except PermissionError as error:
        yield unreadable("broker", error)
        return
    except OSError:
        hint = "systemctl status porter-forward"
        yield Finding("service", "wrong", "the forwarder does not run: events wait on the device", hint)
        return
    state = SharedRecord(record, ForwarderState).read()
    # The time is asked after the read: the record may have been renewed a moment ago.
    if state is None or is_silent(state, clock.now()):
        yield Finding("service", "wrong", "the forwarder is silent", "journalctl -u porter-forward")
        return
    for trouble in state.troubles:
        # Some of these words came over the network.
        yield Finding(
            "service", "wrong", printable(f"{trouble.code}: {trouble.text}"), printable(trouble.hint)
        )
    level: Level = "ok" if state.connection.startswith("connected") else "wrong"
    hint = "" if level == "ok" else "what follows about the broker says more"
    yield Finding("broker", level, printable(f"the forwarder: {state.broker}, {state.connection}"), hint)


def printable(text: str) -> str:
    """One line without control characters."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)
