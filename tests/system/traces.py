# SPDX-License-Identifier: Apache-2.0
"""What a person's face would look like as bytes, and a search for it in memory, files and messages.

A trace is looked for by eight of its bytes first, at every offset, and then by all of them. Bytes that say nothing
(black, grey, one level again and again) make no trace: they would be found everywhere.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

KEY_BYTES = 8
LEAST_DIFFERENT = 6  # of a key's bytes
CROP_ROWS = (28, 44, 60, 76)  # eyes to mouth
ROW_BYTES = 96
CHUNK_BYTES = 16 * 1024 * 1024
WRITABLE = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) rw")


@dataclass
class Traces:
    """Byte patterns by name. `add...` a person's, then `found` in anything."""

    patterns: dict[bytes, list[tuple[str, bytes, int]]] = field(default_factory=dict)

    def add(self, name: str, pattern: bytes) -> None:
        """One pattern; left out where no eight bytes in a row of it tell anything."""
        places = range(len(pattern) - KEY_BYTES + 1)
        best = max(places, key=lambda place: len(set(pattern[place : place + KEY_BYTES])))
        key = pattern[best : best + KEY_BYTES]
        if len(set(key)) >= LEAST_DIFFERENT:
            self.patterns.setdefault(key, []).append((name, pattern, best))

    def add_crop(self, name: str, crop: NDArray[np.uint8]) -> None:
        """Rows of an aligned crop ((112, 112, 3) uint8 RGB): as pixels, and as models take them."""
        for row in CROP_ROWS:
            pixels = crop[row, 24:88].reshape(-1)
            self.add(f"{name} crop row {row} uint8", pixels[:ROW_BYTES].tobytes())
            self.add(f"{name} crop row {row} int8", (pixels[:ROW_BYTES] ^ np.uint8(0x80)).tobytes())
            values = np.subtract(pixels[: ROW_BYTES // 4], np.float32(127.5), dtype=np.float32)
            self.add(f"{name} crop row {row} float32", (values * np.float32(1 / 128)).tobytes())

    def add_embedding(self, name: str, embedding: NDArray[np.float32]) -> None:
        """(D,) float32 of unit length: pieces of it in the forms in which somebody might keep it."""
        for start in (0, 48, 96):
            part = embedding[start : start + 12]
            self.add(f"{name} embedding {start} float32", part.tobytes())
            self.add(f"{name} embedding {start} float16", part.astype(np.float16).tobytes())
            quantised = np.clip(np.round(embedding[start : start + 24] * 128), -128, 127).astype(np.int8)
            self.add(f"{name} embedding {start} int8", quantised.tobytes())
        # Base64 of the whole, less its end; JSON as Python and msgspec write floats, and rounded.
        self.add(f"{name} embedding base64", base64.b64encode(embedding.tobytes())[:64])
        for digits in (17, 6, 4):
            text = ",".join(json.dumps(round(float(value), digits)) for value in embedding[:8])
            self.add(f"{name} embedding JSON {digits}", text.encode())

    def found(self, blobs: Iterable[bytes]) -> list[str]:
        """The names of what is there."""
        keys = np.array(sorted(int.from_bytes(key, "little") for key in self.patterns), np.uint64)
        likely = np.zeros(65_536, np.bool_)
        likely[keys & np.uint64(0xFFFF)] = True
        names: set[str] = set()
        for blob in blobs:
            for offset in range(min(KEY_BYTES, len(blob) - KEY_BYTES + 1)):
                count = (len(blob) - offset) // KEY_BYTES
                words = np.frombuffer(blob, np.uint64, count, offset)
                near = np.flatnonzero(likely[words & np.uint64(0xFFFF)])
                place = np.minimum(np.searchsorted(keys, words[near]), len(keys) - 1)
                for hit in near[keys[place] == words[near]].tolist():
                    names.update(self._at(blob, offset + hit * KEY_BYTES))
        return sorted(names)

    def _at(self, blob: bytes, at: int) -> Iterator[str]:
        for name, pattern, before in self.patterns[blob[at : at + KEY_BYTES]]:
            start = at - before
            if start >= 0 and blob[start : start + len(pattern)] == pattern:
                yield name


def memory_of(pid: int) -> Iterator[bytes]:
    """What a process can write to, in pieces that overlap. For its user or root; best while it is stopped."""
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            found = WRITABLE.match(line)
            if found is None or "[v" in line:
                continue
            start, end = (int(each, 16) for each in found.groups())
            for at in range(start, end, CHUNK_BYTES):
                memory.seek(at)
                try:
                    yield memory.read(min(CHUNK_BYTES + 4096, end - at))
                except OSError:  # a page that is not there
                    continue


def files_in(*folders: Path) -> Iterator[bytes]:
    """Every file below these folders, free pages of databases included."""
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                yield path.read_bytes()
