# SPDX-License-Identifier: Apache-2.0
"""Never 9: the process that sees has no network. Its sockets, as the kernel lists them while it does its whole work.

The unit file forbids more than this; here the program itself is seen not to try.
"""

from __future__ import annotations

import os
import re
import socket
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.service.harness import ServiceDoor

LOCAL = {"unix", "netlink"}
# The kernel's tables of sockets. An IP socket that is bound to nothing yet is in none of them: that is `unknown`.
TABLES = ("unix", "netlink", "packet", "tcp", "tcp6", "udp", "udp6", "udplite", "udplite6", "raw", "raw6")


def kinds_of_sockets(pid: int) -> dict[str, str]:
    """The sockets of a process by inode, each with the table that lists it; not those that were closed meanwhile."""
    before = inodes(pid)
    kinds = dict.fromkeys(before, "unknown")
    for name in TABLES:
        table = Path(f"/proc/{pid}/net/{name}")
        if table.exists():
            kinds |= dict.fromkeys(before & set(table.read_text().split()), name)
    return {inode: kinds[inode] for inode in before & inodes(pid)}


def inodes(pid: int) -> set[str]:
    """The inodes of a process's sockets."""
    found = set[str]()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            match = re.fullmatch(r"socket:\[(\d+)\]", str(entry.readlink()))
        except FileNotFoundError:  # closed since it was listed
            continue
        if match:
            found.add(match[1])
    return found


def test_this_test_would_see_an_ip_socket_bound_or_not() -> None:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        inode = str(os.fstat(sock.fileno()).st_ino)
        assert kinds_of_sockets(os.getpid())[inode] == "unknown"
        sock.bind(("127.0.0.1", 0))
        assert kinds_of_sockets(os.getpid())[inode] == "udp"


def test_every_socket_of_a_working_vision_service_is_local(door: ServiceDoor) -> None:
    door.start()
    door.show("anna")
    command = door.enrolment("anna")
    seen: dict[str, str] = {}

    def enrolled() -> bool:
        seen.update(kinds_of_sockets(door.process.pid))
        return command.process.poll() is not None

    door.wait("the end of the enrolment", enrolled)
    door.wait("the start", lambda: door.phases() == ["start"])
    door.reload()
    seen |= kinds_of_sockets(door.process.pid)
    assert "unix" in seen.values(), "the control socket at least"
    assert set(seen.values()) <= LOCAL, seen
