# SPDX-License-Identifier: Apache-2.0
"""`porter replay`: a recording through the real pipeline, and every way in which a recording or a gallery is none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from device.adapters.clock import SystemClock
from device.adapters.gallery_sqlite import SqliteGallery
from device.cli import main
from device.demo_scenes import scene, write_scene
from device.options import Config, InferenceOptions
from device.records import Consent
from device.replay import make_replay
from device.sealing import read_device_key
from tests.door import enrolment
from tests.pictures import save_video

if TYPE_CHECKING:
    from pathlib import Path

DAY_NS = 86_400_000_000_000


@pytest.fixture(scope="module")
def anna(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight pictures of the astronaut."""
    return write_scene(tmp_path_factory.mktemp("replay") / "anna", "astronaut", frames=8)


def counts(printed: str) -> dict[str, int]:
    """The summary's rows."""
    return {row[:34].strip(): int(row[34:]) for row in printed.splitlines() if row[34:].strip().isdecimal()}


def gallery_of(path: Path, recording: Path, *, simulated: bool = True, given_days_ago: int = 0) -> Path:
    """A gallery in which the person of a recording is enrolled as Anna, with a consent for 30 days."""
    replay = make_replay(Config(inference=InferenceOptions(threads=1)), recording, 2.0)
    session = enrolment(min_quality=0.3)
    replay.pipeline.enrolment = session
    for _ in replay.play():
        if session.progress.state == "complete":
            break
    given_ns = SystemClock().now().utc_ns - given_days_ago * DAY_NS
    store = SqliteGallery(
        path,
        simulated=simulated,
        embedder="sface",
        embedder_sha256="0" * 64,
        dimension=128,
        device_key=read_device_key(None, path.parent),
    )
    consent = Consent("", "replay", "ab" * 32, given_ns, given_ns + 30 * DAY_NS, "alice")
    store.enrol("anna", consent, session.references())
    store.close()
    return path


def test_a_folder_is_replayed_and_counted(anna: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(anna)]) == 0
    printed = capsys.readouterr()
    numbers = counts(printed.out)
    assert numbers["frames"] == 8
    assert numbers["faces"] == 8
    assert numbers["embedded"] == 0
    assert "nobody is known here" in printed.err


def test_a_known_subject_has_one_start_and_one_end(
    anna: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gallery = gallery_of(tmp_path / "gallery.sqlite", anna)
    before = gallery.read_bytes()
    assert main(["replay", str(anna), "--gallery", str(gallery), "--json"]) == 0
    start, end = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (start["phase"], end["phase"]) == ("start", "end")
    assert start["visit"] == end["visit"] == start["id"]
    assert "label" not in start["person"], "labels only where the configuration says so"
    assert gallery.read_bytes() == before


def test_in_words_it_says_at_which_frame(
    anna: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gallery = gallery_of(tmp_path / "gallery.sqlite", anna)
    assert main(["replay", str(anna), "--gallery", str(gallery)]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[0].startswith("frame      3  start  p_")
    assert printed.splitlines()[1].startswith("frame      8  end    p_")
    assert counts(printed)["embedded"] >= 3


def test_whose_consent_has_ended_is_not_known(
    anna: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gallery = gallery_of(tmp_path / "gallery.sqlite", anna, given_days_ago=31)
    assert main(["replay", str(anna), "--gallery", str(gallery)]) == 0
    assert counts(capsys.readouterr().out)["embedded"] == 0


def test_a_gallery_of_real_people_is_refused(
    anna: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gallery = gallery_of(tmp_path / "gallery.sqlite", anna, simulated=False)
    assert main(["replay", str(anna), "--gallery", str(gallery)]) == 2
    printed = capsys.readouterr()
    assert "holds real people, whom frames from files must not be compared with" in printed.err
    assert "hint: " in printed.err
    assert printed.out == ""


def test_a_gallery_that_is_not_there_is_refused_and_not_made(
    anna: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "gallery.sqlite"
    assert main(["replay", str(anna), "--gallery", str(missing)]) == 2
    assert f"{missing}: expected a gallery file, found none" in capsys.readouterr().err
    assert not missing.exists()


def test_a_damaged_gallery_is_told_and_kept(
    anna: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = tmp_path / "gallery.sqlite"
    read_device_key(None, tmp_path)
    damaged.write_bytes(b"SQLite format 3\x00" + b"?" * 5000)
    assert main(["replay", str(anna), "--gallery", str(damaged)]) == 1
    assert "damaged; it was set aside as gallery.sqlite.corrupt-1" in capsys.readouterr().err
    assert (tmp_path / "gallery.sqlite.corrupt-1").read_bytes() == b"SQLite format 3\x00" + b"?" * 5000


def test_an_animated_gif_is_replayed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = scene("astronaut", width_px=320, height_px=240, face_px=90.0, frames=4)
    gif = tmp_path / "anna.gif"
    pictures[0].save(gif, save_all=True, append_images=pictures[1:], duration=100)
    assert main(["replay", str(gif)]) == 0
    numbers = counts(capsys.readouterr().out)
    assert (numbers["frames"], numbers["faces"]) == (4, 4)


def test_a_video_is_replayed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(save_video(tmp_path / "clip.mp4", 10, size_px=(320, 240)))]) == 0
    assert counts(capsys.readouterr().out)["frames"] == 10


def test_pictures_without_anybody_have_no_faces(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(np.full((240, 320, 3), 90, np.uint8)).save(tmp_path / "wall.png")
    assert main(["replay", str(tmp_path)]) == 0
    assert counts(capsys.readouterr().out)["faces"] == 0


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("nowhere", None),
        ("nowhere.gif", None),
        ("broken.gif", b"GIF89a and no more"),
        ("broken.mp4", b"\x00\x00\x00\x18ftypmp42 and no more"),
        ("empty.mp4", b""),
        ("notes.txt", b"no picture"),
        ("empty-folder/", None),
    ],
)
def test_what_is_no_recording_is_a_user_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes | None
) -> None:
    recording = tmp_path / name
    if name.endswith("/"):
        recording.mkdir()
    elif content is not None:
        recording.write_bytes(content)
    assert main(["replay", str(recording)]) == 2
    printed = capsys.readouterr()
    assert f"porter: {recording}: " in printed.err
    assert "hint: " in printed.err


@pytest.mark.parametrize("rate", ["0", "-1", "nan", "inf", "1001"])
def test_a_rate_that_is_none_is_a_user_error(
    anna: Path, capsys: pytest.CaptureFixture[str], rate: str
) -> None:
    assert main(["replay", str(anna), f"--rate={rate}"]) == 2
    assert "--rate: expected 0.1 to 1000" in capsys.readouterr().err


def test_a_bad_configuration_is_named(anna: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "porter.yaml"
    config.write_text("zone: {min_face_px: 1}\n")
    assert main(["replay", str(anna), "--config", str(config)]) == 2
    assert f"{config}:1: zone.min_face_px" in capsys.readouterr().err


def test_the_configuration_decides_who_presents_themselves(
    anna: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "porter.yaml"
    config.write_text("zone: {polygon: [[0.9, 0.9], [1.0, 0.9], [1.0, 1.0]]}\n")
    assert main(["replay", str(anna), "--config", str(config)]) == 0
    numbers = counts(capsys.readouterr().out)
    assert (numbers["presented"], numbers["not presented: outside the zone"]) == (0, 8)
