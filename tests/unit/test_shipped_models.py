# SPDX-License-Identifier: Apache-2.0
"""The models that ship: manifests, files, operators, and what they see in the two public-domain portraits.

Golden figures were measured on 2026-11-23 with ai-edge-litert 2.3. Of an embedding only comparison scores are kept:
a template of a real person does not belong into a repository.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from PIL import Image

import device
from device.adapters.edgetpu_table import CONSTANTS, VALUES, load_edgetpu_table
from device.adapters.interpreter_tflite import TfliteInterpreter
from device.adapters.models_folder import check_file, default_folder, load_manifest, model_names, variant_path
from device.commands.models import examine
from device.recognition.operating_point import score_at
from device.vision.align import align
from device.vision.detect import OUTPUT_NAMES, Detector
from device.vision.embed import Embedder
from device.vision.tensors import LEVELS, Normalisation, quantisation_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from device.adapters.models_folder import Manifest, Variant
    from device.records import Detection

MODELS = default_folder()
PORTRAITS = Path(device.__file__).parent / "demo_data"
DETECTORS = ("yunet-320x256", "yunet-640x480")
VARIANTS = [
    pytest.param(name, variant.name, id=f"{name}-{variant.name}")
    for name in model_names(MODELS)
    for variant in load_manifest(MODELS, name).variants
]
INT8 = [pytest.param(name, "int8", id=name) for name in (*DETECTORS, "sface")]
LARGEST_FILE_BYTES = 12_000_000

YUNET_OPERATORS = {
    "CONV_2D": 33,
    "DEPTHWISE_CONV_2D": 20,
    "LOGISTIC": 6,
    "MAX_POOL_2D": 4,
    "ADD": 2,
    "RESIZE_NEAREST_NEIGHBOR": 2,
    "PAD": 1,
}
SFACE_OPERATORS = {"CONV_2D": 15, "DEPTHWISE_CONV_2D": 13, "PRELU": 27, "PAD": 4, "RESHAPE": 1}
# The astronaut's right eye, left eye, nose tip, right and left mouth corner, in pixels of the portrait: the mean of
# what the two detectors find. Her face is 105 px high, and each of them is within 3 px.
ASTRONAUT = np.array([[202.7, 106.2], [244.2, 105.8], [221.8, 126.6], [204.3, 144.6], [241.4, 144.6]])
LANDMARK_PX = 4.0


def picked(name: str, variant: str) -> tuple[Manifest, Variant]:
    """A shipped model's manifest and one of its variants."""
    manifest = load_manifest(MODELS, name)
    return manifest, next(each for each in manifest.variants if each.name == variant)


def opened(name: str, variant: str) -> tuple[TfliteInterpreter, Normalisation]:
    """A shipped variant in the product's interpreter."""
    manifest, chosen = picked(name, variant)
    interpreter = TfliteInterpreter(
        check_file(MODELS, manifest, chosen),
        expected_input=chosen.input_detail,
        expected_outputs=chosen.output_details,
        runtime="auto",
        threads=1,
    )
    picture = manifest.input
    return interpreter, Normalisation(picture.colour, picture.offset, picture.scale)


def portrait(name: str) -> NDArray[np.uint8]:
    """One of the two pictures of real people that ship."""
    return np.asarray(Image.open(PORTRAITS / name).convert("RGB"))


def detected(name: str, picture: NDArray[np.uint8]) -> list[Detection]:
    """What a shipped detector finds at the manifest's operating point."""
    interpreter, pixels = opened(name, "int8")
    defaults = load_manifest(MODELS, name).detection
    assert defaults is not None
    detector = Detector(
        interpreter, pixels, score_threshold=defaults.score_threshold, nms_iou=defaults.nms_iou
    )
    return detector.detect(picture, picture.shape[1])


@pytest.fixture(scope="module")
def embeddings() -> dict[tuple[str, str], NDArray[np.float32]]:
    """(variant, person) to the embedding of the portrait."""
    found = {}
    embedders = {variant: Embedder(*opened("sface", variant)) for variant in ("dynamic", "int8")}
    for file in ("astronaut.png", "grace_hopper.jpg"):
        picture = portrait(file)
        crop = align(picture, detected("yunet-320x256", picture)[0].landmarks)
        for variant, embedder in embedders.items():
            found[variant, file] = embedder.embed(crop)
    return found


def test_two_detectors_and_an_embedder_ship_each_with_its_licence() -> None:
    shipped = {name: load_manifest(MODELS, name) for name in model_names(MODELS)}
    assert {name: (each.task, each.licence) for name, each in shipped.items()} == {
        "sface": ("embedder", "Apache-2.0"),
        "yunet-320x256": ("detector", "MIT"),
        "yunet-640x480": ("detector", "MIT"),
    }
    titles = {"MIT": "MIT License", "Apache-2.0": "Apache License"}
    for name, manifest in shipped.items():
        assert titles[manifest.licence] in (MODELS / name / "LICENSE").read_text()


@pytest.mark.parametrize("name", model_names(MODELS))
def test_hash_size_and_tensors_are_those_of_the_manifest(name: str) -> None:
    report = examine(MODELS, name, load_edgetpu_table(MODELS))
    assert report.all_problems() == []


@pytest.mark.parametrize("name", model_names(MODELS))
def test_a_folder_holds_no_file_that_the_manifest_does_not_name(name: str) -> None:
    manifest = load_manifest(MODELS, name)
    named = {variant_path(MODELS, manifest, variant).name for variant in manifest.variants}
    assert {path.name for path in (MODELS / name).glob("*.tflite")} == named


