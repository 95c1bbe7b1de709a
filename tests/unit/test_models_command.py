# SPDX-License-Identifier: Apache-2.0
"""`porter models`: what it prints, and its exit code when something is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from device.adapters.edgetpu_table import load_edgetpu_table
from device.cli import main
from device.errors import ConfigError, InputError
from tests import tiny

TABLE = """\
schema = 1
source = "https://example.org/operations"

[ops.CONV_2D]

[ops.MAX_POOL_2D]
notes = "No fused activation function."
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A models folder with the tiny model and a table of two operators."""
    folder = tiny.tiny_folder(tmp_path / "models")
    (folder / "edgetpu_ops.toml").write_text(TABLE)
    return folder


def listed(folder: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code and JSON of `porter models`."""
    code = main(["models", "--folder", str(folder), "--json", *arguments])
    return code, json.loads(capsys.readouterr().out)


def test_a_good_folder_is_listed_with_exit_code_0(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--folder", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "tiny: detector, 4x4 rgb, Apache-2.0" in printed
    assert "tiny_int8.tflite, 952 bytes" in printed
    assert "cls_8      int8 1x4x4x1 scale 1 zero point -128: mean over the channels" in printed
    assert "all 2 operators map; not compiled yet: models/compile.sh" in printed
    assert "compiled, all of it" in printed
    assert "2 of 2 operators do not map" in printed
    assert "1 models, all files as their manifests say" in printed
    assert "https://example.org/operations" in printed


def test_operators_are_mapped_by_name_and_dtype(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = listed(folder, capsys)
    assert code == 0
    operators = {
        variant["name"]: [(o["name"], o["dtypes"], o["edgetpu"]) for o in variant["operators"]]
        for variant in found["models"][0]["variants"]
    }
    assert operators == {
        "edgetpu": [("edgetpu-custom-op", ["int8"], "compiled")],
        "int8": [("CONV_2D", ["int32", "int8"], "maps"), ("MAX_POOL_2D", ["int8"], "maps")],
        "float": [("CONV_2D", ["float32"], "cpu"), ("MAX_POOL_2D", ["float32"], "cpu")],
    }


def test_every_operator_is_listed_on_request(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--folder", str(folder), "--ops"]) == 0
    assert "   0 CONV_2D                  1x4x4x1        int32 int8     maps" in capsys.readouterr().out


def test_an_operator_that_the_table_lacks_stays_on_the_cpu(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "edgetpu_ops.toml").write_text(TABLE.partition("[ops.MAX")[0])
    _, found = listed(folder, capsys)
    assert [operator["edgetpu"] for operator in found["models"][0]["variants"][1]["operators"]] == [
        "maps",
        "cpu",
    ]


def test_all_problems_are_listed_with_both_sides_and_exit_code_1(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = folder / "tiny"
    (home / "tiny_float.tflite").write_bytes(b"short")
    manifest = (home / "model.toml").read_text()
    (home / "model.toml").write_text(manifest.replace("zero_point = -128", "zero_point = 0", 1))
    (folder / "broken").mkdir()
    (folder / "broken" / "model.toml").write_text("schema = 9")
    assert main(["models", "--folder", str(folder)]) == 1
    printed = capsys.readouterr().out
    assert "3 wrong:" in printed
    assert "broken: WRONG MANIFEST" in printed
    assert "schema: expected 1, found 9" in printed
    assert "expected 728 bytes, found 5" in printed
    assert (
        "input pixels: expected int8 1x4x4x3 scale 1 zero point 0; found int8 1x4x4x3 scale 1 zero point -128"
        in printed
    )


def test_one_model_can_be_asked_for(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "broken").mkdir()
    (folder / "broken" / "model.toml").write_text("schema = 9")
    code, found = listed(folder, capsys, "tiny")
    assert code == 0
    assert [model["name"] for model in found["models"]] == ["tiny"]


def test_an_unknown_model_is_wrong_use(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--folder", str(folder), "retina"]) == 2
    assert "models there: tiny" in capsys.readouterr().err


def test_an_empty_folder_is_wrong_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--folder", str(tmp_path)]) == 2
    assert "no models there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (TABLE.replace("schema = 1", "schema = 2"), "2"),
        (TABLE.replace("source", "sauce"), "sauce"),
        ("schema = ", "Invalid value"),
    ],
)
def test_a_wrong_table_is_refused_by_name(folder: Path, text: str, words: str) -> None:
    (folder / "edgetpu_ops.toml").write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        load_edgetpu_table(folder)
    assert caught.value.file == str(folder / "edgetpu_ops.toml")


def test_a_missing_table_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_edgetpu_table(tmp_path)


def test_the_models_that_ship_are_as_their_manifests_say(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["models"])
    printed = capsys.readouterr().out
    assert code == 0, printed
    for name in ("sface", "yunet-320x256", "yunet-640x480"):
        assert f"\n{name}: " in printed
