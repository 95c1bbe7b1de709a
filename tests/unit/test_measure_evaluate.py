# SPDX-License-Identifier: Apache-2.0
"""`porter evaluate` from end to end, with the shipped models, on a folder drawn from two public-domain portraits."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from device.adapters.models_folder import check_file, default_folder, load_manifest, pick_variant
from device.cli import main
from device.demo_scenes import scene
from device.errors import InputError
from device.measure import evaluate
from device.measure.plots import draw_all
from device.measure.variants import VariantOpener

if TYPE_CHECKING:
    from device.demo_scenes import Person

PEOPLE: tuple[Person, ...] = ("astronaut", "hopper")
WIDTH, HEIGHT, FACE = 320, 240, 100


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pictures of each of two people, a wall, and the three tables."""
    folder = tmp_path_factory.mktemp("eval")
    images = folder / "lfw" / "images"
    for person in PEOPLE:
        (images / person).mkdir(parents=True)
        for number, picture in enumerate(
            scene(person, width_px=WIDTH, height_px=HEIGHT, face_px=FACE, frames=4)
        ):
            picture.save(images / person / f"{number}.png")
    (images / "nobody").mkdir()
    scene(None, width_px=WIDTH, height_px=HEIGHT, frames=1)[0].save(images / "nobody" / "wall.png")
    a, h = ([f"images/{person}/{number}.png" for number in range(4)] for person in PEOPLE)
    wall = "images/nobody/wall.png"
    write(
        folder / "lfw" / "pairs.csv",
        "path1,path2,same,fold",
        *(f"{a[0]},{a[1]},1,1", f"{a[0]},{h[0]},0,1", f"{h[0]},{h[1]},1,2", f"{a[2]},{h[2]},0,2"),
    )
    write(
        folder / "lfw" / "openset_tiny.csv",
        "path,identity,role",
        *(f"{a[0]},Ann,enrol", f"{a[1]},Ann,enrol", f"{wall},Ann,enrol", f"{wall},Wally,enrol"),
        *(f"{a[2]},Ann,probe", f"{a[3]},Ann,probe", f"{wall},Ann,probe", f"{wall},Wally,probe"),
        *(f"{h[number]},Hopper,stranger" for number in range(4)),
    )
    # Where `demo_scenes.placed` puts the middle of the face in its first picture.
    x, y = round(WIDTH * 0.42 - FACE / 2), round(HEIGHT * 0.45 + 0.08 * FACE - FACE * 0.62)
    write(
        folder / "door" / "boxes.csv",
        "path,x,y,w,h",
        f"../lfw/{a[0]},{x},{y},{FACE},{round(FACE * 1.25)}",
        f"../lfw/{h[0]},{x},{y},{FACE},{round(FACE * 1.25)}",
        f"../lfw/{wall},,,,",
    )
    return folder


