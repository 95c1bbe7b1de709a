# SPDX-License-Identifier: Apache-2.0
"""The generated files: up to date, true to the code, and named when they are not."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest

from device import config, generate
from device.option_docs import options_table
from device.options import Config

ROOT = Path(__file__).resolve().parents[2]


def test_the_generated_files_are_up_to_date() -> None:
    assert generate.out_of_date(ROOT) == [], "run `make docs`"


def test_porter_yaml_loads_to_the_defaults() -> None:
    assert config.load(ROOT / "config/porter.yaml") == Config()


def test_porter_yaml_with_every_option_uncommented_loads_to_the_defaults() -> None:
    text, count = re.subn(r"^( *)#(?=\S)", r"\1", generate.porter_yaml(), flags=re.MULTILINE)
    assert count == len(options_table())
    assert config.parse(text, "porter.yaml") == Config()
    for option in options_table():
        assert f"  {option.name}: {option.default_text}\n" in text


def test_simulator_yaml_loads_and_is_a_simulation_with_a_plain_local_broker() -> None:
    found = config.load(ROOT / "config/simulator.yaml")
    assert found.camera.source == "files"
    assert (found.mqtt.host, found.mqtt.port, found.mqtt.tls) == ("localhost", 1883, False)


def test_the_page_describes_every_option() -> None:
    page = generate.reference_page()
    for option in options_table():
        assert f"| `{option.name}` |" in page
        assert option.doc in page


def test_the_schemas_are_valid_and_carry_units_and_restarts() -> None:
    for path, text in generate.files().items():
        if path.endswith(".json"):
            jsonschema.Draft202012Validator.check_schema(json.loads(text))
    properties = generate.config_schema()["$defs"]["CameraOptions"]["properties"]
    assert properties["rate_hz"]["x-unit"] == "Hz"
    assert properties["name"]["x-restart"] is True
    assert "x-restart" not in properties["rate_hz"]


def test_the_payload_schemas_have_no_room_for_what_must_never_leave_the_device() -> None:
    for kind in generate.PAYLOADS.values():
        schema = generate.payload_schema(kind)
        for definition in schema["$defs"].values():
            assert definition["additionalProperties"] is False
            words = {word for name in definition["properties"] for word in name.split("_")}
            assert not words & {
                "image",
                "picture",
                "snapshot",
                "crop",
                "box",
                "bbox",
                "embedding",
                "template",
                "stranger",
            }


def test_check_names_a_stale_file_and_a_missing_one_and_writing_mends_both(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate.main(["--root", str(tmp_path)]) == 0
    assert generate.main(["--root", str(tmp_path), "--check"]) == 0
    capsys.readouterr()
    (tmp_path / "config/porter.yaml").write_text("camera: {}\n", encoding="utf-8")
    (tmp_path / "docs/config.md").unlink()
    assert generate.main(["--root", str(tmp_path), "--check"]) == 1
    assert capsys.readouterr().err.split(" is out of date")[0] == "config/porter.yaml"
    assert generate.main(["--root", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "wrote config/porter.yaml\nwrote docs/config.md\n"
    assert generate.out_of_date(tmp_path) == []
