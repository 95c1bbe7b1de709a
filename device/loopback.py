# SPDX-License-Identifier: Apache-2.0
"""Ports on this machine, for brokers that the demo, the tests and the measurements start."""

from __future__ import annotations

import random
import socket
from contextlib import closing

# Below the range from which the kernel takes ports for outgoing connections (32768 and up), so that none of those
# can take ours between looking and listening.
PORTS = range(20_000, 30_000)
TRIES = 20


def free_ports() -> list[int]:
    """Some ports on which nobody listens now."""
    found = []
    for port in random.sample(PORTS, TRIES):  # a port needs no secrecy
        with closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
    return found
