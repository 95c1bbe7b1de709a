# SPDX-License-Identifier: Apache-2.0
"""Video files and USB cameras through PyAV: sampling, rotation, bad input, and that nothing but a local file opens."""

from __future__ import annotations

import socket
import sys
import wave
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest

from device.adapters.camera_video import UsbCamera, VideoFileCamera
from device.adapters.camera_video.file import with_steps
from device.adapters.camera_video.pyav import LOCAL_ONLY
from device.adapters.clock import ManualClock
from device.errors import InputError
from tests.pictures import Waits, number_of, save_video

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


NETWORK = [
    "rtsp://127.0.0.1/stream",
    "rtmp://127.0.0.1/stream",
    "http://127.0.0.1/a.mp4",
    "https://127.0.0.1/a.mp4",
    "tcp:127.0.0.1:9",
    "udp://127.0.0.1:9",
    "concat:a.mp4|b.mp4",
    "subfile,,start,0,end,9,,:a.mp4",
    "pipe:0",
    "data:video/mp4;base64,AAAA",
    "file:/etc/hostname",
    "HTTP://127.0.0.1/a.mp4",
]


def video_camera(path: Path | str, **options: Any) -> VideoFileCamera:
    """A camera of 64 x 48 px over `path` that never sleeps."""
    clock = ManualClock()
    settings: dict[str, Any] = {"lores_px": (32, 32), "wait": Waits(clock)} | options
    return VideoFileCamera(path, clock, 64, 48, **settings)


def numbers(camera: VideoFileCamera, frames: int) -> list[int | None]:
    """Captures so many frames."""
    return [number_of(camera.capture(1.0)) for _ in range(frames)]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.mov", "a.ts"])
def test_every_frame_is_shown_at_rate_0(tmp_path: Path, name: str) -> None:
    """In order, from each common container."""
    camera = video_camera(save_video(tmp_path / name, 5))
    camera.open()
    assert numbers(camera, 6) == [0, 1, 2, 3, 4, None]


def test_a_video_is_sampled_in_its_own_time(tmp_path: Path) -> None:
    """Of 10 frames a second, 5 a second leaves out each second one; 20 a second shows each twice."""
    video = save_video(tmp_path / "a.mp4", 6, rate_hz=10)
    slow, fast = video_camera(video, rate_hz=5), video_camera(video, rate_hz=20)
    slow.open()
    fast.open()
    assert numbers(slow, 4) == [0, 2, 4, None]
    assert numbers(fast, 12) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, None]


def test_sampled_frames_are_paced_on_the_clock(tmp_path: Path) -> None:
    """Stamps lie a period apart."""
    camera = video_camera(save_video(tmp_path / "a.mp4", 6, rate_hz=10), rate_hz=5)
    camera.open()
    first, second = camera.capture(1.0), camera.capture(1.0)
    assert first is not None
    assert second is not None
    assert second.captured.boot_ns - first.captured.boot_ns == 200_000_000


def test_a_video_loops(tmp_path: Path) -> None:
    """From its beginning, at any rate."""
    video = save_video(tmp_path / "a.mp4", 3, rate_hz=10)
    for options in ({"loop": True}, {"loop": True, "rate_hz": 10}):
        camera = video_camera(video, **options)
        camera.open()
        assert numbers(camera, 7) == [0, 1, 2, 0, 1, 2, 0]
        camera.close()


def test_large_frames_are_scaled_to_fit(tmp_path: Path) -> None:
    """The aspect is kept."""
    camera = video_camera(save_video(tmp_path / "a.mp4", 1, size_px=(640, 240)))
    camera.open()
    frame = camera.capture(1.0)
    assert frame is not None
    assert (frame.main.shape, frame.lores.shape) == ((24, 64, 3), (12, 32, 3))


