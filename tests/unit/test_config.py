# SPDX-License-Identifier: Apache-2.0
"""`config.load` and `config.parse`: what is read, what is refused, and how the refusal reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from device import config
from device.errors import ConfigError
from device.option_docs import options_table
from device.options import Config

if TYPE_CHECKING:
    from pathlib import Path


def refusal(text: str | bytes) -> ConfigError:
    """The error that `text` gives."""
    with pytest.raises(ConfigError) as caught:
        config.parse(text, "porter.yaml")
    return caught.value


def problems(text: str | bytes) -> list[tuple[int, str]]:
    """Line and path of every problem in `text`."""
    error = refusal(text)
    return [(each.line, each.path) for each in (error, *error.others)]


@pytest.mark.parametrize(
    "text", ["", "\n\n", "# nothing\n", "---\n", "camera:\nmqtt:\n", "{}", "camera: {}", "\ufeff"]
)
def test_an_empty_file_or_section_means_the_defaults(text: str) -> None:
    assert config.parse(text, "f") == Config()


def test_values_of_every_type_are_read() -> None:
    found = config.parse(
        "camera: {source: files, path: a/b c, rate_hz: 5, loop: off, width_px: 640}\n"
        "recognition:\n  threshold: 4e-1\n"
        "zone:\n  polygon:\n    - [0, 0]\n    - [1, 0.5]\n    - [.5, 1]\n"
        "mqtt: {protocol: '5', port: 1883, tls: no}\n",
        "f",
    )
    assert (found.camera.path, found.camera.rate_hz, found.camera.loop) == ("a/b c", 5.0, False)
    assert isinstance(found.camera.rate_hz, float)
    assert found.recognition.threshold == 0.4
    assert found.zone.polygon == [[0, 0], [1, 0.5], [0.5, 1]]
    assert (found.mqtt.protocol, found.mqtt.tls) == ("5", False)


def test_null_is_a_value_where_the_option_allows_it() -> None:
    assert config.parse("recognition: {threshold: null}", "f").recognition.threshold is None


def test_the_error_names_file_line_path_expectation_and_hint() -> None:
    error = refusal("camera:\n  name: cam0\n  rate_hz: 500\n")
    assert (error.file, error.line, error.path) == ("porter.yaml", 3, "camera.rate_hz")
    assert error.expected == "expected a number from 0 to 120 Hz, got the number 500"
    assert error.hint.startswith("Frames a second")
    assert str(error) == f"porter.yaml:3: camera.rate_hz: {error.expected}\n  hint: {error.hint}"
    assert error.exit_code == 2


def test_all_problems_are_reported_in_the_order_of_the_file() -> None:
    text = (
        "device: {id: Lobby 01}\n"  # 1
        "camera:\n"
        "  hieght_px: 480\n"  # 3
        "  rate_hz: 500\n"  # 4
        "zone:\n"
        "  polygon:\n"
        "    - [0, 2]\n"  # 7
        "    - [0]\n"  # 8
        "    - [1, x]\n"  # 9
        "nonsense: 1\n"  # 10
        "mqtt:\n"
        "  port: 0\n"  # 12
        "  port: 1883\n"  # 13
    )
    expected = [
        (1, "device.id"),
        (3, "camera.hieght_px"),
        (4, "camera.rate_hz"),
        (7, "zone.polygon[0][1]"),
        (8, "zone.polygon[1]"),
        (9, "zone.polygon[2][1]"),
        (10, "nonsense"),
        (12, "mqtt.port"),
        (13, "mqtt.port"),
    ]
    assert problems(text) == expected
    lines = str(refusal(text)).splitlines()
    assert [line for line in lines if line.startswith("porter.yaml:")] == lines[::2]
    assert all(line.startswith("  hint: ") and len(line) > 12 for line in lines[1::2])


def test_a_file_of_nonsense_stops_at_25_problems_and_says_so() -> None:
    text = "".join(f"word{n}: 1\n" for n in range(10_000))
    error = refusal(text)
    assert len(error.others) == 25
    assert error.others[-1].expected == "there may be more problems"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("camera: {rate: 5}", "`camera.rate_hz`"),
        ("mqtt: {password: x}", "`mqtt.password_file`"),
        ("camera: {threshold: 0.5}", "`recognition.threshold`"),
        ("rate_hz: 5", "`camera.rate_hz`"),
        ("camra: {}", "`camera`"),
        ("enrolment: {min_qualty: 0.5}", "`enrolment.min_quality`"),
    ],
)
def test_an_unknown_name_is_refused_with_what_was_probably_meant(text: str, meant: str) -> None:
    error = refusal(text)
    assert error.expected.startswith("there is no such")
    assert error.hint == f"did you mean {meant}?"


def test_an_unknown_name_like_no_other_lists_the_known_ones() -> None:
    assert "camera, optics" in refusal("xyzzy: 1").hint
    assert "level" in refusal("log: {xyzzy: 1}").hint


def test_the_value_of_an_unknown_option_is_not_repeated() -> None:
    assert "hunter2" not in str(refusal("mqtt: {password: hunter2}"))


@pytest.mark.parametrize(
    ("text", "got", "hint"),
    [
        ("mqtt: {username: no}", "no (which YAML reads as false)", 'put it in quotes: "no"'),
        ("mqtt: {username: On}", "On (which YAML reads as true)", 'put it in quotes: "On"'),
        ("mqtt: {username: 0123}", None, None),
        ("mqtt: {username: 123}", "the number 123", 'put it in quotes: "123"'),
        ("mqtt: {username: ~}", "~ (no value)", "remove the line"),
        ("mqtt: {username: }", "nothing", "remove the line"),
        ("mqtt: {protocol: 5}", "the number 5", 'put it in quotes: "5"'),
        ("mqtt: {protocol: '4'}", 'the text "4"', "MQTT version"),
        ("camera: {source: picamera}", 'the text "picamera"', "did you mean `picamera2`?"),
        ("camera: {path: 0}", "the number 0", 'put it in quotes: "0"'),
        ("mqtt: {port: 18:83}", 'the text "18:83"', "plain decimal digits"),
        ("mqtt: {port: 0o3533}", 'the text "0o3533"', "plain decimal digits"),
        ("mqtt: {port: 0x75b}", 'the text "0x75b"', "plain decimal digits"),
        ("mqtt: {port: 1_883}", 'the text "1_883"', "plain decimal digits"),
        ("mqtt: {port: 01883}", 'the text "01883"', "plain decimal digits"),
        ("mqtt: {port: '1883'}", 'the text "1883"', "without quotes: 1883"),
        ("mqtt: {port: 1883.0}", "the number 1883.0", "8883 is MQTT over TLS"),
        ("mqtt: {port: [1883]}", "a list of 1", "8883 is MQTT over TLS"),
        ("mqtt: {tls: 'yes'}", 'the text "yes"', "without quotes: yes"),
        ("mqtt: {tls: 1}", "the number 1", "TLS with verification"),
        ("camera: {rate_hz: '0,5'}", 'the text "0,5"', "plain decimal digits"),
        ("camera: {rate_hz: .nan}", "the number .nan", "Frames a second"),
        ("camera: {rate_hz: -.INF}", "the number -.INF", "Frames a second"),
        ("camera: {rate_hz: 1e999}", "the number 1e999", "Frames a second"),
        ("camera: {rate_hz: true}", "true", "Frames a second"),
        ("recognition: {threshold: 0.1}", "the number 0.1", "Fused cosine score"),
        ("camera: {name: {a: 1}}", "a section", "Name of this camera"),
        ("zone: {polygon: 5}", "the number 5", "Corners"),
        ("zone: {polygon: [[0, 0], [1, 1]]}", "a list of 2", "Corners"),
        ('device: {id: "a\\n"}', 'the text "a?"', "no line breaks"),
        ('mqtt: {username: "a\\0b"}', 'the text "a?b"', "no line breaks"),
    ],
)
def test_a_surprising_value_is_shown_as_it_was_read_with_what_to_write(
    text: str, got: str | None, hint: str
) -> None:
    if got is None:  # YAML 1.1 reads 0123 as 83 and YAML 1.2 as 123; here it stays the text that was written
        assert config.parse(text, "f").mqtt.username == "0123"
        return
    error = refusal(text)
    assert error.expected.endswith(f"got {got}")
    assert hint in error.hint
    assert error.others == ()


@pytest.mark.parametrize(
    ("text", "line", "says", "hint"),
    [
        (b"camera:\n\tname: a\n", 2, "YAML syntax, column 1", "replace the tab"),
        (b"camera:\n  name: 'a\n", 3, "YAML syntax", "quotes"),
        (b"camera: [1\n", 2, "YAML syntax", "indentation"),
        (b"a: b: c\n", 1, "YAML syntax, column 5", "colon"),
        (b"camera:\n  name: \xff\n", 2, "expected UTF-8 text, got the byte 0xff", "UTF-8"),
        ("camera:\n  name: é\n".encode("latin-1"), 2, "expected UTF-8", "UTF-8"),
        ("camera: {}\n".encode("utf-16"), 1, "expected UTF-8", "UTF-8"),
        (b"# one\nname: \x00\n", 2, "YAML forbids the character 0x00", "remove"),
        (b"a: 1\n---\nb: 2\n", 2, "expected one YAML document, got a second", "---"),
        (b"[" * 100_000, 1, "expected at most 8 levels", "deepest option"),
        (b"- " * 100_000, 1, "expected at most 8 levels", "deepest option"),
        (b"just a sentence\n", 1, 'expected sections, got the text "just a sentence"', "option: value"),
        (b"- camera\n", 1, "expected sections, got a list of 1", "option: value"),
        (b"5\n", 1, "expected sections, got the number 5", "option: value"),
        (b"mqtt: 1883\n", 1, "expected a section, got the number 1883", "option: value"),
        (b"mqtt:\n- 1\n", 1, "expected a section, got a list of 1", "option: value"),
        (b"mqtt: &m {}\n", 1, "anchors are not supported, got &m", "write the value out"),
        (b"mqtt: &m {}\nlog: *m\n", 1, "anchors are not supported", "write the value out"),
        (b"log: *m\n", 1, "expected a value, got the alias *m", "write the value out"),
        (
            b"mqtt: {username: !secret mqtt_user}\n",
            1,
            "tags are not supported, got !secret",
            "mqtt.password_file",
        ),
        (
            b"mqtt: {port: !!int '1883'}\n",
            1,
            "tags are not supported, got tag:yaml.org,2002:int",
            "plain value",
        ),
        (b"log: !!python/object/apply:os.system ['id']\n", 1, "tags are not supported", "plain value"),
        (b"? [a]\n: 1\n", 1, "expected a name as key, got a list of 1", "name: value"),
        (b"<<: {mqtt: {}}\n", 1, "there is no such section", "known here"),
        (b"log: {}\nlog: {}\n", 2, "given twice, first in line 1", "keep one"),
        (b"log:\n  level: info\n  'level': debug\n", 3, "given twice, first in line 2", "keep one"),
    ],
)
def test_text_that_is_not_a_plain_configuration_is_refused(
    text: bytes, line: int, says: str, hint: str
) -> None:
    error = refusal(text)
    assert error.line == line
    assert error.expected.startswith(says)
    assert hint in error.hint


def test_text_from_the_file_cannot_put_control_characters_on_the_terminal() -> None:
    text = b'"\\e[31mred": 1\nlog: {level: "\\e[2J", "\\r": 1}\nmqtt: !<\\x1b> {}\n'
    assert all(c.isprintable() for c in str(refusal(text)) if c != "\n")


def test_a_missing_file_a_folder_and_a_large_file_are_each_named(tmp_path: Path) -> None:
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * (256 * 1024 + 1))
    for path, says in (
        (tmp_path / "none.yaml", "there is no such file"),
        (tmp_path, "expected a file, got a folder"),
        (large, "expected at most 256 KiB"),
        (tmp_path / ("x" * 300), "cannot be read: File name too long"),
        (tmp_path / "a\0b", "cannot be read: "),
    ):
        with pytest.raises(ConfigError) as caught:
            config.load(path)
        assert caught.value.expected.startswith(says)
        assert caught.value.file == str(path)
        assert caught.value.hint


def test_a_file_of_exactly_256_kib_is_read(tmp_path: Path) -> None:
    path = tmp_path / "porter.yaml"
    path.write_bytes(b"#" * (256 * 1024))
    assert config.load(path) == Config()
    with pytest.raises(ConfigError, match="256 KiB"):
        config.parse(b"#" * (256 * 1024 + 1), "f")


def test_an_unreadable_file_says_why(tmp_path: Path) -> None:
    loop = tmp_path / "loop.yaml"
    loop.symlink_to(loop)  # permissions do not stop root, who may run the tests
    with pytest.raises(ConfigError, match="cannot be read: Too many levels of symbolic links"):
        config.load(loop)


def test_options_that_need_a_restart_are_named_when_they_differ() -> None:
    old = Config()
    new = config.parse("device: {id: lobby}\ncamera: {rate_hz: 5, name: door}\nlog: {level: debug}\n", "f")
    assert config.changed_restart_options(old, new) == ["device.id", "camera.name"]
    assert config.changed_restart_options(old, old) == []


def test_every_option_has_a_doc_a_type_and_a_default_within_its_own_limits() -> None:
    options = options_table()
    assert len({option.path for option in options}) == len(options) > 50
    for option in options:
        assert option.doc.endswith("."), option.path
        assert option.type
        assert msgspec.convert(option.default, option.annotation) == option.default
