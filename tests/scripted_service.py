# SPDX-License-Identifier: Apache-2.0
"""A vision service behind a real control socket that answers every request by a script."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from device.adapters.control_socket import ControlServer
from device.control import (
    Done,
    Enrolled,
    Peer,
    Progress,
    Receipt,
    Renamed,
    Renewed,
    Reply,
    Request,
    ServiceStatus,
    SubjectLine,
    SubjectList,
    Withdrawn,
)
from device.payloads import ModelInfo, Trouble
from device.records import EnrolmentSummary
from device.supervisor import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from device.records import PoseName, PoseState

ANNA = SubjectLine(
    "anna", "p_12ab34cd", 5, "c_1", "door", "ab" * 32, "alice", "2026-11-23", "2027-11-23", 365
)
RECEIPT = Receipt("p_12ab34cd", "c_1", 5, "2026-11-23T10:00:00.000Z", "synced", 3, "ef" * 32)
SUMMARY = EnrolmentSummary(
    5, ("front", "left"), "exposure", 0.65, 0.93, 0.21, "usable", "usable, but exposure was only fair"
)
POSES: dict[PoseName, PoseState] = {"front": "given", "left": "asked", "right": "open", "up": "skipped"}
STATUS = ServiceStatus(
    state="running",
    camera="cam0",
    source="files",
    simulated=True,
    fps=9.83,
    frames=1234,
    faces_seen=56,
    embedded=12,
    dropped=0,
    strangers=3,
    subjects=4,
    present=1,
    models=[ModelInfo("sface", "embedder", "cpu", "ab" * 32, "cpu")],
    troubles=[
        Trouble("clock_unsynced", "the clock is not synchronised", "timedatectl", "2026-11-23T10:00:00.000Z")
    ],
    uptime_s=3723.4,
    threshold=0.5,
    expected=None,
)


class Script:
    """One conversation."""

    def __init__(self, replies: Sequence[Reply]) -> None:
        self.replies = list(replies)
        self.cancels = 0
        self.gone = threading.Event()

    def poll(self) -> Sequence[Reply]:
        said, self.replies = self.replies, []
        return said

    def cancel(self) -> None:
        self.cancels += 1
        self.gone.set()


class Service:
    """A handler that answers by the type of the request."""

    def __init__(self, answers: Mapping[str, Sequence[Reply]]) -> None:
        self.answers = answers
        self.seen: list[Request] = []
        self.scripts: list[Script] = []

    def __call__(self, request: Request, peer: Peer) -> Script:
        self.seen.append(request)
        self.scripts.append(Script(self.answers[type(request).__name__]))
        return self.scripts[-1]


@contextmanager
def service(path: Path, answers: Mapping[str, Sequence[Reply]]) -> Iterator[Service]:
    handler = Service(answers)
    server = ControlServer(path, handler)
    worker = Worker("control", lambda: server.step(0.01), cleanup=server.close)
    worker.start()
    try:
        yield handler
    finally:
        worker.stop()
        assert worker.join(5)
        assert worker.failure is None


ENROLLING: dict[str, list[Reply]] = {
    "EnrolRequest": [
        Progress("come closer", 0, 5, 90.0),
        Progress("come closer", 0, 5, 89.0),
        Progress("hold still", 3, 5, 80.0),
        Done(Enrolled(ANNA, SUMMARY)),
    ],
    "SubjectsRequest": [Done(SubjectList([ANNA]))],
    "WithdrawRequest": [Done(Withdrawn(ANNA, RECEIPT))],
    "RenewRequest": [Done(Renewed(ANNA))],
    "RenameRequest": [Done(Renamed(ANNA))],
}
