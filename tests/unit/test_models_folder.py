# SPDX-License-Identifier: Apache-2.0
"""Manifests and model files: what loads, and how the rest is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from device.adapters.models_folder import (
    check_file,
    default_folder,
    load_manifest,
    model_names,
    pick_variant,
)
from device.errors import ConfigError, InputError
from tests import tiny

EMBEDDER = (
    """
[variant.outputs.embedding]
dtype = "float32"
shape = [1, 128]
meaning = "face embedding"
"""
    + tiny.SCORES
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A models folder with the tiny model."""
    return tiny.tiny_folder(tmp_path / "models")


def edit(folder: Path, old: str, new: str, count: int = 1) -> None:
    """Replaces a piece of the tiny model's manifest."""
    path = folder / "tiny" / "model.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, count))


def refused(folder: Path) -> ConfigError:
    """The error that loading the tiny model ends in."""
    with pytest.raises(ConfigError) as caught:
        load_manifest(folder, "tiny")
    assert caught.value.file == str(folder / "tiny" / "model.toml")
    return caught.value


def make_embedder(folder: Path) -> None:
    """Turns the tiny manifest into an embedder's (its files stay what they are)."""
    text = (folder / "tiny" / "model.toml").read_text()
    head = text.partition("[detection]")[0].replace('task = "detector"', 'task = "embedder"')
    variant = tiny.variant("float", "tiny_float.tflite", "float32", ["cpu"]).partition("[variant.outputs")[0]
    (folder / "tiny" / "model.toml").write_text(head + variant + EMBEDDER)


def test_a_manifest_loads_with_its_variants_in_order(folder: Path) -> None:
    manifest = load_manifest(folder, "tiny")
    assert [variant.name for variant in manifest.variants] == ["edgetpu", "int8", "float"]
    assert manifest.variants[1].input_detail == tiny.INT8_INPUT
    assert manifest.variants[1].output_details == tiny.INT8_OUTPUTS
    assert manifest.variants[2].output_details == tiny.FLOAT_OUTPUTS


def test_the_first_variant_for_the_delegate_is_taken(folder: Path) -> None:
    manifest = load_manifest(folder, "tiny")
    assert pick_variant(manifest, "cpu").name == "int8"
    assert pick_variant(manifest, "edgetpu").name == "edgetpu"
    assert pick_variant(manifest, "cpu", "float").name == "float"


def test_a_variant_that_cannot_run_there_is_never_taken(folder: Path) -> None:
    with pytest.raises(InputError, match="variant 'float' for delegate edgetpu is missing") as caught:
        pick_variant(load_manifest(folder, "tiny"), "edgetpu", "float")
    assert "int8 (edgetpu cpu)" in caught.value.hint


def test_a_whole_file_passes(folder: Path) -> None:
    manifest = load_manifest(folder, "tiny")
    assert check_file(folder, manifest, manifest.variants[0]) == folder / "tiny" / "tiny_edgetpu.tflite"


def test_a_changed_file_is_refused_with_both_hashes(folder: Path) -> None:
    manifest = load_manifest(folder, "tiny")
    path = folder / "tiny" / "tiny_float.tflite"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"expected sha256 [0-9a-f]{64}, found [0-9a-f]{64}") as caught:
        check_file(folder, manifest, manifest.variants[2])
    assert manifest.variants[2].sha256 in caught.value.message


def test_a_truncated_file_is_refused_with_both_sizes(folder: Path) -> None:
    manifest = load_manifest(folder, "tiny")
    path = folder / "tiny" / "tiny_float.tflite"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=r"truncated: expected \d+ bytes, found 100"):
        check_file(folder, manifest, manifest.variants[2])


def test_a_missing_file_is_refused_by_name(folder: Path) -> None:
    manifest = load_manifest(folder, "tiny")
    (folder / "tiny" / "tiny_float.tflite").unlink()
    with pytest.raises(InputError, match=r"tiny_float\.tflite: missing"):
        check_file(folder, manifest, manifest.variants[2])


@pytest.mark.parametrize("file", ["../other.tflite", "/etc/passwd", "deeper/model.tflite", ".."])
def test_a_file_outside_the_models_folder_is_refused(folder: Path, file: str) -> None:
    edit(folder, "tiny_edgetpu.tflite", file)
    manifest = load_manifest(folder, "tiny")
    with pytest.raises(ConfigError, match="expected a file in"):
        check_file(folder, manifest, manifest.variants[0])


def test_a_link_out_of_the_models_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    path = folder / "tiny" / "tiny_float.tflite"
    path.rename(tmp_path / "elsewhere.tflite")
    path.symlink_to(tmp_path / "elsewhere.tflite")
    manifest = load_manifest(folder, "tiny")
    with pytest.raises(ConfigError, match="expected a file in"):
        check_file(folder, manifest, manifest.variants[2])


