# SPDX-License-Identifier: Apache-2.0
"""Never: age, sex, ethnicity, emotion, gait. The model loader accepts detectors and embedders, and nothing beside."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from device.adapters.models_folder import Task, load_manifest
from device.errors import ConfigError
from tests import tiny

EMBEDDER_WITH_AN_AGE = (
    """
[variant.outputs.embedding]
dtype = "float32"
shape = [1, 128]
meaning = "face embedding"

[variant.outputs.age]
dtype = "float32"
shape = [1, 1]
meaning = "years"
"""
    + tiny.SCORES
)


def rewritten(folder: Path, old: str, new: str) -> Path:
    """A models folder whose tiny model's manifest is changed."""
    tiny.tiny_folder(folder)
    path = folder / "tiny" / "model.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return folder


def test_there_are_two_tasks() -> None:
    assert set(get_args(Task)) == {"detector", "embedder"}


@pytest.mark.parametrize(
    "task",
    ["age", "gender", "sex", "ethnicity", "emotion", "gait", "classifier", "attributes", "Detector", ""],
)
def test_a_model_of_any_other_task_does_not_load(tmp_path: Path, task: str) -> None:
    folder = rewritten(tmp_path, 'task = "detector"', f'task = "{task}"')
    with pytest.raises(ConfigError, match="expected detector or embedder") as caught:
        load_manifest(folder, "tiny")
    assert caught.value.path == "task"
    assert "Porter knows no traits" in caught.value.hint


def test_a_model_without_a_task_does_not_load(tmp_path: Path) -> None:
    folder = rewritten(tmp_path, 'task = "detector"\n', "")
    with pytest.raises(ConfigError, match="expected detector or embedder, found None"):
        load_manifest(folder, "tiny")


def test_a_detector_with_a_trait_beside_its_maps_does_not_load(tmp_path: Path) -> None:
    folder = rewritten(tmp_path, "[variant.outputs.cls_16]", "[variant.outputs.emotion]")
    with pytest.raises(ConfigError, match="Porter knows no traits") as caught:
        load_manifest(folder, "tiny")
    assert caught.value.path == "variant[0].outputs.emotion"


def test_an_embedder_with_a_trait_beside_its_embedding_does_not_load(tmp_path: Path) -> None:
    folder = rewritten(tmp_path, 'task = "detector"', 'task = "embedder"')
    path = folder / "tiny" / "model.toml"
    head = path.read_text().partition("[detection]")[0]
    variant = tiny.variant("float", "tiny_float.tflite", "float32", ["cpu"]).partition("[variant.outputs")[0]
    path.write_text(head + variant + EMBEDDER_WITH_AN_AGE)
    with pytest.raises(ConfigError, match=r"the embedding \(Porter knows no traits\), found embedding, age"):
        load_manifest(folder, "tiny")
