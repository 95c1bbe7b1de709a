# SPDX-License-Identifier: Apache-2.0
"""What a gallery is open with: root key and basis, under the device key; and renewing all of it at once.

A rotation opens every reference, turns it from the old basis into a new one and seals it anew, inside one transaction:
killed at any moment it is the old gallery or the new one. Nobody has to enrol again and no score changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from device.errors import GalleryLocked, StorageError
from device.gallery_file import read_references
from device.sealing import new_key, opened, random_basis, seal

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from numpy.typing import NDArray

    from device.sealing import DeviceKey

NUMBERS = "SELECT subject_id, number FROM consent"
RENEW_KEY = "UPDATE subject_key SET sealed = ? WHERE consent = ?"
RENEW_REFERENCE = "UPDATE reference SET sealed = ? WHERE consent = ? AND position = ?"
RENEW_GALLERY = "UPDATE gallery SET root_key = ?, basis = ?, rotation_unwritten = 1"


@dataclass(frozen=True, slots=True, repr=False)
class GalleryKeys:
    """under: seals the root key; root: seals the subjects' keys; basis: secret, orthogonal, (D, D) float32."""

    under: DeviceKey
    root: bytes
    basis: NDArray[np.float32]

    @property
    def sealed(self) -> tuple[bytes, bytes]:
        """Root key and basis as they are stored."""
        return seal(self.under.secret, "root", self.root), seal(self.root, "basis", self.basis.tobytes())


def new_keys(under: DeviceKey, dimension: int) -> GalleryKeys:
    """A root key and a basis that never were."""
    return GalleryKeys(under, new_key(), random_basis(dimension))


def unlock(path: Path, db: sqlite3.Connection, key: DeviceKey, dimension: int) -> GalleryKeys:
    """Opens with the device key or one that may be in its place.

    Raises GalleryLocked where none opens the root key, StorageError where the basis is damaged.
    """
    sealed_root, sealed_basis = db.execute("SELECT root_key, basis FROM gallery").fetchone()
    for under in (key, *key.others):
        root = opened(under.secret, "root", sealed_root)
        if root is not None:
            break
    else:
        raise GalleryLocked(
            f"{path}: the key from {key.origin} does not open it; it was left as it is",
            hint="restore the key that it was made with; without it, move the file away and enrol again",
        )
    content = opened(root, "basis", sealed_basis) or b""
    if len(content) != 4 * dimension**2:
        raise StorageError(f"{path}: its basis is damaged", hint="move it away and enrol again")
    return GalleryKeys(under, root, np.frombuffer(content, dtype="<f4").reshape(dimension, dimension))


def opens(path: Path, db: sqlite3.Connection, key: DeviceKey, dimension: int) -> bool:
    """Whether everything sealed opens and is sound. Raises GalleryLocked for another key."""
    try:
        read_references(path, db, unlock(path, db, key, dimension).root, dimension)
    except StorageError:
        return False
    return True


def rotate(path: Path, db: sqlite3.Connection, old: GalleryKeys, new: GalleryKeys) -> None:
    """Seals everything under `new`, in its basis, inside the running transaction. Raises StorageError."""
    numbers = dict(db.execute(NUMBERS).fetchall())
    turn = new.basis.astype(np.float64) @ old.basis.T.astype(np.float64)
    for subject_id, rows in read_references(path, db, old.root, len(old.basis)).items():
        number, key = numbers[subject_id], new_key()
        db.execute(RENEW_KEY, (seal(new.root, subject_id, key), number))
        turned = rows @ turn.T
        # Brought back to unit length, or the roundings of many rotations would add up.
        turned /= np.linalg.norm(turned, axis=1, keepdims=True)
        boxes = [
            seal(key, f"{subject_id} {place}", row.tobytes())
            for place, row in enumerate(turned.astype("<f4"))
        ]
        db.executemany(RENEW_REFERENCE, [(box, number, place) for place, box in enumerate(boxes)])
    db.execute(RENEW_GALLERY, new.sealed)
