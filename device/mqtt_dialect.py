# SPDX-License-Identifier: Apache-2.0
"""Which MQTT version to speak next. Pure: told how connections end, it answers with a version.

A broker from before MQTT 5 may say that it does not know the version, or just hang up on the greeting; so may a
broker that is restarting. Two hang-ups lead to 3.1.1 for one try, and back to 5 when that fared no better. What worked
once is kept.
"""

from __future__ import annotations

import logging
from typing import Literal

log = logging.getLogger("porter.broker")

Protocol = Literal["5", "3.1.1"]


class Dialect:
    """Which MQTT version to speak next."""

    def __init__(self, wanted: Literal["auto", "5", "3.1.1"]) -> None:
        self.protocol: Protocol = "3.1.1" if wanted == "3.1.1" else "5"
        self._fixed = wanted != "auto"
        self._hangups = 0

    def accepted(self) -> None:
        """The broker spoke it: stay with it."""
        self._fixed = True

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
