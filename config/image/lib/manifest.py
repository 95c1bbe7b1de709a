# SPDX-License-Identifier: Apache-2.0
"""The file by which Raspberry Pi Imager offers an image: `manifest.py IMAGE URL` prints it, for `flash.sh manifest`.

The form is the "os_list" of Imager's doc/json-schema. `init_format` is none: Imager's own customisation would write
files that this image does not read; settings go onto the card as docs/card.md says. Any Python 3.11 or newer.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import IO

NAME = re.compile(
    r"porter-(?P<version>.+)-(?P<board>rpi[45])-(?P<flavour>debian|raspios)\.img(\.(zst|xz|gz))?"
)
UNPACK = {"zst": ["zstd", "-dcq"], "xz": ["xz", "-dc"], "gz": ["gzip", "-dc"]}
BOARDS = {"rpi4": ("Raspberry Pi 4", "pi4-64bit"), "rpi5": ("Raspberry Pi 5", "pi5-64bit")}
# Imager wants an icon: a door with a lens.
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 40"><rect x="9" y="3" width="22" height="34" rx="2"'
    ' fill="#3b5b6d"/><circle cx="20" cy="14" r="5" fill="#fff"/><circle cx="27" cy="23" r="1.5" fill="#fff"/></svg>'
)


def digest(stream: IO[bytes]) -> tuple[int, str]:
    """How many bytes, and their SHA-256."""
    found, size = hashlib.sha256(), 0
    while data := stream.read(1 << 20):
        found.update(data)
        size += len(data)
    return size, found.hexdigest()


def unpacked(image: Path) -> tuple[int, str]:
    """The same of what is in a packed image. Raises ValueError where it cannot be unpacked."""
    command = UNPACK.get(image.suffix.removeprefix("."))
    if command is None:
        with image.open("rb") as opened:
            return digest(opened)
    with subprocess.Popen([*command, image], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        found = digest(process.stdout) if process.stdout else (0, "")
    if process.returncode:
        raise ValueError(f"{image}: could not be unpacked by {command[0]}")
    return found


def manifest(image: Path, url: str) -> dict[str, object]:
    """What Imager reads. url: of the image, or of the folder where it is served. Raises ValueError, OSError."""
    name = NAME.fullmatch(image.name)
    if name is None:
        raise ValueError(
            f"{image}: expected a name as flash.sh build gives it, porter-VERSION-BOARD-FLAVOUR.img.zst"
        )
    if not re.fullmatch(r"(https?|file)://\S+", url):
        raise ValueError(f"--url {url}: expected https://, http:// or file://")
    board, tag = BOARDS[name["board"]]
    with image.open("rb") as opened:
        packed_size, packed_hash = digest(opened)
    size, sha256 = unpacked(image)
    made = dt.datetime.fromtimestamp(image.stat().st_mtime, dt.UTC)
    entry = {
        "name": f"Porter {name['version']} ({board}, {name['flavour']})",
        "description": "A door camera that knows only the people who asked to be known",
        "icon": "data:image/svg+xml;base64," + base64.b64encode(ICON.encode()).decode(),
        "url": url if url.endswith(image.name) else f"{url.rstrip('/')}/{image.name}",
        "extract_size": size,
        "extract_sha256": sha256,
        "image_download_size": packed_size,
        "image_download_sha256": packed_hash,
        "release_date": made.date().isoformat(),
        "init_format": "none",
        "devices": [tag],
    }
    return {"os_list": [entry]}


def main() -> int:
    """Exit codes: 0, or 2 for what is wrong with the image or the URL."""
    try:
        print(json.dumps(manifest(Path(sys.argv[1]), sys.argv[2]), indent=2))
    except (ValueError, OSError) as error:
        print(f"flash.sh: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
