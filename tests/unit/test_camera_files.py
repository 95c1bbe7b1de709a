# SPDX-License-Identifier: Apache-2.0
"""The camera over picture files: order, size, pace, and every kind of bad input."""

from __future__ import annotations

import os
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from device.adapters import camera_files
from device.adapters.camera_files import FilesCamera, kind_of
from device.adapters.clock import ManualClock
from device.errors import CameraStalledError, InputError
from tests.pictures import Waits, drawn, save, save_gif

if TYPE_CHECKING:
    from pathlib import Path


def camera_over(path: Path, **options: object) -> FilesCamera:
    """A camera of 64 x 48 px over `path` that never sleeps."""
    clock = ManualClock()
    settings = {"lores_px": (32, 32), "wait": Waits(clock)} | options
    return FilesCamera(path, clock, 64, 48, **settings)  # type: ignore[arg-type]


def greys(camera: FilesCamera, frames: int) -> list[int | None]:
    """Captures so many frames; the drawn number of each (see `pictures.drawn`), None at the end."""
    shown = [camera.capture(1.0) for _ in range(frames)]
    return [None if frame is None else round((int(frame.main[20, -5, 1]) - 20) / 15) for frame in shown]


def test_a_folder_is_shown_in_natural_order(tmp_path: Path) -> None:
    """2 comes before 10, whatever the letters' case; hidden files, other files and folders are not pictures."""
    for name, number in (("f10.png", 3), ("F2.png", 1), ("f1.jpg", 0), ("f3.BMP", 2)):
        save(tmp_path / name, number)
    save(tmp_path / ".f0.png", 9)
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "f4.png").mkdir()
    camera = camera_over(tmp_path)
    camera.open()
    assert greys(camera, 5) == [0, 1, 2, 3, None]


def test_names_with_digits_of_other_scripts_are_ordered_too(tmp_path: Path) -> None:
    """A superscript two is a digit to Unicode but not a number to Python."""
    save(tmp_path / "a².png", 1)
    save(tmp_path / "a1.png", 0)
    camera = camera_over(tmp_path)
    camera.open()
    assert greys(camera, 2) == [0, 1]


def test_a_looping_folder_is_listed_again_at_each_loop(tmp_path: Path) -> None:
    """A picture that was added, and one that was taken away, show at the next loop."""
    save(tmp_path / "1.png", 1)
    save(tmp_path / "2.png", 2)
    camera = camera_over(tmp_path, loop=True)
    camera.open()
    assert greys(camera, 1) == [1]
    save(tmp_path / "3.png", 3)
    (tmp_path / "1.png").unlink()
    assert greys(camera, 3) == [2, 2, 3]


def test_a_folder_behind_a_link_may_be_changed_while_it_runs(tmp_path: Path) -> None:
    """The demo swaps who stands at the door so."""
    for name, number in (("here", 1), ("there", 7)):
        (tmp_path / name).mkdir()
        save(tmp_path / name / "a.png", number)
    door = tmp_path / "door"
    door.symlink_to(tmp_path / "here")
    camera = camera_over(door, loop=True)
    camera.open()
    assert greys(camera, 2) == [1, 1]
    (tmp_path / "new").symlink_to(tmp_path / "there")
    (tmp_path / "new").replace(door)
    assert greys(camera, 2) == [7, 7]


def test_a_folder_that_becomes_empty_stalls_and_recovers(tmp_path: Path) -> None:
    """It is waited for up to the timeout; then another capture may find pictures, without a reset."""
    save(tmp_path / "1.png", 1)
    clock = ManualClock()
    waits = Waits(clock)
    camera = FilesCamera(tmp_path, clock, 64, 48, lores_px=(32, 32), loop=True, wait=waits)
    camera.open()
    assert greys(camera, 1) == [1]
    (tmp_path / "1.png").unlink()
    with pytest.raises(CameraStalledError, match="no picture"):
        camera.capture(2.0)
    assert 1.9 <= sum(waits.seconds) <= 2.2
    save(tmp_path / "2.png", 2)
    assert greys(camera, 1) == [2]


