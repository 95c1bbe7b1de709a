# SPDX-License-Identifier: Apache-2.0
"""What a person at the device may ask of the running vision service, and what it answers.

One JSON object a line over a Unix socket: one request a connection, then any number of `progress` and at last one
`done` or `failed`. There is no field for a picture, an embedding, a reference or a threshold, and unknown fields are
refused, so nobody can be enrolled through here but by standing before the camera (tests/never).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, Protocol

import msgspec
from msgspec import Meta

from device.errors import PorterError
from device.payloads import Light, ModelInfo, Trouble, rfc3339
from device.records import EnrolmentSummary, Expected, PoseName, PoseState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from device.records import Subject

SOCKET_NAME = "control.sock"
MAX_POLICY_BYTES = 64 * 1024
MAX_REQUEST_BYTES = 3 * MAX_POLICY_BYTES + 4096  # \uXXXX takes 6 bytes for a character of 2: JSON's worst

Name = Annotated[str, Meta(min_length=1, max_length=200)]
Recorder = Annotated[str, Meta(min_length=1, max_length=100)]
Date = Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}$")]
State = Literal["running", "paused", "enrolling"]


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type"):
    """Base of all that crosses the socket: immutable, tagged by `type`, unknown fields refused."""


class StatusRequest(Line, frozen=True, tag="status"):
    """How is the service? Answered by `ServiceStatus`."""


class PauseRequest(Line, frozen=True, tag="pause"):
    """Stop looking until `resume`. Answered by `Switched`."""


class ResumeRequest(Line, frozen=True, tag="resume"):
    """Look again. Answered by `Switched`."""


class SubjectsRequest(Line, frozen=True, tag="subjects"):
    """Who is enrolled? Answered by `SubjectList`."""


class WithdrawRequest(Line, frozen=True, tag="withdraw"):
    """Erase the subject of this label or ref. Answered by `Withdrawn`."""

    subject: Name


class EnrolRequest(Line, frozen=True, tag="enrol"):
    """Enrol the one person who stands before the camera now. Progress, then `Enrolled`.

    again: `label` is the label or ref of a subject, who gets new references under this consent in place of theirs.
    policy_text: the whole consent text that the person agreed to; its SHA-256 goes into the consent record.
    acknowledged: true, as the statement that they did. recorded_by: who says so; else the user who asks.
    """

    label: Name
    policy_text: str
    acknowledged: bool
    recorded_by: Recorder | None = None
    again: bool = False

    def __post_init__(self) -> None:
        """Refuses a request without consent; msgspec turns the ValueError into its ValidationError."""
        check_agreement(self)


class RenewRequest(Line, frozen=True, tag="renew"):
    """Renew the consent of the subject of this label or ref; the rest as in `EnrolRequest`. Then `Renewed`."""

    subject: Name
    policy_text: str
    acknowledged: bool
    recorded_by: Recorder | None = None

    def __post_init__(self) -> None:
        """Refuses a request without consent; msgspec turns the ValueError into its ValidationError."""
        check_agreement(self)


class RenameRequest(Line, frozen=True, tag="rename"):
    """Give the subject of this label or ref another label. Answered by `Renamed`."""

    subject: Name
    label: Name


class RotateRequest(Line, frozen=True, tag="rotate_key"):
    """Renew every key of the gallery. Answered by `Rotated`."""


Request = (
    StatusRequest
    | PauseRequest
    | ResumeRequest
    | SubjectsRequest
    | WithdrawRequest
    | EnrolRequest
    | RenewRequest
    | RenameRequest
    | RotateRequest
)


class SubjectLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One subject as people see them. Dates are UTC; `days_left` is 0 once the consent has ended."""

    label: str
    ref: str
    references: int
    consent: str
    purpose: str
    policy_sha256: str
    recorded_by: str
    since: Date
    until: Date
    days_left: int


class ServiceStatus(Line, frozen=True, tag="status"):
    """What the vision service is doing. Counts run since its start; `strangers` is nothing but a count.

    threshold: from which score a present subject matches; expected: what that means, if measured. firmware: what runs.
    """

    state: State
    camera: str
    source: str
    simulated: bool
    fps: float
    frames: int
    faces_seen: int
    embedded: int
    dropped: int  # frames, while no model could run
    strangers: int
    subjects: int
    present: int
    models: list[ModelInfo]
    troubles: list[Trouble]
    uptime_s: float
    threshold: float
    expected: Expected | None
    firmware: str = ""
    light: Light = ""


class Switched(Line, frozen=True, tag="switched"):
    """The state after `pause` or `resume`; `changed` is false where it was so before."""

    state: State
    changed: bool


class SubjectList(Line, frozen=True, tag="subjects"):
    """Everyone enrolled, by label."""

    subjects: list[SubjectLine]


