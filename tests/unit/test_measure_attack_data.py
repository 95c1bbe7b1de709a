# SPDX-License-Identifier: Apache-2.0
"""From a folder of photos and clips to presentations, with the shipped models, on two public-domain portraits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from device.assembly import make_detector, make_embedder, operating_point
from device.cli import main
from device.demo_scenes import scene
from device.errors import InputError
from device.loaded_models import Models, load_models
from device.measure.liveness import finder_of, judge, matches, people_of, searches_of, sheets_of
from device.measure.liveness_cues import CUES
from device.measure.presentations import PRINTS, REPLAYS, bona_fide, prints, replays, single_frames, still_of
from device.options import Config

if TYPE_CHECKING:
    from device.measure.presentations import Finder

FRAMES = 24


@pytest.fixture(scope="module")
def config() -> Config:
    """The default one, on the CPU."""
    default = Config()
    return msgspec.structs.replace(
        default, inference=msgspec.structs.replace(default.inference, delegate="cpu")
    )


@pytest.fixture(scope="module")
def models(config: Config) -> Models:
    """The shipped ones."""
    return load_models(config)


@pytest.fixture(scope="module")
def find(config: Config, models: Models) -> Finder:
    """The product's detector."""
    return finder_of(make_detector(config, models.detector))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of one person who sways; photos of two, one of them enrolled."""
    folder = tmp_path_factory.mktemp("attacks")
    (folder / "clips").mkdir()
    first, *others = scene("astronaut", width_px=320, height_px=240, face_px=70, frames=FRAMES)
    first.save(folder / "clips" / "one.gif", save_all=True, append_images=others, duration=80)
    images = folder / "lfw" / "images"
    images.mkdir(parents=True)
    for person in ("astronaut", "hopper"):
        for number, picture in enumerate(scene(person, width_px=320, height_px=240, face_px=100, frames=3)):
            picture.save(images / f"{person}{number}.png")
    scene(None, width_px=320, height_px=240, frames=1)[0].save(images / "wall.png")
    rows = ["astronaut0.png,Ann,enrol", "astronaut1.png,Ann,enrol", "astronaut2.png,Ann,probe"]
    rows += ["hopper0.png,Hop,stranger", "hopper1.png,Hop,stranger", "hopper2.png,Other,stranger"]
    rows += ["wall.png,Wally,stranger"]
    lines = ["path,identity,role", *(f"images/{row}" for row in rows)]
    (folder / "lfw" / "openset_tiny.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_whoever_stands_in_a_clip_is_one_bona_fide_presentation(data: Path, find: Finder) -> None:
    (person,) = people_of(data, find)
    assert len(person.seen) == FRAMES
    said = judge(bona_fide(person, 3), find)
    assert (said.kind, said.group, said.frames) == ("bona_fide", 3, FRAMES)
    assert set(said.cues) == set(CUES)
    assert 0.0 < said.depth < 0.1  # a portrait that only sways


def test_every_attack_shows_a_face_that_the_detector_finds(data: Path, find: Finder) -> None:
    (person,) = people_of(data, find)
    attacks = [*prints(still_of(person), 1), *replays(person, 1)]
    assert [attack.kind for attack in attacks] == [*PRINTS, *REPLAYS]
    for attack in attacks:
        (face,) = find(next(attack.frames()))
        assert face.box.centre == pytest.approx((640, 360), abs=60), attack.kind
        assert 120 < face.box.w < 260, attack.kind


def test_the_same_presentation_is_drawn_the_same_again(data: Path, find: Finder) -> None:
    (person,) = people_of(data, find)
    for attack in (prints(still_of(person), 1)[1], replays(person, 1)[0], bona_fide(person, 1)):
        assert (next(attack.frames()) == next(attack.frames())).all()


def test_one_photo_a_stranger_and_none_without_a_face(data: Path, find: Finder) -> None:
    sheets = sheets_of(searches_of(data), find, 10)
    assert len(sheets) == 2
    assert set(single_frames(sheets[0], 0)) == {
        *("bona_fide", "screen_coarse", "screen_medium", "screen_fine", "print")
    }


def test_a_print_of_somebody_enrolled_matches(
    data: Path, config: Config, models: Models, find: Finder
) -> None:
    threshold = operating_point(config, models.embedder.variant).threshold(1)
    said = matches(searches_of(data), find, make_embedder(models.embedder), threshold, None)
    assert {kind: (each["hits"], each["trials"]) for kind, each in said.items()}["print"] == (1, 1)
    never = matches(searches_of(data), find, make_embedder(models.embedder), 1.1, None)
    assert {each["hits"] for each in never.values()} == {0}


def test_a_folder_without_clips_is_named(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lfw").mkdir()
    for name in ("openset_tiny.csv", "images"):
        (tmp_path / "lfw" / name).symlink_to(data / "lfw" / name)
    assert main(["evaluate", "--data", str(tmp_path), "--out", str(tmp_path / "out"), "--attacks"]) == 2
    assert f"{tmp_path / 'clips'}: expected animated pictures" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_without_an_open_set_table_or_strangers_is_named(
    data: Path, tmp_path: Path, find: Finder
) -> None:
    with pytest.raises(InputError, match="expected one open-set table"):
        searches_of(tmp_path)
    with pytest.raises(InputError, match="expected faces in photos of two strangers, found 1"):
        sheets_of(searches_of(data), find, 1)
