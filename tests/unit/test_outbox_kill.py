# SPDX-License-Identifier: Apache-2.0
"""The outbox is killed before and after every call into SQLite and the system, one child process for each step.

Each child forks off the driver below, counts its calls into sqlite3, posix and fcntl, and kills itself (SIGKILL) at the
n-th, for n = 1, 2, ... until the operation comes to its end. Then the same on a disk that fills up: no file may grow
beyond n pages (RLIMIT_FSIZE), until the operation fits.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from device.adapters.outbox_sqlite import SqliteOutbox
from tests.events import event_id, make_event

if TYPE_CHECKING:
    from pathlib import Path

BEFORE = {0, 1, 2, 3}
DRIVER = """
import os, resource, shutil, signal, sys
from pathlib import Path
from device.adapters.outbox_sqlite import SqliteOutbox
from device.errors import StorageError
from tests.events import event_id, make_event
folder, operation, fate = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
FULL = 5

def work(path, arm):
    if operation in ("make", "set aside"):
        arm()
    outbox = SqliteOutbox(path)
    arm()
    if operation == "append":
        outbox.append([make_event(4), make_event(5)])
    elif operation == "acknowledge":
        outbox.acknowledge([event_id(0), event_id(1)])
    elif operation == "drop":
        outbox.drop([event_id(0), event_id(1)])
    sys.setprofile(None)

def child(path, step):
    count = 0
    def profile(frame, event, called):
        nonlocal count
        if event in ("c_call", "c_return"):
            module = type(getattr(called, "__self__", None)).__module__
            if module == "sqlite3" or called.__module__ in ("posix", "fcntl", "sqlite3", "_sqlite3"):
                count += 1
                if count == step:
                    os.kill(os.getpid(), signal.SIGKILL)
    def arm():
        if fate == "kill":
            sys.setprofile(profile)
        else:
            resource.setrlimit(resource.RLIMIT_FSIZE, ((step - 1) * 1024, resource.RLIM_INFINITY))
    try:
        work(path, arm)
    except StorageError:
        os._exit(FULL)
    os._exit(0)

for step in range(1, 2000):
    copy = folder / f"step-{step}"
    shutil.copytree(folder / "template", copy)
    pid = os.fork()
    if pid == 0:
        try:
            child(copy / "outbox.sqlite", step)
        finally:
            os._exit(3)
    status = os.waitpid(pid, 0)[1]
    if not os.WIFSIGNALED(status) and os.waitstatus_to_exitcode(status) != FULL:
        sys.exit(os.waitstatus_to_exitcode(status))
sys.exit(4)
"""


@pytest.mark.parametrize(
    ("operation", "allowed"),
    [
        ("make", [set()]),
        ("append", [BEFORE, BEFORE | {4, 5}]),
        ("acknowledge", [BEFORE, {2, 3}]),
        ("drop", [BEFORE, {2, 3}]),
        ("set aside", [BEFORE]),
    ],
)
@pytest.mark.parametrize("fate", ["kill", "full"])
def test_a_kill_or_a_full_disk_at_every_step_leaves_all_or_nothing(
    tmp_path: Path, operation: str, allowed: list[set[int]], fate: str
) -> None:
    template = tmp_path / "template"
    template.mkdir()
    if operation != "make":
        with closing(SqliteOutbox(template / "outbox.sqlite")) as outbox:
            outbox.append([make_event(number) for number in sorted(BEFORE)])
    if operation == "set aside":
        (template / "outbox.sqlite.damaged").touch()
    subprocess.run([sys.executable, "-c", DRIVER, str(tmp_path), operation, fate], check=True, timeout=120)
    steps = sorted(tmp_path.glob("step-*"), key=lambda folder: int(folder.name[5:]))
    ids = [{event_id(number) for number in numbers} for numbers in allowed]
    found = []
    for folder in steps:
        with closing(SqliteOutbox(folder / "outbox.sqlite")) as outbox:
            left = outbox.peek(100)
            assert {event.id for event in left} in ids, folder.name
            assert [event.seq for event in left] == sorted({event.seq for event in left})
            assert outbox.dropped() == (4 - len(left) if operation == "drop" else 0)
            (new,) = outbox.append([make_event(9)])
            assert new.seq == (max(BEFORE) + 2 if allowed != [set()] else 1) + 2 * (len(left) == 6)
        found.append(len(left))
    assert len(steps) > 4
    assert {found[0], found[-1]} == {len(numbers) for numbers in allowed}
