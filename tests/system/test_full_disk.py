# SPDX-License-Identifier: Apache-2.0
"""The outbox on a disk that is really full: a small file system in memory, in a mount namespace of the test's own.

Needs root, or a kernel that lets users make namespaces (`unshare -rm`); where it does not, this fails and says so.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
DRIVER = """
import errno, json, os, sys
from pathlib import Path
from device.adapters.outbox_sqlite import SqliteOutbox
from device.errors import StorageError
from tests.events import make_event
folder = Path(sys.argv[1])
ballast = folder / "ballast"

def fill():
    with ballast.open("ab", buffering=0) as file:
        for size in (4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError as error:
                assert error.errno == errno.ENOSPC

said = {}
outbox = SqliteOutbox(folder / "outbox.sqlite")
kept = [outbox.append([make_event(number)])[0].seq for number in range(5)]
fill()
number = 5
try:
    while True:  # some room is left in the files that are there
        kept.append(outbox.append([make_event(number)])[0].seq)
        number += 1
except StorageError as error:
    said["append"] = str(error)
said["read while full"] = [event.seq for event in outbox.peek(1000)] == kept
fill()
try:
    SqliteOutbox(folder / "other.sqlite")
except StorageError as error:
    said["make"] = str(error)
said["nothing half made"] = [file.name for file in folder.glob("other.sqlite*")]
ballast.unlink()
said["next"] = outbox.append([make_event(number)])[0].seq - kept[-1]
outbox.close()
again = SqliteOutbox(folder / "outbox.sqlite")
said["after"] = [event.seq for event in again.peek(1000)] == [*kept, kept[-1] + 1]
said["set aside"] = again.set_aside is not None
print(json.dumps(said))
"""


def test_a_full_disk_loses_nothing_and_ends_when_there_is_room_again(tmp_path: Path) -> None:
    mount = f'mount -t tmpfs -o size=300k tmpfs {tmp_path} && exec "$@"'
    command = ["unshare", "-rm", "sh", "-c", mount, "sh", sys.executable, "-c", DRIVER, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"unshare -rm does not work here, or the outbox failed:\n{done.stderr}"
    said = json.loads(done.stdout)
    for what in ("append", "make"):
        assert "full" in said[what] or "No space left" in said[what], said[what]
        assert "hint: " in said[what]
    assert said["read while full"]
    assert said["next"] == 1  # no gap in seq
    assert said["after"]
    assert not said["set aside"]
    assert said["nothing half made"] in ([], ["other.sqlite.lock"])
