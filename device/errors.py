# SPDX-License-Identifier: Apache-2.0
"""One error tree, sorted by who must act.

`cli.main` prints any `PorterError` as one line and a hint, without a traceback, and exits with its `exit_code`:
1 the work failed, 2 it was asked for wrongly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class PorterError(Exception):
    """Base of everything Porter raises on purpose. `hint` says what to do next."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


class InputError(PorterError):
    """The person who wrote a file or an argument must act: a wrong, missing, truncated or oversized input."""

    exit_code = 2


class ConfigError(InputError):
    """The person who edits the YAML must act.

    `file` is the file's path, `line` counts from 1 (0: the whole file), `path` is the option's place in it
    (`camera.rate_hz`, empty for the whole file). The loader reports all it found: the first problem is the error
    itself, the rest are in `others`; `str` gives every one, each with its hint.
    """

    def __init__(
        self,
        file: str,
        path: str,
        expected: str,
        *,
        hint: str = "",
        line: int = 0,
        others: Sequence[ConfigError] = (),
    ) -> None:
        where = f"{file}:{line}" if line else file
        super().__init__(f"{where}: {path}: {expected}" if path else f"{where}: {expected}", hint=hint)
        self.file = file
        self.line = line
        self.path = path
        self.expected = expected
        self.others = tuple(others)

    def __str__(self) -> str:
        return "\n".join([super().__str__(), *(str(other) for other in self.others)])


class HardwareError(PorterError):
    """A person with a screwdriver must act: camera, Edge TPU, storage medium."""


class CameraStalledError(HardwareError):
    """No frame arrived in time. A full reset (close, open) is the known cure."""


class EdgeTpuLostError(HardwareError):
    """The Edge TPU was left: no model runs on it until it is taken back (`edgetpu.EdgeTpu`)."""


class StorageError(PorterError):
    """A database cannot be used: corrupt, no space, no permission."""


class OtherFormatError(StorageError):
    """A database of another version or program: a person must act, trying again would change nothing."""

    exit_code = 2


class BrokerUnavailable(PorterError):  # noqa: N818  a state of the world, not a defect
    """The broker cannot be reached or refused us; the outbox holds everything meanwhile."""


class GalleryLocked(PorterError):  # noqa: N818  a state of the world, not a defect
    """The gallery may not be opened by this service: wrong kind of source, or a missing or wrong key.

    A person must act: the unit does not start a service again that ends with 2 (RestartPreventExitStatus=).
    """

    exit_code = 2
