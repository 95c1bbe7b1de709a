# SPDX-License-Identifier: Apache-2.0
"""Measures how often an embedder's comparison scores are reached, and writes it into scores.toml.

Runs in the product's environment, not in the builder's: what is measured is the product's own detection, alignment,
embedding and template (`device/measure/score_table.py`), with the detector that ships. It reads the variants' files,
not their tables, so it also takes an embedder that was just built and that the product refuses for want of one.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from device.adapters.interpreter_tflite import TfliteInterpreter, find_runtime
from device.adapters.model_tflite import read_model
from device.assembly import load_model
from device.errors import InputError, PorterError
from device.measure.dataset import read_folder
from device.measure.embeddings import NOBODY, embed_pictures
from device.measure.faces import FaceFinder
from device.measure.progress import Progress
from device.measure.score_table import plan_templates, score_table
from device.measure.variants import EmbedderVariant, sha256_of
from device.options import Config, InferenceOptions, ModelOptions
from device.recognition.gallery import template_of
from device.vision.embed import OUTPUT_NAME, Embedder
from device.vision.tensors import Normalisation

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = Path(__file__).resolve().parent
RUNTIME: Literal["ai-edge-litert"] = "ai-edge-litert"
CAVEAT = (
    "LFW has few children, women, people over 80 and few of many ethnicities, its photos are of the press, its people "
    "may be in the training data, and its authors ask that no commercial conclusion be drawn from it: at a door expect "
    "other rates"
)


def main() -> int:
    """Exit code 0: written; 2: the data or a model cannot be used."""
    arguments = _parser().parse_args()
    try:
        text = _measured(arguments)
    except PorterError as error:
        print(error, file=sys.stderr)
        return 2
    arguments.out.write_text(text, encoding="utf-8")
    print(f"{arguments.out} written; now build again: it copies the tables into model.toml")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Measures how often one picture reaches a score against other people's templates, and how often it "
        "stays below against the person's own, for each variant of an embedder, and writes scores.toml.",
        epilog="Run it with the product's Python after the builder changed an embedder's file, then the builder again: "
        "it copies the tables into model.toml. LFW's photos take about ten minutes.",
    )
    parser.add_argument("data", type=Path, metavar="DATA", help="folder that holds lfw/*.csv and its photos")
    parser.add_argument(
        "--models", type=Path, metavar="DIR", default=HERE.parent, help="default: %(default)s"
    )
    parser.add_argument("--embedder", default="sface", metavar="NAME", help="default: %(default)s")
    parser.add_argument("--detector", default="yunet-320x256", metavar="NAME", help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="default: %(default)s")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep embeddings here between runs")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", default=HERE / "scores.toml", help="default: %(default)s"
    )
    return parser


def _measured(arguments: argparse.Namespace) -> str:
    folder = read_folder(arguments.data)
    named = {path for pair in folder.pairs for path in (pair.first, pair.second)}
    photos = sorted(named | {search.picture for search in folder.searches})
    plan = plan_templates(photos)
    options = ModelOptions(folder=str(arguments.models), detector=arguments.detector)
    config = Config(models=options, inference=InferenceOptions(delegate="cpu", runtime=RUNTIME))
    finder = FaceFinder(load_model(config, arguments.detector, "detector"))
    variants = _variants(arguments.models / arguments.embedder, arguments.threads)
    with Progress("faces and embeddings", len(photos)) as progress:
        pictures = embed_pictures(photos, finder, variants, arguments.cache, progress, plan.references)
    if pictures.unreadable:
        raise InputError(
            f"{len(pictures.unreadable)} photos cannot be read: {next(iter(pictures.unreadable.values()))}"
        )
    tables = [score_table(plan, pictures, each, template_of) for each in pictures.variants]
    found = len(photos) - pictures.looks(NOBODY)
    return _text(arguments, found, len(plan.owners), list(zip(variants, tables, strict=True)))


def _variants(folder: Path, threads: int) -> list[EmbedderVariant]:
    """Every variant that the model's manifest names, without asking the manifest for tables."""
    path = folder / "model.toml"
    try:
        manifest = tomllib.loads(path.read_text(encoding="utf-8"))
        picture = manifest["input"]
        pixels = Normalisation(picture["colour"], picture["offset"], picture["scale"])
        return [
            _variant(entry["name"], folder / entry["file"], pixels, threads) for entry in manifest["variant"]
        ]
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a manifest of the builder: {error}") from error


def _variant(name: str, path: Path, pixels: Normalisation, threads: int) -> EmbedderVariant:
    inputs, outputs = read_model(path).named([OUTPUT_NAME])
    if len(inputs) != 1 or OUTPUT_NAME not in outputs:
        raise InputError(
            f"{path}: expected one input and an output {OUTPUT_NAME}, found {', '.join((*inputs, *outputs))}"
        )
    interpreter = TfliteInterpreter(
        path,
        expected_input=next(iter(inputs.values())),
        expected_outputs=outputs,
        runtime=RUNTIME,
        threads=threads,
    )
    module = find_runtime(RUNTIME).partition(".")[0].replace("_", "-")
    return EmbedderVariant(name, Embedder(interpreter, pixels), path.name, sha256_of(path), module)


def _text(
    arguments: argparse.Namespace,
    photos: int,
    people: int,
    results: Sequence[tuple[EmbedderVariant, dict[str, Any]]],
) -> str:
    references = results[0][1]["references"]
    data = (
        f"LFW deep-funneled, {photos:,} photos against the templates of {people} other people, {references} photos "
        f"each with its mirror image. {CAVEAT}"
    )
    day = datetime.now(tz=UTC).date()
    lines = [
        "# Written by measure_scores.py: how often comparison scores (cosine) are reached, measured on the files whose",
        "# SHA-256 stand here; the builder puts the tables into model.toml, and none into a file built since.",
        f"# Measured on {day} with {RUNTIME} on the CPU: in each photo the face nearest the middle",
        f"# ({arguments.detector}, int8), aligned by device/vision/align.py. What the columns mean:",
        "# device/recognition/operating_point.py; how they are made: device/measure/score_table.py. The data are",
        "# for measuring only: nothing here was trained or calibrated on them.",
        f"data = {json.dumps(data, ensure_ascii=False)}",
    ]
    for variant, table in results:
        lines += ["", f"[{arguments.embedder}.{variant.name}]", f"sha256 = {json.dumps(variant.sha256)}"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