@pytest.mark.parametrize("name", model_names(MODELS))
def test_no_file_is_too_large_to_be_committed(name: str) -> None:
    assert {
        path.name for path in (MODELS / name).iterdir() if path.stat().st_size > LARGEST_FILE_BYTES
    } == set()


@pytest.mark.parametrize("name", model_names(MODELS))
def test_every_model_takes_rgb(name: str) -> None:
    assert load_manifest(MODELS, name).input.colour == "rgb"


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_tensors_have_the_names_that_the_code_looks_up(name: str, variant: str) -> None:
    interpreter, _ = opened(name, variant)
    assert interpreter.input.name == "input"
    assert set(interpreter.outputs) == ({"embedding"} if name == "sface" else set(OUTPUT_NAMES))


@pytest.mark.parametrize(("name", "variant"), INT8)
def test_every_operator_of_an_int8_variant_is_int8_and_maps_to_the_edge_tpu(name: str, variant: str) -> None:
    report = examine(MODELS, name, load_edgetpu_table(MODELS))
    operators = next(each.operators for each in report.variants if each.variant.name == variant)
    assert Counter(each.name for each in operators) == (
        SFACE_OPERATORS if name == "sface" else YUNET_OPERATORS
    )
    assert {each.name for each in operators if each.edgetpu != "maps"} == set()
    assert {dtype for each in operators for dtype in each.dtypes} <= VALUES | CONSTANTS


@pytest.mark.parametrize(("name", "variant"), INT8)
def test_an_int8_variant_takes_the_pixel_less_128(name: str, variant: str) -> None:
    manifest, chosen = picked(name, variant)
    picture = manifest.input
    pixels = Normalisation(picture.colour, picture.offset, picture.scale)
    assert np.array_equal(quantisation_table(chosen.input_detail, pixels), LEVELS - 128)


def test_on_the_cpu_the_embedder_that_is_fast_there_comes_first() -> None:
    variants = load_manifest(MODELS, "sface").variants
    assert [(each.name, each.delegates) for each in variants] == [
        ("dynamic", ["cpu"]),
        ("int8", ["edgetpu", "cpu"]),
    ]


def test_a_rarer_false_match_needs_a_higher_score_and_the_table_says_what_it_was_measured_on() -> None:
    for variant in load_manifest(MODELS, "sface").variants:
        table = variant.scores
        assert table is not None
        scores = [score_at(table, fmr) for fmr in (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)]
        assert scores == sorted(set(scores))
        assert 0.3 < scores[0] < scores[-1] < 0.65
        assert table.comparisons > 2_000_000
        assert "other people" in table.data
        assert "no commercial conclusion" in table.data


def test_scores_were_measured_on_the_very_files_that_ship() -> None:
    measured: dict[str, Any] = tomllib.loads((MODELS / "build" / "scores.toml").read_text())
    for variant in load_manifest(MODELS, "sface").variants:
        entry = measured["sface"][variant.name] | {"data": measured["data"]}
        assert entry.pop("sha256") == variant.sha256
        assert msgspec.to_builtins(variant.scores) == entry


def test_calibration_names_no_face_data_set() -> None:
    for name in model_names(MODELS):
        for variant in load_manifest(MODELS, name).variants:
            assert "LFW" not in variant.calibration
            assert "FDDB" not in variant.calibration


@pytest.mark.parametrize("name", DETECTORS)
def test_the_astronaut_has_one_face_and_it_is_where_it_is(name: str) -> None:
    (face,) = detected(name, portrait("astronaut.png"))
    assert face.score == pytest.approx(0.94, abs=0.03)
    x, y = face.box.centre
    assert x == pytest.approx(224, abs=6)
    assert y == pytest.approx(123, abs=6)
    assert face.box.h == pytest.approx(109, abs=10)
    assert np.abs(np.asarray(face.landmarks) - ASTRONAUT).max() < LANDMARK_PX


@pytest.mark.parametrize("name", DETECTORS)
def test_nobody_is_found_where_nobody_is(name: str) -> None:
    slope = np.linspace(0, 255, 320).astype(np.uint8)
    assert detected(name, np.broadcast_to(slope[np.newaxis, :, np.newaxis], (256, 320, 3)).copy()) == []


@pytest.mark.parametrize("name", DETECTORS)
def test_a_face_is_surer_in_rgb_than_with_its_channels_reversed(name: str) -> None:
    for file in ("astronaut.png", "grace_hopper.jpg"):
        picture = portrait(file)
        (right,), (reverse,) = detected(name, picture), detected(name, picture[..., ::-1].copy())
        assert right.score > reverse.score


@pytest.mark.parametrize("file", ["astronaut.png", "grace_hopper.jpg"])
def test_both_variants_of_the_embedder_give_one_face_nearly_one_embedding(
    embeddings: dict[tuple[str, str], NDArray[np.float32]], file: str
) -> None:
    assert float(embeddings["dynamic", file] @ embeddings["int8", file]) > 0.97


@pytest.mark.parametrize("variant", ["dynamic", "int8"])
def test_two_people_are_far_below_every_threshold(
    embeddings: dict[tuple[str, str], NDArray[np.float32]], variant: str
) -> None:
    score = float(embeddings[variant, "astronaut.png"] @ embeddings[variant, "grace_hopper.jpg"])
    assert score == pytest.approx(0.14, abs=0.05)
    table = picked("sface", variant)[1].scores
    assert table is not None
    assert score < table.score[0]
