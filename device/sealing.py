# SPDX-License-Identifier: Apache-2.0
"""How templates are sealed at rest, and the key that opens them.

Device key -> the gallery's root key -> one key a subject -> that subject's references; each sealed with libsodium's
SecretBox (XSalsa20-Poly1305, random nonces), so whatever was changed or exchanged does not open. What is sealed names
what it is, so that one subject's box does not pass for another's.

The device key comes from a systemd credential (encrypted by the TPM where there is one). Where there is none it is a
file beside the gallery: that keeps a copied database closed, and nothing more.

A key is replaced in an order that a power cut cannot break: the next one is durable before anything is sealed under it,
and the old one goes only when nothing is any more. In between either opens the gallery.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox
from nacl.utils import random as random_bytes

from device.durable import sync
from device.errors import GalleryLocked, StorageError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

KEY_BYTES = SecretBox.KEY_SIZE
CREDENTIAL = "porter.device-key"
PREVIOUS_CREDENTIAL = "porter.device-key.previous"
KEY_FILE = "device.key"
NEXT_KEY_FILE = "device.key.next"


@dataclass(frozen=True, slots=True, repr=False)
class DeviceKey:
    """The device's 32 secret bytes. origin: where they are from, for messages; beside: whether from a mere file.

    others: keys that may open the gallery as well, since it was last sealed under one of them.
    folder: where key files are; None: there are none.
    """

    secret: bytes
    origin: str
    beside: bool = False
    others: tuple[DeviceKey, ...] = field(default=(), compare=False)
    folder: Path | None = field(default=None, compare=False)


def new_key() -> bytes:
    """32 bytes from the kernel."""
    return random_bytes(KEY_BYTES)


def seal(key: bytes, name: str, content: bytes) -> bytes:
    """`content` under `key`, marked as `name`."""
    return bytes(SecretBox(key).encrypt(name.encode() + b"\0" + content))


def opened(key: bytes, name: str, sealed: bytes) -> bytes | None:
    """What was sealed under `key` as `name`; None where it was not, or was changed since."""
    try:
        content = SecretBox(key).decrypt(sealed)
    except (CryptoError, ValueError):
        return None
    mark = name.encode() + b"\0"
    return content[len(mark) :] if content.startswith(mark) else None


def random_basis(dimension: int) -> NDArray[np.float32]:
    """A random orthogonal matrix, (D, D) float32, uniform over all of them (Mezzadri 2007: QR with signs settled)."""
    seed = int.from_bytes(random_bytes(32), "little")
    normal = np.random.Generator(np.random.PCG64(seed)).normal(size=(dimension, dimension))
    q, r = np.linalg.qr(normal)
    return np.ascontiguousarray(q * np.sign(np.diag(r)), dtype="<f4")


def read_device_key(credentials_dir: Path | None, state_dir: Path, *, make: bool = True) -> DeviceKey:
    """The credential where the service manager gives one, else the file `device.key`; with what may be in its place.

    make: whether a missing file is made. Raises GalleryLocked for a key that is none, StorageError where the file
    cannot be read or made.
    """
    files = [state_dir / KEY_FILE, state_dir / NEXT_KEY_FILE]
    if credentials_dir is not None and (credentials_dir / CREDENTIAL).exists():
        path, others, beside = (
            credentials_dir / CREDENTIAL,
            [credentials_dir / PREVIOUS_CREDENTIAL, *files],
            False,
        )
    else:
        path, others, beside = files[0], files[1:], True
    try:
        if beside and make and not path.exists():
            _make_key_file(path)
        secret = path.read_bytes()
        found = [(other, other.read_bytes()) for other in others if other.exists()]
    except OSError as error:
        raise StorageError(
            f"{error.filename or path}: the gallery's key cannot be read or made: {error.strerror}",
            hint="it must be the service's own file, mode 0600",
        ) from error
    if len(secret) != KEY_BYTES:
        raise GalleryLocked(
            f"{path}: expected {KEY_BYTES} random bytes, found {len(secret)}",
            hint="restore the key; without it the gallery stays closed and people must enrol again",
        )
    spare = tuple(DeviceKey(key, str(other)) for other, key in found if len(key) == KEY_BYTES)
    return DeviceKey(secret, str(path), beside, spare, state_dir)


def next_key(key: DeviceKey) -> DeviceKey:
    """What to seal under next: a new key where it is a file, durable before it returns; the same credential else.

    `key` must be settled: what it replaces is the key of nothing. Raises StorageError.
    """
    if not key.beside or key.folder is None:
        return key
    path = key.folder / NEXT_KEY_FILE
    try:
        _make_key_file(path)
        return DeviceKey(path.read_bytes(), str(path), True, folder=key.folder)
    except OSError as error:
        raise _key_error(path, error) from error


def settled(key: DeviceKey, used: DeviceKey) -> DeviceKey:
    """The device key where the gallery is sealed under `used` for certain; the files that open it no more go.

    Raises StorageError.
    """
    if key.folder is None or not (key.beside or used.secret == key.secret):
        return key
    present, following = key.folder / KEY_FILE, key.folder / NEXT_KEY_FILE
    try:
        if key.beside and used.secret != key.secret:
            following.replace(present)
        else:
            following.unlink(missing_ok=True)
        for useless in (_part(present), _part(following), *(() if key.beside else (present,))):
            useless.unlink(missing_ok=True)
        sync(key.folder)
    except OSError as error:
        raise _key_error(following, error) from error
    return DeviceKey(used.secret, key.origin, key.beside, folder=key.folder)


def _key_error(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"{path}: the gallery's next key cannot be put in its place: {error.strerror}",
        hint="it must be the service's own folder, with some space left; restart porter-vision to go on",
    )


def _make_key_file(path: Path) -> None:
    """Writes a new key, whole or not at all, and never over another."""
    part = _part(path)
    part.unlink(missing_ok=True)
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(new_key())
        file.flush()
        os.fsync(file.fileno())
    path.hardlink_to(part)
    part.unlink()
    sync(path.parent)


def _part(path: Path) -> Path:
    """What a key file is called until all of it is there."""
    return path.with_name(f"{path.name}.new")
