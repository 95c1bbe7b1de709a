# SPDX-License-Identifier: Apache-2.0
"""`porter` on a machine whose name server does as a file says: `python -m tests.system.resolver FILE forward ...`.

Python's own getaddrinfo is replaced in this process, so it blocks the calling thread and fails as the system's does.
`Resolver` is the tests' end of the file.
"""

from __future__ import annotations

import socket
import sys
import threading
from pathlib import Path
from typing import Any

from device.cli import main
from tests.system.services import Surroundings

NAME = "broker.porter.test"  # .test never resolves (RFC 6761)
FAILS = "fails"


class Resolver:
    """What becomes of a lookup of `NAME` from now on. lookups: how many were asked for."""

    def __init__(self, folder: Path) -> None:
        self._file, self._tally = folder / "resolver", folder / "resolver.lookups"
        self.answers()

    @property
    def lookups(self) -> int:
        """How many there were, those that still run included."""
        return self._tally.stat().st_size if self._tally.exists() else 0

    def answers(self, after_s: float = 0.0) -> None:
        """127.0.0.1, after so long."""
        self._write(str(after_s))

    def fails(self) -> None:
        """No such name, at once."""
        self._write(FAILS)

    def around(self, **environment: str) -> Surroundings:
        """A forwarder that asks it."""
        program = ("tests.system.resolver", str(self._file))
        return Surroundings(program=program, environment=environment, host=NAME)

    def _write(self, text: str) -> None:
        fresh = self._file.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self._file)


def obey(file: Path) -> None:
    """From now on lookups of `NAME` do as the file says."""
    ask = socket.getaddrinfo

    def look_up(host: Any, *arguments: Any, **options: Any) -> Any:
        if host != NAME:
            return ask(host, *arguments, **options)
        with file.with_suffix(".lookups").open("ab") as tally:
            tally.write(b".")
        text = file.read_text()
        if text == FAILS:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        threading.Event().wait(float(text))  # libfaketime breaks time.sleep
        return ask("127.0.0.1", *arguments, **options)

    socket.getaddrinfo = look_up


if __name__ == "__main__":
    obey(Path(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