def test_a_telephone_video_stands_upright(tmp_path: Path) -> None:
    """Its matrix (in `tkhd`) says: turn clockwise by a quarter. What was on the left comes on top."""
    video = save_video(tmp_path / "a.mp4", 1, size_px=(48, 32))
    content = bytearray(video.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40
    turned = [0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30]
    content[matrix : matrix + 36] = b"".join(entry.to_bytes(4, "big", signed=True) for entry in turned)
    video.write_bytes(content)
    camera = video_camera(video)
    camera.open()
    frame = camera.capture(1.0)
    assert frame is not None
    assert frame.main.shape == (48, 32, 3)
    assert frame.main[4, 16, 0] > 200 > frame.main[-4, 16, 0]


def test_holes_in_the_time_stamps_are_bridged() -> None:
    """A jump ahead by an hour, a step back and a missing stamp each count as the usual step."""
    times = [5.0, 5.5, 3605.5, 3606.0, 2.0, None, 9.0, 9.25]
    frames: Any = [SimpleNamespace(time=time) for time in times]
    assert [step for _, step in with_steps(iter(frames))] == [0.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.25]


@pytest.mark.parametrize("path", NETWORK)
def test_a_path_with_a_protocol_is_refused_by_both_cameras(path: str) -> None:
    """Before PyAV sees it."""
    usb = UsbCamera(path, ManualClock(), 64, 48, lores_px=(32, 32))
    for camera in (video_camera(path), usb):
        with pytest.raises(InputError, match="Porter opens no network address"):
            camera.open()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A server that notices whoever connects."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        yield server


PLAYLISTS: dict[str, Callable[[str, str], str]] = {
    "a.m3u8": lambda url, _: f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{url}\n#EXT-X-ENDLIST\n",
    "a.mp4": lambda url, _: f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{url}\n#EXT-X-ENDLIST\n",
    "a.ffconcat": lambda url, local: f"ffconcat version 1.0\nfile {local}\nfile {url}\n",
    "a.sdp": lambda url, _: (
        f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
        f"m=video {url.split(':')[2].split('/')[0]} RTP/AVP 26\n"
    ),
    "a.mpd": lambda url, _: (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT1S" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period>'
        f'<AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>{url}</BaseURL>'
        "</Representation></AdaptationSet></Period></MPD>"
    ),
}


@pytest.mark.parametrize("name", PLAYLISTS)
def test_a_playlist_reaches_nobody(tmp_path: Path, listener: socket.socket, name: str) -> None:
    """A local file that names a network address is refused, and nobody is called."""
    save_video(tmp_path / "local.mp4", 2)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/a.mp4"
    (tmp_path / name).write_text(PLAYLISTS[name](url, "local.mp4"))
    with pytest.raises(InputError, match=name):
        video_camera(tmp_path / name).open()
    with pytest.raises(TimeoutError):
        listener.accept()


def test_the_listener_would_have_noticed(tmp_path: Path, listener: socket.socket) -> None:
    """The test above can fail: without Porter's options PyAV does follow such a playlist."""
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/a.ts"
    (tmp_path / "a.m3u8").write_text(PLAYLISTS["a.m3u8"](url, ""))
    everything = {"protocol_whitelist": "file,http,tcp", "rw_timeout": "100000"}
    with pytest.raises(av.error.FFmpegError):
        av.open(str(tmp_path / "a.m3u8"), container_options=everything, timeout=0.5)
    listener.accept()[0].close()


def test_a_playlist_of_local_files_is_refused_too(tmp_path: Path) -> None:
    """Only containers that hold their own pictures are read."""
    save_video(tmp_path / "local.ts", 2)
    (tmp_path / "a.m3u8").write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nlocal.ts\n#EXT-X-ENDLIST\n"
    )
    with pytest.raises(InputError, match="containers that are read") as caught:
        video_camera(tmp_path / "a.m3u8").open()
    assert "hls" not in caught.value.hint


def test_pyav_may_use_no_protocol_but_file() -> None:
    """And no container that names other files."""
    assert LOCAL_ONLY["protocol_whitelist"] == "file"
    assert not {"hls", "dash", "sdp", "rtp", "rtsp", "concat", "image2", "lavfi", "applehttp"} & set(
        LOCAL_ONLY["format_whitelist"].split(",")
    )


def test_a_missing_video_is_refused(tmp_path: Path) -> None:
    """Named, with what to do."""
    with pytest.raises(InputError, match=r"a\.mp4: expected a video file, found nothing") as caught:
        video_camera(tmp_path / "a.mp4").open()
    assert caught.value.hint == "check the path"


