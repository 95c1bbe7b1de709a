# SPDX-License-Identifier: Apache-2.0
"""Files that are there after a power cut, or are as they were before."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def sync(path: Path) -> None:
    """Returns once a file's content, or the names in a folder, are on the storage medium. Raises OSError."""
    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def write_whole(path: Path, data: bytes, mode: int, owner: tuple[int, int] | None = None) -> None:
    """Makes or replaces a file, whole or not at all; `<name>.half` beside it is used meanwhile. Raises OSError.

    owner: user and group; None: whoever writes.
    """
    half = path.with_name(f"{path.name}.half")
    half.write_bytes(data)
    half.chmod(mode)
    if owner is not None and owner != (os.geteuid(), os.getegid()):
        os.chown(half, *owner)
    sync(half)
    half.replace(path)
    sync(path.parent)
