# SPDX-License-Identifier: Apache-2.0
"""Which MQTT version to speak next. Pure: told how connections end, it answers with a version.

A broker from before MQTT 5 may say that it does not know the version, or just hang up on the greeting; so may a
broker that is restarting. Two hang-ups lead to 3.1.1 for one try, and back to 5 when that fared no better. What worked
once is kept; 3.1.1, when it was a fallback, for a day: then a new connection tries 5 again, as brokers are updated.
"""

from __future__ import annotations

import logging
from typing import Literal

log = logging.getLogger("porter.broker")

Protocol = Literal["5", "3.1.1"]
RETRY_S = 24 * 3600.0


class Dialect:
    """Which MQTT version to speak next."""

    def __init__(self, wanted: Literal["auto", "5", "3.1.1"]) -> None:
        self.protocol: Protocol = "3.1.1" if wanted == "3.1.1" else "5"
        self._auto = wanted == "auto"
        self._fixed = not self._auto
        self._hangups = 0
        self._settled_s: float | None = None

    def before_connecting(self, now_s: float) -> None:
        """A connection is about to begin, at `now_s` (seconds of any steady clock)."""
        fell_back = self._auto and self._fixed and self.protocol == "3.1.1"
        if fell_back and self._settled_s is not None and now_s - self._settled_s >= RETRY_S:
            self.protocol, self._fixed, self._settled_s = "5", False, None

    def accepted(self, now_s: float) -> None:
        """The broker spoke it: stay with it."""
        self._fixed = True
        if self._settled_s is None:
            self._settled_s = now_s

    def ended(self, accepted: bool, refused_version: bool) -> None:
        """A connection ended. A hang-up before any answer may mean that the broker does not know the version."""
        if self._fixed or accepted:
            return
        self._hangups += 1
        if self.protocol == "3.1.1":  # no better: it was not the version
            self.protocol, self._hangups = "5", 0
        elif refused_version or self._hangups >= 2:
            self.protocol, self._hangups = "3.1.1", 0
            log.info("mqtt_fallback protocol=3.1.1 reason=%s", "refused" if refused_version else "hang-ups")