def test_a_folder_that_vanishes_stalls(tmp_path: Path) -> None:
    """A link that is being replaced points nowhere for a moment."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    save(folder / "1.png", 1)
    camera = camera_over(folder, loop=True)
    camera.open()
    assert greys(camera, 1) == [1]
    (folder / "1.png").unlink()
    folder.rmdir()
    with pytest.raises(CameraStalledError):
        camera.capture(0.5)


def test_an_animated_gif_is_shown_in_order_and_loops(tmp_path: Path) -> None:
    """Frame order is kept; a loop begins with the first again."""
    camera = camera_over(save_gif(tmp_path / "a.gif", 3), loop=True)
    camera.open()
    assert greys(camera, 5) == [0, 1, 2, 0, 1]
    camera.close()


def test_gif_frames_are_put_on_top_of_those_before(tmp_path: Path) -> None:
    """A frame that stores only what changed comes out whole."""
    first = Image.fromarray(drawn(2))
    second = first.copy()
    second.paste((0, 255, 0), (0, 0, 8, 8))
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second], disposal=1, optimize=True)
    camera = camera_over(tmp_path / "a.gif")
    camera.open()
    frames = [camera.capture(1.0), camera.capture(1.0)]
    camera.close()
    assert frames[0] is not None
    assert frames[1] is not None
    np.testing.assert_allclose(frames[1].main[20:], frames[0].main[20:], atol=3)
    assert frames[1].main[2, 2, 1] > 200


def test_large_pictures_are_scaled_to_fit_and_small_ones_never_enlarged(tmp_path: Path) -> None:
    """The aspect is kept. lores of a picture that fits into it is the picture itself."""
    save(tmp_path / "1.png", 0, (640, 240))
    save(tmp_path / "2.png", 0, (20, 10))
    camera = camera_over(tmp_path)
    camera.open()
    large, small = camera.capture(1.0), camera.capture(1.0)
    assert large is not None
    assert small is not None
    assert (large.main.shape, large.lores.shape) == ((24, 64, 3), (12, 32, 3))
    assert (small.main.shape, small.luma.shape) == ((10, 20, 3), (10, 20))
    assert small.lores is small.main


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    """A telephone writes the picture as the sensor lies and says how to turn it."""
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise by a quarter to show
    Image.fromarray(drawn(0, (48, 32))).save(tmp_path / "1.jpg", exif=exif, quality=95)
    camera = camera_over(tmp_path)
    camera.open()
    frame = camera.capture(1.0)
    assert frame is not None
    assert frame.main.shape == (48, 32, 3)
    assert frame.main[4, 16, 0] > 200 > frame.main[-4, 16, 0], "what was on the left is on top"


def test_transparent_pixels_are_black(tmp_path: Path) -> None:
    """Not the colour that hides under them."""
    hidden = np.full((8, 8, 4), 255, np.uint8)
    hidden[:, :4, 3] = 0
    Image.fromarray(hidden).save(tmp_path / "1.png")
    camera = camera_over(tmp_path)
    camera.open()
    frame = camera.capture(1.0)
    assert frame is not None
    assert frame.main[0, :, 0].tolist() == [0] * 4 + [255] * 4


def test_grey_pictures_of_16_bits_are_shown_or_skipped_but_never_crash(tmp_path: Path) -> None:
    """Pillow versions differ in what they can convert."""
    Image.fromarray(np.full((8, 8), 40000, np.uint16)).save(tmp_path / "1.png")
    save(tmp_path / "2.png", 2)
    camera = camera_over(tmp_path)
    camera.open()
    frames = [camera.capture(1.0) for _ in range(2 - camera.skipped)]
    assert frames[0] is not None
    assert frames[0].main.dtype == np.uint8


def test_frames_come_at_the_given_rate(tmp_path: Path) -> None:
    """At 5 Hz every wait leads to the next 200 ms; a late frame is shown at once, and no burst follows."""
    for number in range(6):
        save(tmp_path / f"{number}.png", number)
    clock = ManualClock()
    waits = Waits(clock)
    camera = FilesCamera(tmp_path, clock, 64, 48, lores_px=(32, 32), rate_hz=5, wait=waits)
    camera.open()
    begin_ns = clock.now().boot_ns
    stamps = [frame.captured.boot_ns - begin_ns for frame in (camera.capture(1.0) for _ in range(3)) if frame]
    assert stamps == [0, 200_000_000, 400_000_000]
    clock.advance(5.0)  # the pipeline was busy
    stamps = [frame.captured.boot_ns - begin_ns for frame in (camera.capture(1.0) for _ in range(3)) if frame]
    assert stamps == [5_400_000_000, 5_400_000_000, 5_600_000_000]


def test_rate_0_never_waits(tmp_path: Path) -> None:
    """As fast as frames are asked for."""
    save(tmp_path / "1.png")
    clock = ManualClock()
    waits = Waits(clock)
    camera = FilesCamera(tmp_path, clock, 64, 48, lores_px=(32, 32), loop=True, wait=waits)
    camera.open()
    for _ in range(5):
        camera.capture(1.0)
    assert waits.seconds == []


def test_a_bad_picture_in_a_folder_is_counted_logged_once_and_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Over two loops: two skips, one line in the log, no frame lost."""
    save(tmp_path / "1.png", 1)
    (tmp_path / "2.png").write_bytes((save(tmp_path / "x.png", 2)).read_bytes()[:80])
    (tmp_path / "x.png").unlink()
    save(tmp_path / "3.png", 3)
    camera = camera_over(tmp_path, loop=True)
    camera.open()
    assert greys(camera, 5) == [1, 3, 1, 3, 1]
    assert camera.skipped == 2
    lines = [record.message for record in caplog.records]
    assert len(lines) == 1
    assert lines[0].startswith("picture_skipped file='2.png' reason=")


