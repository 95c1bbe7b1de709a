# SPDX-License-Identifier: Apache-2.0
"""What `options.py` declares, in words: for error messages, the commented `porter.yaml` and `docs/config.md`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_type_hints

import msgspec
import msgspec.inspect as mi

from device.option_form import Section
from device.options import Config

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class OptionDoc:
    """One option in words. `annotation` is the type msgspec checks; `default` a plain Python value."""

    section: str
    name: str
    type: str
    range: str
    unit: str
    default: Any
    doc: str
    restart: bool
    annotation: Any

    @property
    def path(self) -> str:
        """`section.name`, as error messages and the documentation write it."""
        return f"{self.section}.{self.name}"

    @property
    def default_text(self) -> str:
        """The default as it is written in YAML."""
        return value_text(self.default)


@dataclass(frozen=True, slots=True)
class SectionDoc:
    """One section in words, its options in the order they are declared."""

    name: str
    doc: str
    options: tuple[OptionDoc, ...]


def value_text(value: Any) -> str:
    """An option's value as it is written in YAML: as JSON, which YAML includes and nothing in it is ambiguous."""
    return json.dumps(value, ensure_ascii=False)


def sections_table() -> tuple[SectionDoc, ...]:
    """Every section of `porter.yaml`, in the order they are declared."""
    return tuple(_section_doc(name, kind) for name, kind in get_type_hints(Config).items())


def options_table() -> list[OptionDoc]:
    """Every option of `porter.yaml`, in the order they are declared."""
    return [doc for section in sections_table() for doc in section.options]


def _section_doc(section: str, kind: type[Section]) -> SectionDoc:
    annotations = get_type_hints(kind, include_extras=True)
    defaults = msgspec.to_builtins(kind())
    options = (_option_doc(section, name, annotations[name], defaults[name]) for name in annotations)
    return SectionDoc(section, (kind.__doc__ or "").strip(), tuple(options))


def _option_doc(section: str, name: str, annotation: Any, default: Any) -> OptionDoc:
    declared = _declared(annotation)
    kind, limits = describe(annotation)
    return OptionDoc(
        section=section,
        name=name,
        type=kind,
        range=limits,
        unit=str(declared.get("x-unit", "")),
        default=default,
        doc=str(declared.get("description", "")),
        restart=bool(declared.get("x-restart", False)),
        annotation=annotation,
    )


def _declared(annotation: Any) -> Mapping[str, Any]:
    info = mi.type_info(annotation)
    return (info.extra_json_schema or {}) if isinstance(info, mi.Metadata) else {}


def expected(annotation: Any) -> str:
    """A type with its limits and unit as one phrase: `a number from 0.3 to 0.95, or null`."""
    kind, limits = describe(annotation)
    unit = str(_declared(annotation).get("x-unit", ""))
    return f"{kind} {limits} {unit}".strip() if limits else kind


def describe(annotation: Any) -> tuple[str, str]:
    """A type in words and its limits in words (empty: none)."""
    form = str(_declared(annotation).get("x-form", ""))
    kind, limits = _describe(mi.type_info(annotation))
    return (kind, f"({form})") if form else (kind, limits)


def _describe(info: mi.Type) -> tuple[str, str]:
    match info:
        case mi.Metadata():
            return _describe(info.type)
        case mi.UnionType():
            kind, limits = _describe(next(t for t in info.types if not isinstance(t, mi.NoneType)))
            return kind, f"{limits}, or null"
        case mi.BoolType():
            return "true or false", ""
        case mi.IntType():
            return "a whole number", _span(info.ge, info.le)
        case mi.FloatType():
            return "a number", _span(info.ge, info.le)
        case mi.StrType():
            return "text", _length(info.min_length, info.max_length, "characters")
        case mi.LiteralType():
            return "one of " + ", ".join(f"`{value}`" for value in info.values), ""
        case mi.ListType():
            kind, limits = _describe(info.item_type)
            return (
                "a list",
                f"{_length(info.min_length, info.max_length, 'items')}, each {kind} {limits}".strip(", "),
            )
    raise TypeError(f"options.py declares a type that has no words yet: {info}")


def _span(low: float | None, high: float | None) -> str:
    if low is None:
        return "" if high is None else f"of at most {high}"
    return f"of at least {low}" if high is None else f"from {low} to {high}"


def _length(low: int | None, high: int | None, what: str) -> str:
    if high is None:
        return f"of at least {low} {what}" if low and low > 1 else ("not empty" if low else "")
    if low == high:
        return f"of {low} {what}"
    return f"of {low or 0} to {high} {what}"
