# SPDX-License-Identifier: Apache-2.0
"""What both PyAV cameras share: what may be opened, and how a decoded frame becomes a picture."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from device.errors import InputError
from device.vision.views import Size, fitted

if TYPE_CHECKING:
    from av import VideoFrame
    from numpy.typing import NDArray

# Names of FFmpeg's demuxers, for its option `format_whitelist`.
CONTAINERS = "mov,mp4,matroska,webm,avi,mpegts,mpeg,ogg,flv,asf,mjpeg,h264,hevc,m4v"
LOCAL_ONLY = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS}
PROTOCOL = re.compile(r"[A-Za-z][A-Za-z0-9+.,-]*:")
Picture: TypeAlias = "NDArray[np.uint8]"  # (H, W, 3) RGB


def load_av() -> Any:
    """The PyAV package. Raises InputError where it is not installed."""
    try:
        import av
    except ImportError as error:
        raise InputError(
            f"video files and USB cameras need PyAV, which cannot be imported ({error})",
            hint="pip install porter-camera[video]",
        ) from error
    return av


def refuse_protocol(path: str) -> None:
    """Raises InputError where `path` names a protocol (`rtsp://...`, `concat:...`), not a local path."""
    if PROTOCOL.match(path):
        raise InputError(
            f"{path}: expected a local file or device; Porter opens no network address and no protocol",
            hint="give the path of a local file (with ./ in front where its name holds a colon)",
        )


def picture_of(frame: VideoFrame, limit_px: Size) -> Picture:
    """A decoded frame, upright, scaled down to fit `limit_px` (FFmpeg's area scaler). (H, W, 3) uint8 RGB."""
    quarter_turns = round(getattr(frame, "rotation", 0) / 90) % 4  # counter-clockwise; PyAV >= 14 knows it
    limit = (limit_px[1], limit_px[0]) if quarter_turns % 2 else limit_px
    width, height = fitted((frame.width, frame.height), limit)
    picture = frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="AREA")
    return np.ascontiguousarray(np.rot90(picture, quarter_turns), dtype=np.uint8)


def phrase(error: Exception) -> str:
    """What an error says, without the path, which the message names already."""
    return str(getattr(error, "strerror", None) or error)