def test_a_folder_is_no_video(tmp_path: Path) -> None:
    """Nor anything else that is not a file."""
    with pytest.raises(InputError, match="expected a video file"):
        video_camera(tmp_path).open()


@pytest.mark.parametrize("content", [b"", b"hello" * 100], ids=["empty", "text"])
def test_what_is_no_video_inside_is_refused(tmp_path: Path, content: bytes) -> None:
    """Whatever its name says."""
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.mp4: expected a video that Porter can show"):
        video_camera(tmp_path / "a.mp4").open()


def test_sound_alone_is_refused(tmp_path: Path) -> None:
    """A container without pictures."""
    with av.open(str(tmp_path / "a.mkv"), "w") as output:
        stream = output.add_stream("pcm_s16le", rate=8000)
        assert isinstance(stream, av.AudioStream)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        output.mux(stream.encode(frame))
        output.mux(stream.encode())
    with pytest.raises(InputError, match="only sound"):
        video_camera(tmp_path / "a.mkv").open()


def test_a_wave_file_is_refused(tmp_path: Path) -> None:
    """Its container is not on the list."""
    with wave.open(str(tmp_path / "a.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(1600))
    with pytest.raises(InputError, match=r"a\.wav"):
        video_camera(tmp_path / "a.wav").open()


def test_a_truncated_mp4_is_refused(tmp_path: Path) -> None:
    """Its index stood at the end."""
    whole = save_video(tmp_path / "a.mp4", 20).read_bytes()
    (tmp_path / "a.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"a\.mp4: expected a video that Porter can show"):
        video_camera(tmp_path / "a.mp4").open()


def test_a_truncated_stream_plays_as_far_as_it_goes(tmp_path: Path) -> None:
    """Matroska needs no index."""
    whole = save_video(tmp_path / "a.mkv", 20).read_bytes()
    (tmp_path / "a.mkv").write_bytes(whole[: len(whole) // 2])
    camera = video_camera(tmp_path / "a.mkv")
    camera.open()
    shown = numbers(camera, 21)
    assert shown[:3] == [0, 1, 2]
    assert shown[-1] is None


def test_damage_in_the_middle_is_counted_and_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Frames before and after it are shown; one line in the log."""
    video = save_video(tmp_path / "a.avi", 12, codec="mjpeg")
    content = bytearray(video.read_bytes())
    frames_at = content.index(b"movi")
    starts = [at for at in range(frames_at, len(content) - 4) if content[at : at + 4] == b"00dc"][:12]
    for start in starts[4:6]:
        size = int.from_bytes(content[start + 4 : start + 8], "little")
        content[start + 8 : start + 8 + size] = bytes(size)
    video.write_bytes(content)
    camera = video_camera(video)
    camera.open()
    shown = [number for number in numbers(camera, 12) if number is not None]
    assert shown[:4] == [0, 1, 2, 3]
    assert shown[-1] == 11
    assert camera.skipped == 2
    assert [record.message.split()[0] for record in caplog.records if record.name == "porter.camera"] == [
        "packet_skipped"
    ]


def test_a_video_that_goes_bad_while_it_loops_is_an_input_error(tmp_path: Path) -> None:
    """It is opened again at each loop."""
    camera = video_camera(save_video(tmp_path / "a.mp4", 2), loop=True)
    camera.open()
    assert numbers(camera, 2) == [0, 1]
    (tmp_path / "a.mp4").write_bytes(b"gone")
    with pytest.raises(InputError, match=r"a\.mp4"):
        camera.capture(1.0)


def test_without_pyav_the_hint_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both cameras import it only when they are opened."""
    video = save_video(tmp_path / "a.mp4", 1)
    monkeypatch.setitem(sys.modules, "av", None)
    for camera in (video_camera(video), UsbCamera("/dev/null", ManualClock(), 64, 48, lores_px=(32, 32))):
        with pytest.raises(InputError, match="need PyAV") as caught:
            camera.open()
        assert caught.value.hint == "pip install porter-camera[video]"
