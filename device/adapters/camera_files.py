# SPDX-License-Identifier: Apache-2.0
"""A camera that shows pictures from files: a folder of them, a single one, or an animated GIF or WebP.

What may surprise: a looping folder is listed again at each loop, and its path is followed again, so that pictures may
be replaced, or the folder (a symbolic link) pointed elsewhere, while it runs. Should it be empty then, `capture` waits
and raises CameraStalledError; it may be called again without a reset. An animation is shown at `rate_hz`, whatever
delays are written in it.
"""

from __future__ import annotations

import logging
import re
import struct
import time
import zlib
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from device.errors import CameraStalledError, InputError
from device.pace import Pace
from device.records import Frame
from device.vision.views import Size, fitted, lores_and_luma, scaled

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from numpy.typing import NDArray

    from device.ports import Clock

log = logging.getLogger("porter.camera")

STILLS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
PICTURES = (*STILLS, ".gif")
# Named, so that a file never reaches a decoder that starts other programs (EPS) whatever its first bytes say.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
ANIMATED = (
    "GIF",
    "WEBP",
)  # a JPEG may hold two pictures as well (MPO), but the second is a gain map or a preview
MAX_PIXELS = 64_000_000
POLL_S = 0.1
# What Pillow is known to raise on a damaged file: its decoders parse with struct and index into what they read. The
# warning counts too: it comes as an error where Python is told to make warnings errors.
DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    LookupError,
    TypeError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)

Picture: TypeAlias = "NDArray[np.uint8]"  # (H, W, 3) RGB


def kind_of(path: str | Path) -> Literal["pictures", "video"]:
    """Which camera shows `path`: this one for a folder or a picture file, the video one for anything else.

    What is not there and has no suffix was meant to be a folder: its error should say so.
    """
    path = Path(path)
    missing_folder = not path.suffix and not path.exists()
    return "pictures" if path.is_dir() or path.suffix.lower() in PICTURES or missing_folder else "video"


def natural_order(path: Path) -> tuple[list[str | int], str]:
    """Sort key: `frame2` before `frame10`; upper and lower case together."""
    parts = re.split(r"([0-9]+)", path.name.casefold())
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], path.name


