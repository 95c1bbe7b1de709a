# SPDX-License-Identifier: Apache-2.0
"""Has the C library overwrite memory as it is freed, so that pictures and crops do not linger in it.

Blocks under about a kilobyte are kept for reuse without it, by the C library and by numpy: what is as small as an
embedding is overwritten by the code that made it. Pages that are given back to the kernel it clears itself.
"""

from __future__ import annotations

import ctypes
import logging

log = logging.getLogger("porter.memory")

M_PERTURB = -6  # <malloc.h>
FILL = 0x5A


def overwrite_freed_memory() -> bool:
    """For this process from now on. False where the C library cannot: musl, say."""
    try:
        done = bool(ctypes.CDLL(None).mallopt(M_PERTURB, FILL))
    except (OSError, AttributeError):
        done = False
    if not done:
        log.warning("freed_memory_not_overwritten text='the C library is not glibc'")
    return done
