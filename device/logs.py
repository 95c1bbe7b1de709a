# SPDX-License-Identifier: Apache-2.0
"""Logging: one line an event on standard error, `event_name key=value`, which systemd hands to the journal.

Under systemd (which sets JOURNAL_STREAM; only `cli` may look) the journal adds the time itself; the priority is given
as `<N>` at the line's beginning, which it understands (sd-daemon(3)). Never a label, an embedding or a picture.
"""

from __future__ import annotations

import logging
import sys

PRIORITIES = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}


class JournalFormatter(logging.Formatter):
    """`<4>porter.outbox: event_name key=value`; a traceback stays in its event's priority, line by line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as the journal likes it."""
        prefix = f"<{PRIORITIES.get(record.levelno, 5)}>"
        return "\n".join(prefix + line for line in super().format(record).splitlines())


def setup_logging(level: str, *, journal: bool = False) -> None:
    """Sends Porter's log to standard error from `level` (debug, info, warning, error) up; may be called again."""
    handler = logging.StreamHandler(sys.stderr)
    if journal:
        handler.setFormatter(JournalFormatter("%(name)s: %(message)s"))
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("porter").setLevel(level.upper())


def one_line(text: str) -> str:
    """The text where one line is wanted: a line break or an escape in it would be a command to who reads on."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)
