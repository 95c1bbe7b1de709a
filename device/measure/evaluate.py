# SPDX-License-Identifier: Apache-2.0
"""Measure verification, identification and detection on a data folder.

The folder (`--data`) holds tables and the pictures that they name; what is missing is not measured:
  lfw/pairs.csv      path1,path2,same,fold   verification: threshold from all other folds, score on the fold
  lfw/openset_*.csv  path,identity,role      identification: role enrol, probe or stranger
  SET/boxes.csv      path,x,y,w,h            detection: one row a face; empty numbers: a picture without faces

Variants (`--variant`, again for more; without: float int8 cpu): float is the ONNX source (needs `--sources`), int8 the
variant for the Edge TPU run on the CPU, cpu what the loader picks for the CPU; NAME=FILE any other .tflite.
Everything runs through the product's own detection, alignment, embedding and gallery code. `--degraded NAME` adds,
for that variant, the searches under bad conditions (degraded.py). Writes evaluate.json and plots into `--out`; shares
in the JSON are 0 to 1. `make accuracy` makes docs/accuracy.md of it. `--attacks` measures that instead (liveness.py).
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from device.adapters.models_folder import default_folder, load_manifest, model_names
from device.errors import InputError
from device.loaded_models import load_model
from device.measure.dataset import Labelled, read_folder, spread
from device.measure.degraded import Degraded, chosen, measure_degraded
from device.measure.detection import Detected, detect_all
from device.measure.embeddings import NOBODY, SECOND_LOOK, PictureSet, embed_pictures
from device.measure.faces import FaceFinder
from device.measure.galleries import GallerySize, gallery_sizes
from device.measure.identification import Identification, identify
from device.measure.plots import draw_all, require_matplotlib
from device.measure.progress import Progress, clock
from device.measure.report import machine, positive, write_json
from device.measure.tables import print_detection, print_identification, print_verification, print_visits
from device.measure.variants import DEFAULT_VARIANTS, EmbedderVariant, VariantOpener
from device.measure.verification import Verification, verify
from device.measure.visits import Visits, measure_visits
from device.options import Config

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from device.measure.dataset import DataFolder, Search
    from device.measure.embeddings import VariantEmbeddings, VariantFacts

CAVEAT = """\
Beside any LFW figure: its authors ask that no commercial conclusion be drawn from it; children, women, people over 80
and many ethnicities are under-represented in it, and its people probably overlap with the embedder's training data."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("--data", type=Path, required=True, help="the data folder")
    parser.add_argument("--sources", type=Path, help="folder of the ONNX sources, for variant float")
    parser.add_argument(
        "--variant", action="append", metavar="NAME[=FILE]", help=f"default: {' '.join(DEFAULT_VARIANTS)}"
    )
    parser.add_argument("--models", type=Path, default=default_folder(), help="models folder: %(default)s")
    parser.add_argument(
        "--runtime",
        choices=("auto", "ai-edge-litert", "tflite-runtime"),
        default="auto",
        help="default: auto",
    )
    parser.add_argument(
        "--threads", type=positive, default=2, help="CPU threads a model may use: %(default)s"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("out"), help="folder of what is written: %(default)s"
    )
    parser.add_argument(
        "--degraded",
        action="append",
        default=[],
        metavar="NAME",
        help="a variant to search bad pictures with",
    )
    parser.add_argument(
        "--attacks", action="store_true", help="presentation attacks, and nothing else: writes attacks.json"
    )
    parser.add_argument(
        "--limit", type=positive, metavar="N", help="a quick look at N of each, marked partial"
    )
    parser.add_argument(
        "--cache", action=argparse.BooleanOptionalAction, default=True, help="keep embeddings in OUT/cache"
    )
    parser.add_argument(
        "--plots", action=argparse.BooleanOptionalAction, default=True, help="draw plots (matplotlib)"
    )


