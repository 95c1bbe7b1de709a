# SPDX-License-Identifier: Apache-2.0
"""Which operators the Edge TPU maps, by `models/edgetpu_ops.toml`, whose source is Coral's published table.

The compiler has the last word: it may leave to the CPU an operator that the table allows (sizes, options), and
everything after the first operator it does not map. What this says "no" to, though, the compiler says "no" to.
"""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from device.errors import ConfigError, InputError

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

TABLE = "edgetpu_ops.toml"
VALUES = frozenset({"int8", "uint8"})  # what the Edge TPU computes with
CONSTANTS = VALUES | {"int32"}  # biases, shapes, paddings, sizes


class OperatorRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One operator of the table; `notes` is its known limitation."""

    notes: str = ""


class EdgeTpuTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The operators that the Edge TPU maps, by their TFLite name, and where that is written."""

    schema: Literal[1]
    source: Annotated[str, Meta(min_length=1)]
    ops: Annotated[dict[str, OperatorRule], Meta(min_length=1)]
    notes: str = ""

    def maps(self, name: str, values: Collection[str], constants: Collection[str]) -> bool:
        """Whether it maps operator `name`.

        values: the dtypes of its first input and its outputs; constants: those of its other inputs.
        """
        return name in self.ops and VALUES.issuperset(values) and CONSTANTS.issuperset(constants)


def load_edgetpu_table(folder: Path) -> EdgeTpuTable:
    """Reads the table of a models folder. Raises InputError (missing) and ConfigError (wrong)."""
    path = folder / TABLE
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), EdgeTpuTable)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(str(path), "", str(error)) from error
