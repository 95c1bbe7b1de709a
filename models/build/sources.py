# SPDX-License-Identifier: Apache-2.0
"""The ONNX files that everything is built from: their names, hashes, and how to get them.

A file is used only if its SHA-256 is the one below; a folder on this machine is as good as the network.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

COMMIT = "966be4cb"
# Files in Git LFS come from this address; its raw-file host would give their pointers.
ADDRESS = "https://github.com/opencv/opencv_zoo/raw/{commit}/models/{path}"
CHUNK_BYTES = 1 << 16


class SourceError(Exception):
    """A file that is missing, cannot be fetched, or is not the one it should be. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Source:
    """One ONNX file of opencv_zoo."""

    path: str
    sha256: str
    licence: str

    @property
    def file(self) -> str:
        """Its name without the folders."""
        return self.path.rpartition("/")[2]

    @property
    def origin(self) -> str:
        """Where it is published, for people."""
        return f"https://github.com/opencv/opencv_zoo, models/{self.path} (commit {COMMIT})"


YUNET = Source(
    "face_detection_yunet/face_detection_yunet_2023mar.onnx",
    "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
    "MIT",
)
SFACE = Source(
    "face_recognition_sface/face_recognition_sface_2021dec.onnx",
    "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
    "Apache-2.0",
)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checked_file(path: Path, sha256: str) -> Path:
    """`path`, if its content has this hash. Raises SourceError with both sides otherwise."""
    try:
        found = sha256_of(path)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
    if found != sha256:
        both = f"expected sha256 {sha256}\n  found    sha256 {found}"
        hint = "remove it, or give the folder of the right one with --sources"
        raise SourceError(f"{path}: not the file this builder knows\n  {both}\n  {hint}")
    return path


def obtain(source: Source, folder: Path | None, downloads: Path) -> Path:
    """The source's file: from `folder` where one is given, else from `downloads`, fetched into it if missing."""
    if folder is not None:
        return checked_file(folder / source.file, source.sha256)
    path = downloads / source.file
    if not path.exists():
        downloads.mkdir(parents=True, exist_ok=True)
        _fetch(ADDRESS.format(commit=COMMIT, path=source.path), path)
    return checked_file(path, source.sha256)


def _fetch(address: str, path: Path) -> None:
    """Downloads with a progress bar; the file appears under its name only when it is whole."""
    part = path.with_name(f"{path.name}.part")
    try:
        with urllib.request.urlopen(address, timeout=30) as reply, part.open("wb") as file:
            total = int(reply.headers.get("Content-Length") or 0)
            done = 0
            while chunk := reply.read(CHUNK_BYTES):
                file.write(chunk)
                done += len(chunk)
                _show_progress(path.name, done, total)
    except OSError as error:
        hint = f"fetch {path.name} by other means and give its folder with --sources"
        raise SourceError(f"{address}: cannot be fetched: {error}\n  {hint}") from error
    finally:
        print(file=sys.stderr)
    if total and done != total:
        raise SourceError(f"{address}: ended after {done} of {total} bytes; run again")
    shutil.move(part, path)


def _show_progress(name: str, done: int, total: int) -> None:
    if not total:
        print(f"\r{name}: {done / 1e6:.1f} MB", end="", file=sys.stderr)
        return
    filled = 30 * done // total
    bar = "#" * filled + "." * (30 - filled)
    print(f"\r{name}: [{bar}] {done / 1e6:.1f} of {total / 1e6:.1f} MB", end="", file=sys.stderr)
