# SPDX-License-Identifier: Apache-2.0
"""Write what follows from the code: `config/porter.yaml`, the JSON schemas, `docs/config.md`. For those who change it.

`python -m device.generate` writes the files that are out of date, `--check` only names them and fails. Nothing here
runs on a device.
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
import textwrap
from pathlib import Path
from typing import Any

import msgspec

from device.asyncapi import asyncapi_yaml
from device.option_docs import OptionDoc, SectionDoc, sections_table
from device.options import Config
from device.payloads import Alert, Command, CommandResult, Event, Health, Info, Presence

ROOT = Path(__file__).resolve().parents[1]
DIALECT = "https://json-schema.org/draft/2020-12/schema"
PAYLOADS: dict[str, type[msgspec.Struct]] = {
    "match": Event,
    "presence": Presence,
    "info": Info,
    "alert": Alert,
    "health": Health,
    "command": Command,
    "command-result": CommandResult,
}

YAML_HEAD = """\
# Porter's configuration: every option with its default. Remove the # before an option (not the one before a
# sentence) to change it. Check it with `porter check-config FILE`; a running service reads it again on SIGHUP
# (`systemctl reload`), all of it or nothing. The same as a page: docs/config.md.
# Written by `make docs` from device/options.py.
"""

PAGE_HEAD = """\
# Configuration

<!-- Written by `make docs` from device/options.py: change it there. -->

Porter reads one YAML file. `config/porter.yaml` has every option, commented out, with its default; every section and
every option may be left out. An editor that knows JSON Schema completes and checks it with
`config/porter.schema.json`.

`porter check-config FILE` lists everything wrong with a file, each with its line, what was expected and what to do;
`--show` prints the configuration in effect, `--json` is for programs. Unknown options, options given twice, anchors,
aliases and tags are refused. Quote texts that YAML would take for something else: `"no"`, `"5"`.

A running service reads the file again on SIGHUP (`systemctl reload`): all of it or none of it. A file with a mistake
leaves the old configuration running and raises the alert `config_rejected`; so does a change of an option marked
**restart**, which needs `systemctl restart`. Some limits hold between options, for instance that
`recognition.max_frames` is at least `recognition.min_frames`; `check-config` names them.

There is no option that stores or publishes a picture, enrols somebody from afar, or takes frames from the network.
"""


def porter_yaml() -> str:
    """`config/porter.yaml`: sections present, every option commented out. Loading it gives the defaults."""
    return YAML_HEAD + "".join(_yaml_section(section) for section in sections_table())


def _yaml_section(section: SectionDoc) -> str:
    lines = ["", *_comment(section.doc, ""), f"{section.name}:"]
    for option in section.options:
        lines += [
            *_comment(f"{option.doc} {_limits(option)}", "  "),
            f"  #{option.name}: {option.default_text}",
        ]
    return "\n".join(lines) + "\n"


def _comment(text: str, indent: str) -> list[str]:
    head = f"{indent}# "
    return textwrap.wrap(text, 110, initial_indent=head, subsequent_indent=head, break_on_hyphens=False)


def _limits(option: OptionDoc) -> str:
    """The type, range and unit as a sentence: `A number from 0 to 120 Hz.`"""
    words = " ".join(part for part in (option.type, option.range, option.unit) if part)
    restart = " Needs a restart." if option.restart else ""
    return f"{words[0].upper()}{words[1:]}.{restart}"


def reference_page() -> str:
    """`docs/config.md`: a table a section."""
    return PAGE_HEAD + "".join(_page_section(section) for section in sections_table())


def _page_section(section: SectionDoc) -> str:
    lines = ["", f"## {section.name}", "", section.doc, "", "| option | value | default | what it is |"]
    lines.append("|---|---|---|---|")
    for option in section.options:
        value = " ".join(part for part in (option.type, option.range, option.unit) if part)
        doc = option.doc + (" **restart**" if option.restart else "")
        cells = (f"`{option.name}`", value, f"`{option.default_text}`", doc)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def config_schema() -> dict[str, Any]:
    """`config/porter.schema.json`. What it refuses the loader refuses; the loader also checks between options."""
    schema = msgspec.json.schema(Config)
    top = schema["$defs"]["Config"]
    for name, section in top["properties"].items():
        # An empty section (all its options commented out) is null; the options carry the defaults.
        top["properties"][name] = {"anyOf": [{"$ref": section["$ref"]}, {"type": "null"}]}
    top["type"] = ["object", "null"]
    return {"$schema": DIALECT, "title": "porter.yaml", **schema}


def payload_schema(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """`config/schemas/<topic>.schema.json`: exactly what this version publishes.

    Closed, so that a test fails when a field slips in. A subscriber ignores fields it does not know: v1 may grow.
    """
    comment = "What this version publishes. Subscribers ignore unknown fields: contract v1 may add some."
    return {"$schema": DIALECT, "$comment": comment, **msgspec.json.schema(kind)}


def _as_json(schema: dict[str, Any]) -> str:
    return json.dumps(_dedented(schema), indent=2, ensure_ascii=False) + "\n"


def _dedented(part: Any) -> Any:
    """The schema with docstrings as Python 3.13 keeps them: earlier versions leave the source's indentation in."""
    if isinstance(part, dict):
        return {
            key: inspect.cleandoc(value)
            if key == "description" and isinstance(value, str)
            else _dedented(value)
            for key, value in part.items()
        }
    return [_dedented(item) for item in part] if isinstance(part, list) else part


def files() -> dict[str, str]:
    """Every generated file: its path from the repository's root, and its text."""
    schemas = {f"config/schemas/{name}.schema.json": payload_schema(kind) for name, kind in PAYLOADS.items()}
    schemas["config/porter.schema.json"] = config_schema()
    texts = {path: _as_json(schema) for path, schema in schemas.items()}
    return {
        "config/porter.yaml": porter_yaml(),
        "config/asyncapi.yaml": asyncapi_yaml(),
        "docs/config.md": reference_page(),
        **texts,
    }


def out_of_date(root: Path) -> list[str]:
    """Paths of the generated files that are missing or differ."""
    stale = []
    for path, text in files().items():
        file = root / path
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            stale.append(path)
    return stale


def main(argv: list[str] | None = None) -> int:
    """Writes or checks; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m device.generate", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail where a file is out of date"
    )
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository (default: this one)")
    args = parser.parse_args(argv)
    stale = out_of_date(args.root)
    if args.check:
        for path in stale:
            print(f"{path} is out of date: run `make docs`", file=sys.stderr)
        return 1 if stale else 0
    texts = files()
    for path in stale:
        file = args.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(texts[path], encoding="utf-8")
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