def run(args: argparse.Namespace) -> int:
    """Measures, prints, writes."""
    if args.attacks:
        from device.measure import liveness_run

        return liveness_run.run(args, CAVEAT.replace("\n", " "))
    if args.plots:
        require_matplotlib()
    started = time.monotonic()
    folder = read_folder(args.data)
    for line in folder.skipped:
        print(f"not measured: {line}")
    if args.limit:
        print(f"partial: at most {args.limit} of each are looked at")
    args.out.mkdir(parents=True, exist_ok=True)
    evaluation = Evaluation(args, folder)
    evaluation.measure()
    evaluation.print_tables()
    write_json(args.out / "evaluate.json", evaluation.as_json(time.monotonic() - started))
    print(f"\nwritten: {args.out / 'evaluate.json'}")
    if args.plots:
        for path in draw_all(
            args.out, evaluation.verification, evaluation.identification, evaluation.detection
        ):
            print(f"written: {path}")
    print(f"took {clock(time.monotonic() - started)} minutes")
    return 0


class Evaluation:
    """One run over one data folder."""

    def __init__(self, args: argparse.Namespace, folder: DataFolder) -> None:
        self._args = args
        self._folder = folder
        default = Config()
        self._config = msgspec.structs.replace(
            default,
            models=msgspec.structs.replace(default.models, folder=str(args.models)),
            inference=msgspec.structs.replace(
                default.inference, delegate="cpu", runtime=args.runtime, threads=args.threads
            ),
        )
        self._pictures = PictureSet()
        self._facts: dict[str, VariantFacts] = {}
        self.verification: dict[str, Verification] = {}
        self.identification: dict[str, Identification] = {}
        self.detection: dict[str, Detected] = {}
        self.degraded: dict[str, Degraded] = {}
        self.galleries: dict[str, list[GallerySize]] = {}
        self.visits: dict[str, list[Visits]] = {}

    def measure(self) -> None:
        """Runs every measurement that the folder has data for. Raises InputError."""
        variants = self._open_variants() if self._folder.pairs or self._folder.searches else []
        self._require_measured(variants)
        for suffix, finder in self._finders().items():
            for name, labelled in self._folder.detection.items():
                chosen = spread(labelled, self._args.limit)
                with Progress(f"detection {name}{suffix}", len(chosen)) as progress:
                    self.detection[f"{name}{suffix}"] = detect_all(chosen, finder, progress)
                self._require_readable(name, chosen, self.detection[f"{name}{suffix}"])
        if variants:
            self._compare(variants)

    def _require_measured(self, variants: Sequence[EmbedderVariant]) -> None:
        measured = [variant.name for variant in variants]
        for name in self._args.degraded:
            if name not in measured or not self._folder.searches:
                found = " ".join(measured) if self._folder.searches else "no open-set table"
                raise InputError(f"--degraded {name}: expected a measured variant, found {found}")

    def _finders(self) -> dict[str, FaceFinder]:
        """Every shipped detector by the suffix of its results: none for the default one, which aligns too."""
        main = self._config.models.detector
        finders = {"": FaceFinder(load_model(self._config, main, "detector"))}
        for name in model_names(self._args.models):
            manifest = load_manifest(self._args.models, name)
            if manifest.task == "detector" and name != main and self._folder.detection:
                size = f"@{manifest.input.width_px}x{manifest.input.height_px}"
                finders[size] = FaceFinder(load_model(self._config, name, "detector"))
        return finders

    def _open_variants(self) -> list[EmbedderVariant]:
        args = self._args
        opener = VariantOpener(
            args.models, self._config.models.embedder, args.sources, args.runtime, args.threads
        )
        if args.variant:
            names = [wanted.partition("=")[0] for wanted in args.variant]
            if len(set(names)) != len(names) or not all(name.isidentifier() for name in names):
                raise InputError(f"--variant: expected different plain names, got {' '.join(names)}")
            return [opener.open(wanted) for wanted in args.variant]
        opened = []
        for name in DEFAULT_VARIANTS:
            try:
                opened.append(opener.open(name))
            except InputError as error:
                print(f"not measured: {error}", file=sys.stderr)
        if not opened:
            raise InputError(
                "no variant can be measured: see above", hint="`porter models` lists what there is"
            )
        return opened

    def _compare(self, variants: Sequence[EmbedderVariant]) -> None:
        """Verification and identification: embeds each picture once a variant, then scores."""
        args, folder = self._args, self._folder
        pairs = spread(folder.pairs, args.limit)
        references = [search for search in folder.searches if search.role == "enrol"]
        searches = references + [
            search
            for role in ("probe", "stranger")
            for search in spread([search for search in folder.searches if search.role == role], args.limit)
        ]
        paths = sorted(
            {path for pair in pairs for path in (pair.first, pair.second)}
            | {search.picture for search in searches}
        )
        others = {path for pair in pairs for path in (pair.first, pair.second)}
        enrolling = {search.picture for search in references} | others
        cache = args.out / "cache" if args.cache else None
        finder = FaceFinder(load_model(self._config, self._config.models.detector, "detector"))
        with Progress("faces and embeddings", len(paths)) as progress:
            self._pictures = pictures = embed_pictures(paths, finder, variants, cache, progress, enrolling)
        if not pictures.keys:
            raise InputError(
                f"{args.data}: not one of {len(paths)} pictures can be read, for example: "
                f"{next(iter(pictures.unreadable.values()))}"
            )
        readable_pairs = [pair for pair in pairs if not pictures.missing(pair.first, pair.second)]
        readable_searches = [search for search in searches if not pictures.missing(search.picture)]
        for each in pictures.variants:
            name = each.variant.name
            self._facts[name] = each.facts()
            if readable_pairs:
                self.verification[name] = verify(readable_pairs, pictures, each)
            if readable_searches:
                found = self.identification[name] = identify(readable_searches, pictures, each)
                seen = {path for path in others if not pictures.missing(path)}
                self.galleries[name] = gallery_sizes(readable_searches, seen, pictures, each)
                self.visits[name] = measure_visits(readable_searches, seen, pictures, each, found.at)
            if name in args.degraded and readable_searches:
                self.degraded[name] = self._degrade(readable_searches, each)

    def _degrade(self, searches: Sequence[Search], each: VariantEmbeddings) -> Degraded:
        name = each.variant.name
        threshold = self.identification[name].at["1e-2"].threshold
        with Progress(f"bad pictures {name}", len(chosen(searches))) as progress:
            return measure_degraded(searches, self._pictures, each, self._config, threshold, progress)

    def _require_readable(self, name: str, labelled: Sequence[Labelled], result: Detected) -> None:
        if result.pictures == 0:
            raise InputError(
                f"{name}: not one of {len(labelled)} pictures can be read, for example {labelled[0].picture}"
            )

    def as_json(self, seconds: float) -> dict[str, Any]:
        """The content of evaluate.json."""
        args = self._args
        return {
            "verification": with_facts(self.verification, self._facts),
            "identification": with_facts(self.identification, self._facts),
            "detection": {name: result.as_json() for name, result in self.detection.items()},
            "degraded": {name: result.as_json() for name, result in self.degraded.items()},
            "galleries": {name: [size.as_json() for size in sizes] for name, sizes in self.galleries.items()},
            "visits": {name: [length.as_json() for length in its] for name, its in self.visits.items()},
            "about": {
                **machine(),
                "data": str(args.data),
                "partial": args.limit is not None,
                "limit": args.limit,
                "threads": args.threads,
                "not_measured": list(self._folder.skipped),
                "pictures": len(self._pictures.keys),
                "unreadable": sorted(self._pictures.unreadable.values()),
                "without_face": self._looks(NOBODY),
                "second_look": self._looks(SECOND_LOOK),
                "seconds": round(seconds, 1),
                "caveat": CAVEAT.replace("\n", " "),
            },
        }

    def _looks(self, look: int) -> int:
        return self._pictures.looks(look) if self._pictures.variants else 0

    def print_tables(self) -> None:
        """What was measured, for people."""
        print_verification(self.verification, self._facts)
        print_identification(self.identification)
        print_visits(self.visits)
        print_detection(self.detection)
        if self._pictures.keys:
            print(
                f"\n{len(self._pictures.keys)} pictures: {self._looks(NOBODY)} without a face (counted as errors), "
                f"{self._looks(SECOND_LOOK)} found at a second look; "
                f"{len(self._pictures.unreadable)} unreadable (left out)"
            )
        for reason in list(self._pictures.unreadable.values())[:5]:
            print(f"unreadable: {reason}", file=sys.stderr)
        if self.verification or self.identification:
            print(f"\n{CAVEAT}")


def with_facts(
    results: Mapping[str, Verification] | Mapping[str, Identification], facts: Mapping[str, VariantFacts]
) -> dict[str, Any]:
    """Each variant's result and which model it was."""
    return {
        name: {
            **result.as_json(),
            "file": facts[name].file,
            "sha256": facts[name].sha256,
            "runtime": facts[name].runtime,
            "embed_ms": facts[name].ms,
        }
        for name, result in results.items()
    }