class Receipt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a person may keep who withdrew: what was erased, and the ledger's line that says so. It names no label."""

    ref: str
    consent: str
    references: int
    erased_at: str
    clock: Literal["synced", "unsynced"]
    ledger_entry: int | None
    ledger_sha256: str | None


class Withdrawn(Line, frozen=True, tag="withdrawn"):
    """Who was erased, with how many references."""

    subject: SubjectLine
    receipt: Receipt


class Renewed(Line, frozen=True, tag="renewed"):
    """Whose consent was renewed, with its new terms. Sent only once they are durable."""

    subject: SubjectLine


class Renamed(Line, frozen=True, tag="renamed"):
    """Who has another label now."""

    subject: SubjectLine


class Enrolled(Line, frozen=True, tag="enrolled"):
    """Who was enrolled, and what the references are worth. Sent only once they are durable."""

    subject: SubjectLine
    summary: EnrolmentSummary


class Rotated(Line, frozen=True, tag="rotated"):
    """All keys are new. device_key: that one as well, since it is a file; a credential is the operator's to replace."""

    subjects: int
    device_key: bool


Result = ServiceStatus | Switched | SubjectList | Withdrawn | Enrolled | Renewed | Renamed | Rotated


class Progress(Line, frozen=True, tag="progress"):
    """How far an enrolment is: `taken` of `needed` samples, which poses are there, and one hint to the person."""

    hint: str
    taken: int
    needed: int
    seconds_left: float
    poses: dict[PoseName, PoseState] = {}


class Done(Line, frozen=True, tag="done"):
    """The last line of a request that was carried out."""

    result: Result


class Failed(Line, frozen=True, tag="failed"):
    """The last line of a request that was not: why, what to do, and the command's exit code."""

    message: str
    hint: str = ""
    exit_code: Annotated[int, Meta(ge=1, le=125)] = 1


Reply = Progress | Done | Failed


class ServiceUnavailable(PorterError):  # noqa: N818  a state of the world, not a defect
    """The vision service does not run, does not let us in, or does not answer on its control socket."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of the socket, as the kernel says (SO_PEERCRED)."""

    pid: int
    uid: int
    gid: int
    user: str


class Conversation(Protocol):
    """One request being answered. Both methods are called by the socket's thread and never wait."""

    def poll(self) -> Sequence[Reply]:
        """The replies since the last call, in order. A Done or Failed is the last one; it is not called again."""

    def cancel(self) -> None:
        """The client is gone before the last reply: drop what was begun. Called at most once."""


class Handler(Protocol):
    """Who answers. Raises PorterError where a request is refused at once."""

    def __call__(self, request: Request, peer: Peer) -> Conversation:
        """Begins to answer; returns at once."""


def failed(error: PorterError) -> Failed:
    """An error as the last reply."""
    return Failed(error.message, error.hint, error.exit_code)


def check_agreement(request: EnrolRequest | RenewRequest) -> None:
    """Raises ValueError where a request rests on no agreement."""
    if not request.acknowledged:
        raise ValueError("acknowledged must be true: nobody is enrolled without their consent")
    if problem := policy_problem(request.policy_text):
        raise ValueError(f"policy_text: {problem}")
    if request.recorded_by is not None and not request.recorded_by.isprintable():
        raise ValueError("recorded_by: expected printable characters")


def recorder(request: EnrolRequest | RenewRequest, peer: Peer) -> str:
    """`recorded_by` of the consent: the user whom the kernel names, after the name they gave."""
    return f"{request.recorded_by} (user {peer.user})" if request.recorded_by else peer.user


def policy_problem(text: str) -> str:
    """What is wrong with a consent text; empty where nothing is."""
    size = len(text.encode("utf-8", "surrogatepass"))
    if not text.strip():
        return "expected the text that the person agreed to, found nothing"
    if size > MAX_POLICY_BYTES:
        return f"expected at most {MAX_POLICY_BYTES} bytes, found {size}"
    odd = next((c for c in text if c not in "\n\r\t" and (ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0)), "")
    return f"expected plain text, found the control character U+{ord(odd):04X}" if odd else ""


def subject_line(subject: Subject, now_utc_ns: int) -> SubjectLine:
    """A subject as people see them at `now_utc_ns`."""
    consent = subject.consent
    return SubjectLine(
        label=subject.label,
        ref=subject.ref,
        references=subject.references,
        consent=consent.consent_id,
        purpose=consent.purpose,
        policy_sha256=consent.policy_sha256,
        recorded_by=consent.recorded_by,
        since=utc_date(consent.given_at_ns),
        until=utc_date(consent.expires_at_ns),
        days_left=max(0, math.ceil((consent.expires_at_ns - now_utc_ns) / 86_400_000_000_000)),
    )


def utc_date(utc_ns: int) -> str:
    """The UTC day of a moment, `YYYY-MM-DD`."""
    return rfc3339(utc_ns)[:10]
