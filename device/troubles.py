# SPDX-License-Identifier: Apache-2.0
"""The standing alerts of one service: raised and cleared by whichever thread notices, read by the one that reports."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from device.payloads import Trouble, rfc3339

if TYPE_CHECKING:
    from device.ports import Clock

log = logging.getLogger("porter.troubles")


class Troubles:
    """Alert codes that stand now. Safe from any thread; raising one that stands changes nothing."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._standing: dict[str, Trouble] = {}

    def raise_(self, code: str, text: str, hint: str = "") -> None:
        """Raises alert `code`; a new text under the same code replaces the old one but keeps its beginning."""
        with self._lock:
            before = self._standing.get(code)
            if before is not None and (before.text, before.hint) == (text, hint):
                return
            since = before.since if before else rfc3339(self._clock.now().utc_ns)
            self._standing[code] = Trouble(code=code, text=text, hint=hint, since=since)
        log.warning("alert_raised code=%s text=%r", code, text)

    def clear(self, code: str) -> None:
        """Ends alert `code`; harmless where it does not stand."""
        with self._lock:
            gone = self._standing.pop(code, None)
        if gone is not None:
            log.info("alert_cleared code=%s", code)

    def standing(self) -> list[Trouble]:
        """All that stand, by code."""
        with self._lock:
            return [self._standing[code] for code in sorted(self._standing)]
