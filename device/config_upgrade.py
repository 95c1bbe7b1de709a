# SPDX-License-Identifier: Apache-2.0
"""`porter.yaml` with the new names of its options: the text, the file, and the way back for an older Porter.

Who calls this decides when: `porter commit` once an update was kept, or a person. The file as it was stays beside it as
`porter.yaml.before-VERSION`, VERSION being the Porter that wrote the new one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from device import config, config_moves, yaml_text
from device.config_migrations import MIGRATIONS
from device.durable import write_whole
from device.errors import InputError, StorageError
from device.yaml_text import Problems

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from device.config_migrations import Migration


def upgraded(data: bytes, file: str, migrations: Sequence[Migration] = MIGRATIONS) -> bytes:
    """The same configuration under its new names. Raises ConfigError (a wrong file), InputError (it cannot be)."""
    meant, moves = config.examine(data, file, migrations)
    text = data.decode("utf-8")
    for move in moves:
        root = yaml_text.read(text.encode("utf-8"), Problems(file))
        if root is not None:
            text = config_moves.step(text, root, move.migration)
    fresh = text.encode("utf-8")
    # The positions are libyaml's, the moves ours: believed only where the result says the same.
    if moves and config.examine(fresh, file, ()) != (meant, []):
        raise InputError(
            f"{file}: cannot be written anew without changing what it says; left as it is",
            hint="change the names by hand: porter check-config says which",
        )
    return fresh


def upgrade_file(path: Path, version: str, migrations: Sequence[Migration] = MIGRATIONS) -> Path | None:
    """Writes the new names into the file, whole or not at all; where the old one is kept, or None: nothing to do.

    Raises ConfigError, InputError, StorageError; then the file is as it was.
    """
    real = path.resolve()
    before = config.read(real)
    fresh = upgraded(before, str(path), migrations)
    if fresh == before:
        return None
    kept = _free(real, version, before)
    try:
        _write_like(real, kept, before)
        _write_like(real, real, fresh)
    except OSError as error:
        raise StorageError(
            f"{path}: the new names cannot be written: {error.strerror}",
            hint="it works as it is; sudo porter check-config FILE --write tries again",
        ) from error
    return kept


def downgraded_file(
    path: Path, version: str, migrations: Sequence[Migration] = MIGRATIONS
) -> tuple[Path, bool] | None:
    """For an older Porter: puts the file back as it was before its names were newer than `version`.

    Which kept file it is, and whether it was put back: not where it was changed since. None: there is none.
    """
    real = path.resolve()
    found = [
        (release(kept.name.partition(".before-")[2]), kept)
        for kept in real.parent.glob(f"{real.name}.before-*")
    ]
    newer = sorted(each for each in found if each[0] > release(version))
    if not newer:
        return None
    kept = newer[0][1]
    old, present = config.read(kept), config.read(real)
    same = present == old or upgraded(old, str(kept), migrations) == present
    if same and present != old:
        try:
            _write_like(real, real, old)
        except OSError as error:
            raise StorageError(f"{path}: cannot be put back: {error.strerror}") from error
    return kept, same


def release(version: str) -> tuple[int, ...]:
    """The numbers a version begins with, to compare by: 0.2.0+gabc is newer than 0.1.9."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def _free(path: Path, version: str, before: bytes) -> Path:
    """Where the old file goes: nothing that is kept already is lost for it."""
    kept, number = path.with_name(f"{path.name}.before-{version}"), 2
    while kept.exists() and kept.read_bytes() != before:
        kept, number = path.with_name(f"{path.name}.before-{version}-{number}"), number + 1
    return kept


def _write_like(model: Path, path: Path, data: bytes) -> None:
    """Owner and mode as the model has them. Raises OSError."""
    status = model.stat()
    write_whole(path, data, status.st_mode & 0o777, owner=(status.st_uid, status.st_gid))