class FilesCamera:
    """`ports.Camera` over picture files. Pictures larger than `width_px` x `height_px` are scaled down to fit.

    rate_hz: frames a second on `clock`; 0 means as fast as they are asked for. A frame that is late is not made up for.
    wait: called with the seconds until the next frame is due.
    """

    live = False

    def __init__(
        self,
        path: str | Path,
        clock: Clock,
        width_px: int,
        height_px: int,
        *,
        lores_px: Size,
        rate_hz: float = 0.0,
        loop: bool = False,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.skipped = 0  # pictures that could not be read, since construction
        self._path = Path(path)
        self._limit_px = (width_px, height_px)
        self._lores_px = lores_px
        self._pace = Pace(clock, wait, 1 / rate_hz if rate_hz else 0.0)
        self._loop = loop
        self._wait = wait
        self._pictures: Generator[Picture | None, None, None] | None = None
        self._sequence = 0
        self._reported: set[Path] = set()

    def open(self) -> None:
        """Looks at the folder, or decodes the file's first picture. Raises InputError."""
        self.close()
        if self._path.is_dir():
            if not self._list():
                expected = ", ".join(STILLS)
                raise InputError(
                    f"{self._path}: expected pictures in this folder ({expected}), found none",
                    hint="put pictures into it, or name another folder",
                )
            self._pictures = self._folder()
        else:
            self._check_file()
            self._pictures = self._file()
        self._pace.restart()

    def capture(self, timeout_s: float) -> Frame | None:
        """The next picture, when it is due (even where that is later than `timeout_s`); None after the last."""
        if self._pictures is None:
            raise RuntimeError("capture before open")
        waited_s = 0.0
        for main in self._pictures:
            if main is not None:
                lores, luma = lores_and_luma(main, self._lores_px)
                self._sequence += 1
                return Frame(self._sequence, self._pace.when_due(), main, lores, luma)
            if waited_s >= timeout_s:
                raise CameraStalledError(
                    f"{self._path}: no picture in this folder for {timeout_s:g} s",
                    hint="put pictures into it",
                )
            self._wait(POLL_S)
            waited_s += POLL_S
        return None

    def close(self) -> None:
        """Closes the file; harmless when already closed."""
        if self._pictures is not None:
            self._pictures.close()
            self._pictures = None

    def _list(self) -> list[Path]:
        try:
            found = [entry for entry in self._path.iterdir() if entry.suffix.lower() in STILLS]
        except FileNotFoundError:  # a link that is being pointed elsewhere
            return []
        except OSError as error:
            raise unreadable(self._path, error) from error
        return sorted((e for e in found if not e.name.startswith(".") and e.is_file()), key=natural_order)

    def _folder(self) -> Generator[Picture | None, None, None]:
        while True:
            files = self._list()
            damaged = 0
            for file in files:
                try:
                    yield self._still(file)
                except FileNotFoundError:  # replaced since it was listed
                    continue
                except DAMAGED as error:
                    damaged += 1
                    self._skip(file, error)
            if files and damaged == len(files):
                raise InputError(
                    f"{self._path}: expected pictures, but not one of its {damaged} files can be read",
                    hint="the log names each file and what is wrong with it",
                )
            if not self._loop:
                return
            if not files:
                yield None
            self._reported &= set(files)

    def _still(self, file: Path) -> Picture:
        with Image.open(file, formats=FORMATS) as image:
            return self._converted(image)

    def _check_file(self) -> None:
        if self._path.exists() and self._path.suffix.lower() not in PICTURES:
            raise InputError(
                f"{self._path}: expected a picture ({', '.join(PICTURES)}) or a folder of them",
                hint="name the file as what it is, or give another one",
            )
        try:
            self._still(self._path)
        except DAMAGED as error:
            raise unreadable(self._path, error) from error

    def _file(self) -> Generator[Picture | None, None, None]:
        while True:
            shown = 0
            try:
                with Image.open(self._path, formats=FORMATS) as image:
                    for index in count():
                        if index and (image.format not in ANIMATED or not seek(image, index)):
                            break
                        picture = self._converted(image)
                        shown += 1
                        yield picture
            except DAMAGED as error:
                if not shown:
                    raise unreadable(self._path, error) from error
                self._skip(self._path, error)
            if not self._loop:
                return

    def _converted(self, image: Image.Image) -> Picture:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise Image.DecompressionBombError(f"{width} x {height} px")
        upright = flattened(ImageOps.exif_transpose(image))
        return np.array(scaled(upright, fitted(upright.size, self._limit_px)), dtype=np.uint8)

    def _skip(self, file: Path, error: BaseException) -> None:
        self.skipped += 1
        if file not in self._reported:
            self._reported.add(file)
            log.warning("picture_skipped file=%r reason=%r", file.name, what_is_wrong(error))


def flattened(image: Image.Image) -> Image.Image:
    """`image` as RGB; what is transparent becomes black, not whatever colour is hidden there."""
    if image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info:
        opaque = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", opaque.size, (0, 0, 0, 255)), opaque).convert("RGB")
    return image.convert("RGB")


def seek(image: Image.Image, index: int) -> bool:
    """Goes to an animation's frame; False where there is none."""
    try:
        image.seek(index)
    except EOFError:
        return False
    return True


def what_is_wrong(error: BaseException) -> str:
    """One phrase on why a picture cannot be read."""
    if isinstance(error, UnidentifiedImageError):
        return "not a picture in a format that Porter reads"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"more than {MAX_PIXELS // 1_000_000} million pixels"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"damaged or truncated ({error})"


def unreadable(path: Path, error: BaseException) -> InputError:
    """The InputError for a file or folder that cannot be used."""
    hints = (
        (FileNotFoundError, "check the path; a folder, a picture or an animated GIF is meant"),
        (PermissionError, "let the user that Porter runs as read it"),
        (Image.DecompressionBombError, "make the picture smaller"),
    )
    hint = next(
        (text for kind, text in hints if isinstance(error, kind)), "replace the file with an intact picture"
    )
    return InputError(f"{path}: expected a readable picture, but: {what_is_wrong(error)}", hint=hint)