@pytest.mark.parametrize("name", ["", ".", "..", "../tiny", "tiny/..", "/tiny"])
def test_a_model_name_is_never_a_path(folder: Path, name: str) -> None:
    with pytest.raises(InputError, match="expected the name of a folder"):
        load_manifest(folder, name)


def test_an_unknown_model_is_answered_with_the_known_ones(folder: Path) -> None:
    with pytest.raises(InputError, match="no such model") as caught:
        load_manifest(folder, "retina")
    assert "models there: tiny" in caught.value.hint


@pytest.mark.parametrize(
    ("old", "new", "path", "expected"),
    [
        ("schema = 1", "schema = 2", "schema", "expected 1, found 2"),
        ("schema = 1", "schema = true", "schema", "expected 1, found True"),
        ("schema = 1\n", "", "schema", "expected 1, found None"),
        ("scale = 1.0\n\n[det", "scale = nan\n\n[det", "input.scale", "expected a finite number, found nan"),
        ("offset = 0.0", "offset = -inf", "input.offset", "expected a finite number, found -inf"),
        ('colour = "rgb"', 'colour = "hsv"', "input.colour", "invalid enum value 'hsv'"),
        ('licence = "', 'license = "', "", "unknown field `license`"),
        ("width_px = 4", 'width_px = "4"', "input.width_px", "expected `int`, got `str`"),
        ("width_px = 4", "width_px = 8", "variant[0].input.shape", "expected [1, 4, 8, 3] (from [input])"),
        ('name = "tiny"', 'name = "tony"', "name", "expected the folder's name 'tiny', found 'tony'"),
        ('name = "int8"', 'name = "edgetpu"', "variant[1].name", "'edgetpu' twice"),
        ("nms_iou = 0.3", "nms_iou = 3", "detection.nms_iou", "expected `float` < 1.0"),
        (
            "delegates = ['edgetpu', 'cpu']",
            "delegates = ['gpu']",
            "variant[1].delegates[0]",
            "invalid enum value",
        ),
        ('dtype = "int8"', 'dtype = "float32"', "variant[0].input.scale", "if and only if quantised"),
        ('\nfile = "', '\nfiles = "', "variant[0]", "unknown field `files`"),
    ],
)
def test_a_wrong_manifest_names_the_place(folder: Path, old: str, new: str, path: str, expected: str) -> None:
    edit(folder, old, new)
    error = refused(folder)
    assert error.path == path
    assert expected in error.expected


def test_a_wrong_hash_is_no_hash(folder: Path) -> None:
    edit(folder, 'source_sha256 = "0', 'source_sha256 = "Z')
    assert refused(folder).path == "source_sha256"


def test_a_manifest_that_is_no_toml_is_refused(folder: Path) -> None:
    (folder / "tiny" / "model.toml").write_text("schema = = 1")
    assert "not a TOML file" in refused(folder).expected


def test_a_manifest_that_is_no_text_is_refused(folder: Path) -> None:
    (folder / "tiny" / "model.toml").write_bytes(b"\xff\xfe\x00")
    assert "not a TOML file" in refused(folder).expected


def test_a_detector_without_its_operating_point_is_refused(folder: Path) -> None:
    edit(folder, "[detection]\nscore_threshold = 0.6\nnms_iou = 0.3\n", "")
    assert refused(folder).path == "detection"


def test_an_embedder_loads_with_what_its_scores_are_worth(folder: Path) -> None:
    make_embedder(folder)
    (variant,) = load_manifest(folder, "tiny").variants
    assert variant.scores is not None
    assert variant.scores.fmr == [1e-2, 1e-3, 1e-4]


def test_an_embedder_whose_scores_nobody_measured_is_refused(folder: Path) -> None:
    make_embedder(folder)
    path = folder / "tiny" / "model.toml"
    path.write_text(path.read_text().partition("[variant.scores]")[0])
    assert refused(folder).path == "variant[0].scores"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("fnmr = [0.0, 0.01, 0.02]", "fnmr = [0.0, 0.01]", "fnmr: expected 3 numbers"),
        ("score = [0.3, 0.4, 0.5]", "score = [0.3, 0.5, 0.4]", "scores that rise"),
        ("fmr = [1e-2, 1e-3, 1e-4]", "fmr = [1e-2, 1e-3, 1e-3]", "an fmr that falls"),
        ("measured_to = 1e-4", "measured_to = 0", "> 0"),
    ],
)
def test_a_table_of_scores_that_is_none_is_refused(folder: Path, old: str, new: str, said: str) -> None:
    make_embedder(folder)
    edit(folder, old, new)
    assert said in str(refused(folder))


def test_the_folder_of_the_checkout_is_found() -> None:
    assert default_folder() == Path(__file__).parents[2] / "models"


def test_models_are_listed_by_name(folder: Path) -> None:
    (folder / "not-a-model").mkdir()
    assert model_names(folder) == ["tiny"]
    assert model_names(folder / "nothing") == []
