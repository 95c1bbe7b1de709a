# SPDX-License-Identifier: Apache-2.0
"""Measures the embedder's comparison scores at three false match rates and writes them into thresholds.toml.

Runs in the product's environment, not in the builder's: what is measured is the product's own detection, alignment and
embedding (`device/measure`), with the detector that ships. It reads the variants' files, not their thresholds, so it
also takes an embedder that was just built and that the product refuses for want of thresholds.
"""

from __future__ import annotations

import argparse
import json
import math
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
from device.measure.variants import EmbedderVariant, sha256_of
from device.measure.verification import impostor_thresholds
from device.options import Config, InferenceOptions, ModelOptions
from device.vision.embed import OUTPUT_NAME, Embedder
from device.vision.tensors import Normalisation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from device.measure.embeddings import VariantEmbeddings

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
        _measure(arguments)
    except PorterError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Measures the cosine that at most 1e-3, 1e-4 and 1e-5 of all pairs of photos of different people "
        "reach, for each variant of an embedder, and writes thresholds.toml.",
        epilog="Run it with the product's Python after the builder changed an embedder's file, then the builder again: "
        "it copies the thresholds into model.toml. LFW's 7,701 photos take about eight minutes.",
    )
    parser.add_argument(
        "data", type=Path, metavar="DATA", help="folder that holds lfw/pairs.csv and its photos"
    )
    parser.add_argument(
        "--models", type=Path, metavar="DIR", default=HERE.parent, help="default: %(default)s"
    )
    parser.add_argument("--embedder", default="sface", metavar="NAME", help="default: %(default)s")
    parser.add_argument("--detector", default="yunet-320x256", metavar="NAME", help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="default: %(default)s")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep embeddings here between runs")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", default=HERE / "thresholds.toml", help="default: %(default)s"
    )
    return parser


def _measure(arguments: argparse.Namespace) -> None:
    pairs = read_folder(arguments.data).pairs
    if not pairs:
        raise InputError(
            f"{arguments.data}: no lfw/pairs.csv there", hint="`porter evaluate --help` gives its form"
        )
    photos = sorted({path for pair in pairs for path in (pair.first, pair.second)})
    options = ModelOptions(folder=str(arguments.models), detector=arguments.detector)
    config = Config(models=options, inference=InferenceOptions(delegate="cpu", runtime=RUNTIME))
    finder = FaceFinder(load_model(config, arguments.detector, "detector"))
    variants = _variants(arguments.models / arguments.embedder, arguments.threads)
    with Progress("faces and embeddings", len(photos)) as progress:
        pictures = embed_pictures(photos, finder, variants, arguments.cache, progress)
    if pictures.unreadable:
        raise InputError(
            f"{len(pictures.unreadable)} photos cannot be read: {next(iter(pictures.unreadable.values()))}"
        )
    found = len(photos) - pictures.looks(NOBODY)
    results = [(each, *impostor_thresholds(photos, pictures, each)) for each in pictures.variants]
    text = _text(arguments, found, results)
    arguments.out.write_text(text, encoding="utf-8")
    print(text, end="")


def _variants(folder: Path, threads: int) -> list[EmbedderVariant]:
    """Every variant that the model's manifest names, without asking the manifest for thresholds."""
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
    results: Sequence[tuple[VariantEmbeddings, dict[str, float], int]],
) -> str:
    """thresholds.toml. Scores are rounded up, which never raises the rate they stand for."""
    pairs = results[0][2]
    data = (
        f"LFW deep-funneled, {pairs:,} pairs of photos of different people (all pairs of the {photos:,} photos in "
        f"pairs.csv). {CAVEAT}"
    )
    day = datetime.now(tz=UTC).date()
    lines = [
        "# Written by measure_thresholds.py: comparison scores (cosine) at three false match rates, measured on the",
        "# files whose SHA-256 stand here; the builder puts them into model.toml, and none into a file built since.",
        f"# Measured on {day} with {RUNTIME} on the CPU: in each photo the face nearest the middle",
        f"# ({arguments.detector}, int8), aligned by device/vision/align.py; every two photos of different people",
        "# compared; the smallest score that no more than this share of the pairs reaches, rounded up. The data are",
        "# for measuring only: nothing here was trained or calibrated on them.",
        f"data = {_toml(data)}",
    ]
    for each, scores, _ in results:
        upward = ", ".join(
            f'"{rate}" = {math.ceil(score * 1000) / 1000:.3f}' for rate, score in scores.items()
        )
        lines += ["", f"[{arguments.embedder}.{each.variant.name}]", f"sha256 = {_toml(each.variant.sha256)}"]
        lines.append(f"scores = {{ {upward} }}")
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """JSON's strings are TOML's as well."""
    return json.dumps(value, ensure_ascii=False)


if __name__ == "__main__":
    sys.exit(main())