def test_a_folder_of_bad_pictures_only_is_an_input_error(tmp_path: Path) -> None:
    """Rather than an endless, empty loop."""
    for name in ("1.jpg", "2.png"):
        (tmp_path / name).write_bytes(b"GIF89a or so")
    camera = camera_over(tmp_path, loop=True)
    camera.open()
    with pytest.raises(InputError, match="not one of its 2 files"):
        camera.capture(1.0)


def test_a_missing_path_is_refused(tmp_path: Path) -> None:
    """Named, with what was expected and what to do."""
    with pytest.raises(InputError, match=r"nowhere.*No such file") as caught:
        camera_over(tmp_path / "nowhere").open()
    assert "check the path" in caught.value.hint


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    """Empty, or with other files only."""
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match="found none"):
        camera_over(tmp_path).open()


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    """By its name, before it is read."""
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    with pytest.raises(InputError, match=r"a\.pdf: expected a picture"):
        camera_over(tmp_path / "a.pdf").open()


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"%!PS-Adobe-3.0 EPSF-3.0\n"], ids=["empty", "text", "postscript"]
)
def test_what_is_no_picture_inside_is_refused(tmp_path: Path, content: bytes) -> None:
    """Whatever its name says. PostScript never reaches a decoder: Pillow's would start Ghostscript."""
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(InputError, match="not a picture in a format that Porter reads"):
        camera_over(tmp_path / "a.jpg").open()


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp", "a.gif", "a.webp"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_truncated_picture_is_refused(tmp_path: Path, name: str, share: float) -> None:
    """In every format, at open, naming the file."""
    rng = np.random.default_rng(1)
    Image.fromarray(rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InputError, match=rf"{name}: expected a readable picture"):
        camera_over(tmp_path / name).open()


def test_random_damage_never_escapes_as_another_error(tmp_path: Path) -> None:
    """Bytes overwritten anywhere give a picture or an InputError; 40 damages of each format."""
    rng = np.random.default_rng(2)
    for name in ("a.jpg", "a.png", "a.bmp", "a.gif", "a.webp"):
        whole = np.frombuffer(save(tmp_path / name, 3).read_bytes(), np.uint8)
        for _ in range(40):
            damaged = whole.copy()
            damaged[rng.integers(0, len(whole), 6)] = rng.integers(0, 256, 6)
            (tmp_path / name).write_bytes(damaged.tobytes())
            camera = camera_over(tmp_path / name)
            try:
                camera.open()
            except InputError as error:
                assert name in error.message  # noqa: PT017  either outcome is right
            camera.close()


def test_a_gif_that_breaks_off_ends_there(tmp_path: Path) -> None:
    """Its whole frames are shown."""
    whole = save_gif(tmp_path / "a.gif", 4).read_bytes()
    (tmp_path / "a.gif").write_bytes(whole[: int(len(whole) * 0.7)])
    camera = camera_over(tmp_path / "a.gif")
    camera.open()
    shown = greys(camera, 5)
    assert shown[:2] == [0, 1]
    assert shown[-1] is None


@pytest.mark.parametrize("side", [9_000, 20_000], ids=["our limit", "Pillow's limit"])
def test_a_decompression_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, side: int) -> None:
    """A few kilobytes that would become hundreds of megabytes."""
    head = b"IHDR" + struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\0\0IDAT")
    with pytest.raises(InputError, match="more than 64 million pixels"):
        camera_over(tmp_path / "a.png").open()


def test_a_loop_of_links_is_refused(tmp_path: Path) -> None:
    """What the system says is passed on."""
    (tmp_path / "a.png").symlink_to(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png: expected a readable picture, but: .*symbolic"):
        camera_over(tmp_path / "a.png").open()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    """The hint names the user."""
    save(tmp_path / "a.png").chmod(0)
    with pytest.raises(InputError, match="Permission denied") as caught:
        camera_over(tmp_path / "a.png").open()
    assert "user" in caught.value.hint


def test_a_file_whose_pictures_go_bad_while_it_loops_is_an_input_error(tmp_path: Path) -> None:
    """It is opened again at each loop."""
    camera = camera_over(save(tmp_path / "a.png", 1), loop=True)
    camera.open()
    assert greys(camera, 2) == [1, 1]
    (tmp_path / "a.png").write_bytes(b"gone")
    with pytest.raises(InputError, match=r"a\.png"):
        camera.capture(1.0)


def test_kind_of_tells_pictures_from_videos(tmp_path: Path) -> None:
    """A folder, or by the name."""
    assert kind_of(tmp_path) == "pictures"
    assert kind_of("x/walk.GIF") == "pictures"
    assert kind_of("walk.mp4") == "video"
    assert kind_of(tmp_path / "frames") == "pictures", "a folder that is not there yet is told so as a folder"


def test_no_decoder_that_starts_programs_is_allowed() -> None:
    """EPS is read by Ghostscript; it must stay out of the list."""
    assert set(camera_files.FORMATS) == {"JPEG", "PNG", "WEBP", "BMP", "GIF"}
