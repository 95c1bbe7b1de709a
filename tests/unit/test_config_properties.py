# SPDX-License-Identifier: Apache-2.0
"""Whatever the file says: a configuration or a ConfigError; and the loader is never laxer than the schema."""

from __future__ import annotations

from typing import Any

import jsonschema
import msgspec
import msgspec.inspect as mi
import yaml
from hypothesis import given
from hypothesis import strategies as st

from device import config
from device.commands.check_config import as_yaml
from device.errors import ConfigError
from device.generate import config_schema
from device.option_docs import OptionDoc, options_table
from device.options import Config

OPTIONS = options_table()
VALIDATOR = jsonschema.Draft202012Validator(config_schema())

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=True)
    | st.text(max_size=12)
    | st.sampled_from(
        ["no", "0", "5", "18:83", "1e3", "~", "usb", "files", "rtsp://a/b", "a\n", "auto", "cpu"]
    )
)
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=2),
    max_leaves=6,
)
option_names = st.sampled_from(sorted({option.name for option in OPTIONS}))
section_names = st.sampled_from(sorted({option.section for option in OPTIONS}))
MARKS = "\n\t -[]{},?|>'\"#~\\:é"
WORDS = (
    "camera:",
    "mqtt",
    "rate_hz",
    "  ",
    ": ",
    "- ",
    "&a ",
    "*a",
    "!!int ",
    "!t ",
    "<<",
    ".nan",
    "1e9",
    "0x1",
)
LINES = ("\n---\n", "\n...\n", "%YAML 1.1\n", "%TAG ! x\n")
yaml_bits = st.sampled_from([*MARKS, *WORDS, *LINES])


def loads(text: str | bytes) -> Config | ConfigError:
    """What comes of `text`; any other exception fails the test."""
    try:
        return config.parse(text, "porter.yaml")
    except ConfigError as error:
        refused = error
    assert refused.hint
    assert str(refused).startswith("porter.yaml")
    return refused


def dumped(instance: object) -> str:
    """`instance` as YAML without aliases, as a person would write it."""
    return yaml.dump(instance, Dumper=PlainDumper, allow_unicode=True)


class PlainDumper(yaml.SafeDumper):
    """Repeats equal objects in full."""

    def ignore_aliases(self, data: object) -> bool:
        """Always: Porter's files have no aliases."""
        return True


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_random_bytes_and_text_raise_nothing_but_a_config_error(text: bytes | str) -> None:
    loads(text)


@given(st.lists(yaml_bits, max_size=40).map("".join))
def test_random_yaml_punctuation_raises_nothing_but_a_config_error(text: str) -> None:
    loads(text)


@given(st.dictionaries(section_names, st.dictionaries(option_names, trees, max_size=3) | trees, max_size=2))
def test_random_values_of_real_options_raise_nothing_but_a_config_error(instance: dict[str, Any]) -> None:
    loads(dumped(instance))


def valid_values(option: OptionDoc) -> st.SearchStrategy[Any]:
    """Values within the option's own limits."""
    return _values(mi.type_info(option.annotation))


def _values(info: mi.Type) -> st.SearchStrategy[Any]:
    match info:
        case mi.Metadata():
            return _values(info.type)
        case mi.UnionType():
            return st.one_of(*(_values(kind) for kind in info.types))
        case mi.IntType():
            return st.integers(info.ge, info.le)
        case mi.FloatType():
            return st.floats(info.ge, info.le)
        case mi.StrType():
            return _texts(info)
        case mi.ListType():
            return st.lists(_values(info.item_type), min_size=info.min_length or 0, max_size=info.max_length)
    choices = {mi.BoolType: (True, False), mi.NoneType: (None,)}
    return st.sampled_from(info.values if isinstance(info, mi.LiteralType) else choices[type(info)])


def _texts(info: mi.StrType) -> st.SearchStrategy[str]:
    longest = info.max_length or 30
    if info.pattern:
        return st.from_regex(info.pattern, fullmatch=True).filter(lambda text: len(text) <= longest)
    printable = st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])
    return st.text(printable, min_size=info.min_length or 0, max_size=min(longest, 30))


@given(st.data())
def test_what_check_config_shows_loads_to_the_same_configuration(data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.sampled_from(OPTIONS), max_size=5, unique_by=lambda option: option.path))
    instance: dict[str, dict[str, Any]] = {}
    for option in chosen:
        instance.setdefault(option.section, {})[option.name] = data.draw(valid_values(option))
    found = loads(dumped(instance))
    if isinstance(found, Config):
        assert config.parse(as_yaml(found), "shown") == found
        for option in chosen:
            written = instance[option.section][option.name]
            assert msgspec.to_builtins(found)[option.section][option.name] == written


@given(option=st.sampled_from(OPTIONS), value=trees)
def test_what_the_schema_refuses_the_loader_refuses(option: OptionDoc, value: object) -> None:
    instance = {option.section: {option.name: value}}
    if not VALIDATOR.is_valid(instance):
        found = loads(dumped(instance))
        assert isinstance(found, ConfigError)
        assert found.path.startswith(option.path)


@given(option=st.sampled_from([option for option in OPTIONS if "number" in option.type]), data=st.data())
def test_schema_and_loader_draw_the_line_of_a_range_at_the_same_value(
    option: OptionDoc, data: st.DataObject
) -> None:
    """Around the limits themselves; rules between options name another expectation than the range."""
    info = mi.type_info(option.annotation)
    kind = info.type if isinstance(info, mi.Metadata) else info
    kind = kind.types[0] if isinstance(kind, mi.UnionType) else kind
    assert isinstance(kind, mi.IntType | mi.FloatType)
    step = 1 if isinstance(kind, mi.IntType) else 1e-9
    low, high = kind.ge, kind.le
    assert low is not None
    assert high is not None
    value = data.draw(st.sampled_from([low, high, low - step, high + step]))
    found = loads(dumped({option.section: {option.name: value}}))
    refused = isinstance(found, ConfigError) and "got the number" in found.expected
    assert refused is not VALIDATOR.is_valid({option.section: {option.name: value}})


@given(name=st.text(min_size=1, max_size=10), value=scalars)
def test_unknown_names_are_refused_by_schema_and_loader(name: str, value: object) -> None:
    for instance in ({name: value}, {"camera": {name: value}}):
        if not VALIDATOR.is_valid(instance):
            assert isinstance(loads(dumped(instance)), ConfigError)


def test_the_schema_accepts_what_an_empty_section_reads_as() -> None:
    assert VALIDATOR.is_valid({"camera": None, "mqtt": {}})
    assert VALIDATOR.is_valid(None)
    assert not VALIDATOR.is_valid({"camera": {"snapshots": True}})