def write(path: Path, *lines: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def evaluated(data: Path, out: Path, *options: str) -> dict[str, Any]:
    """What evaluate.json says after a run that went well."""
    assert main(["evaluate", "--data", str(data), "--out", str(out), "--no-plots", *options]) == 0
    result: dict[str, Any] = json.loads((out / "evaluate.json").read_text())
    return result


@pytest.fixture(scope="module")
def result(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """One run for all that only look at it, and its folder."""
    out = tmp_path_factory.mktemp("out")
    return out, evaluated(data, out, "--variant", "cpu")


def test_two_people_are_told_apart(result: tuple[Path, dict[str, Any]]) -> None:
    figures = result[1]["verification"]["cpu"]
    assert (figures["accuracy"], figures["std"], figures["pairs"]) == (1.0, 0.0, 4)
    assert (figures["as_at_the_door"]["accuracy"], figures["as_at_the_door"]["std"]) == (1.0, 0.0)
    assert figures["accuracy_95"][0] == pytest.approx(
        0.51, abs=0.01
    )  # four pairs prove little, and it says so


def test_a_search_without_a_face_misses_and_who_cannot_be_enrolled_is_named(
    result: tuple[Path, dict[str, Any]],
) -> None:
    figures = result[1]["identification"]["cpu"]
    assert (figures["gallery"], figures["probes"], figures["strangers"]) == (1, 3, 4)
    assert (figures["references"], figures["subjects_left_out"]) == (2, ["Wally"])
    assert figures["fnir_at_fpir_1e-2"] == pytest.approx(1 / 3)  # the picture of the wall
    assert figures["alarms_at_fpir_1e-3"] == 0


def test_visits_are_made_of_as_many_pictures_as_somebody_has(result: tuple[Path, dict[str, Any]]) -> None:
    (single,) = result[1]["visits"]["cpu"]  # Ann has two probes with a face: no visit of three
    assert (single["frames"], single["pictures"], single["strangers"]) == (1, 2, 2)
    # By their folder the pairs' astronauts are strangers, though they are Ann: the threshold of old takes them for her.
    assert (single["fnir_single_at_fpir_1e-2"], single["fpir_single_at_fpir_1e-2"]) == (0, 0.5)


def test_faces_are_found_and_the_wall_is_none(result: tuple[Path, dict[str, Any]]) -> None:
    detection = result[1]["detection"]
    assert set(detection) == {"door", "door@640x480"}
    for figures in detection.values():
        assert (figures["recall"], figures["false_alarms"], figures["faces"]) == (1.0, 0, 2)
        assert figures["pictures"] == 3


def test_a_full_run_says_that_it_is_one_and_on_what(result: tuple[Path, dict[str, Any]]) -> None:
    about = result[1]["about"]
    assert (about["partial"], about["pictures"], about["without_face"]) == (False, 9, 1)
    assert "no commercial conclusion" in about["caveat"]


def test_a_second_run_takes_the_embeddings_from_the_cache_and_a_damaged_cache_is_made_anew(
    data: Path, result: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    shutil.copytree(result[0] / "cache", tmp_path / "cache")
    again = evaluated(data, tmp_path, "--variant", "cpu")
    assert again["verification"]["cpu"].pop("embed_ms") is None
    first = dict(result[1]["verification"]["cpu"])
    assert first.pop("embed_ms") > 0
    assert again["verification"]["cpu"] == first
    (file,) = (tmp_path / "cache").iterdir()
    file.write_bytes(file.read_bytes()[:100])
    assert evaluated(data, tmp_path, "--variant", "cpu")["verification"]["cpu"]["embed_ms"] > 0


def test_no_picture_and_no_crop_is_written(result: tuple[Path, dict[str, Any]]) -> None:
    (cache,) = (result[0] / "cache").iterdir()
    with np.load(cache) as stored:
        assert {name: stored[name].shape for name in stored} == {
            "keys": (9, 32),
            "rows": (9, 128),
            "look": (9,),
            "quality": (9,),
            # What can be enrolled: Ann's two and the wall, and of the pairs' people three pictures each.
            "reference_keys": (7, 32),
            "references": (7, 128),
        }
    assert {path.suffix for path in result[0].rglob("*") if path.is_file()} == {".json", ".npz"}


def test_missing_parts_and_pictures_are_left_out_and_told(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data"
    shutil.copytree(data / "lfw", folder / "lfw")
    (folder / "lfw" / "openset_tiny.csv").unlink()
    broken = folder / "lfw" / "images" / "hopper" / "1.png"
    broken.write_bytes(broken.read_bytes()[:200])
    (folder / "lfw" / "images" / "hopper" / "2.png").unlink()
    write(
        folder / "lfw" / "pairs.csv",
        *(data / "lfw" / "pairs.csv").read_text().splitlines(),
        *(
            f"images/astronaut/{one}.png,images/hopper/{other}.png,0,{fold}"
            for one, other, fold in ((1, 0, 1), (1, 3, 2))
        ),
    )
    figures = evaluated(folder, tmp_path / "out", "--variant", "cpu", "--limit", "100")
    assert figures["verification"]["cpu"]["pairs"] == 4
    assert (figures["identification"], figures["detection"]) == ({}, {})
    assert len(figures["about"]["unreadable"]) == 2
    assert figures["about"]["partial"]
    assert "not measured: detection: no " in capsys.readouterr().out


def test_a_folder_whose_pictures_are_gone_is_an_error(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lfw").mkdir()
    shutil.copy(data / "lfw" / "pairs.csv", tmp_path / "lfw")
    assert main(["evaluate", "--data", str(tmp_path), "--out", str(tmp_path / "out"), "--no-plots"]) == 2
    assert "not one of 6 pictures can be read" in capsys.readouterr().err
    assert not (tmp_path / "out" / "evaluate.json").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--variant", "float"], "no --sources"),
        (["--variant", "nonsense"], "variant 'nonsense'"),
        (["--variant", "a=nowhere.tflite"], "nowhere.tflite"),
        (["--variant", "cpu", "--variant", "cpu"], "expected different plain names"),
        (["--variant", "../x=y.tflite"], "expected different plain names"),
        (["--data", "nowhere"], "nowhere: expected a folder"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_the_work_begins(
    data: Path, tmp_path: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--data", str(data), "--out", str(tmp_path), "--no-plots", *options]) == 2
    assert said in capsys.readouterr().err


def test_a_source_with_another_hash_is_refused_with_both_hashes(tmp_path: Path) -> None:
    manifest = load_manifest(default_folder(), "sface")
    (tmp_path / manifest.source_file).write_bytes(b"another model")
    opener = VariantOpener(default_folder(), "sface", tmp_path, "auto", 1)
    with pytest.raises(InputError) as caught:
        opener.open("float")
    assert f"expected sha256 {manifest.source_sha256}, found " in caught.value.message


def test_a_file_given_by_name_is_measured_under_that_name() -> None:
    manifest = load_manifest(default_folder(), "sface")
    path = check_file(default_folder(), manifest, pick_variant(manifest, "cpu"))
    variant = VariantOpener(default_folder(), "sface", None, "auto", 1).open(f"mine={path}")
    assert (variant.name, variant.sha256) == ("mine", pick_variant(manifest, "cpu").sha256)
    assert variant.embedder.dimension == 128


def test_plots_are_drawn_as_png_files(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="an extra of its own: pip install -e '.[evaluate]'")
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    options = ["--data", str(data), "--out", str(tmp_path), "--variant", "cpu", "--no-cache"]
    assert evaluate.run(parser.parse_args(options)) == 0
    names = ["detection", "identification", "verification-det", "verification-scores"]
    assert sorted(path.stem for path in tmp_path.glob("*.png")) == names
    assert all(path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" for path in tmp_path.glob("*.png"))
    assert draw_all(tmp_path, {}, {}, {}) == []


def test_bad_pictures_are_searched_for_the_variant_that_was_named(data: Path, tmp_path: Path) -> None:
    figures = evaluated(data, tmp_path, "--variant", "cpu", "--degraded", "cpu", "--limit", "1")
    degraded = figures["degraded"]["cpu"]
    assert degraded["threshold"] == figures["identification"]["cpu"]["threshold_at_fpir_1e-2"]
    assert {point["probes"] for points in degraded["curves"].values() for point in points} == {1}
    (clean,) = degraded["curves"]["none"]
    assert (clean["misses"], clean["refused"]) == (0, {})
    tiny = degraded["curves"]["width"][
        -1
    ]  # 24 px wide, 6 px to the detector: not found, so missed, and refused
    assert (tiny["level"], tiny["not_found"], tiny["fnir"], tiny["accepted_fnir"]) == (24, 1, 1.0, None)
    assert figures["galleries"]["cpu"] == []  # fewer people than the smallest gallery


def test_bad_pictures_of_a_variant_that_is_not_measured_are_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--variant", "cpu", "--degraded", "int8", "--no-plots", "--out", str(tmp_path)]
    assert main(["evaluate", "--data", str(data), *options]) == 2
    assert "--degraded int8: expected a measured variant, found cpu" in capsys.readouterr().err
