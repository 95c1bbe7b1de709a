# SPDX-License-Identifier: Apache-2.0
"""List the models: variants, hashes, tensors, comparison scores, and which operators the Edge TPU maps.

Every file is compared with its manifest: size, SHA-256, tensors. A model that is wrong is reported with both sides,
the others are still listed, and the exit code is 1. No TFLite runtime is needed or loaded.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from device.adapters.edgetpu_table import TABLE, load_edgetpu_table
from device.adapters.interpreter_tflite import differences
from device.adapters.model_tflite import EDGETPU_OPERATOR, read_model
from device.adapters.models_folder import check_file, default_folder, load_manifest, model_names
from device.errors import InputError, PorterError
from device.recognition.operating_point import score_at

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from device.adapters.edgetpu_table import EdgeTpuTable
    from device.adapters.model_tflite import Operator
    from device.adapters.models_folder import Manifest, Variant
    from device.ports import TensorDetail


@dataclass(frozen=True, slots=True)
class OperatorReport:
    """One operator of a file. edgetpu: `compiled`, `maps` or `cpu`."""

    name: str
    dtypes: tuple[str, ...]
    shape: tuple[int, ...]
    edgetpu: str
    limitation: str


@dataclass(frozen=True, slots=True)
class VariantReport:
    """One variant: what its manifest says and what is wrong with its file (empty: nothing)."""

    variant: Variant
    problems: list[str]
    operators: list[OperatorReport]


@dataclass(frozen=True, slots=True)
class ModelReport:
    """One model; `manifest` is None where it could not be read."""

    name: str
    manifest: Manifest | None
    problems: list[str]
    variants: list[VariantReport] = field(default_factory=list)

    def all_problems(self) -> list[str]:
        """The model's and its variants' problems."""
        return self.problems + [problem for variant in self.variants for problem in variant.problems]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("name", metavar="NAME", nargs="?", help="one model; without it all of the folder")
    parser.add_argument(
        "--folder", metavar="DIR", type=Path, help="models folder (default: the one Porter ships)"
    )
    parser.add_argument("--ops", action="store_true", help="list every operator, not only how many of each")
    parser.add_argument("--json", action="store_true", help="print one JSON object, for programs")


def run(args: argparse.Namespace) -> int:
    """Prints the list; returns 1 where any model is wrong. Raises InputError: no such folder or model."""
    folder: Path = args.folder or default_folder()
    names = model_names(folder)
    if not names:
        raise InputError(f"{folder}: no models there", hint="`--folder DIR` names another folder")
    if args.name is not None and args.name not in names:
        raise InputError(f"{folder}: no model {args.name!r}", hint=f"models there: {', '.join(names)}")
    # A folder of somebody's own models need not repeat the table.
    table = load_edgetpu_table(folder if (folder / TABLE).exists() else default_folder())
    reports = [examine(folder, name, table) for name in names if args.name in {None, name}]
    problems = [problem for report in reports for problem in report.all_problems()]
    if args.json:
        print(json.dumps(as_json(folder, reports, table), indent=2))
    else:
        print("\n".join(as_text(folder, reports, table, every_operator=args.ops)))
    return 1 if problems else 0


def examine(folder: Path, name: str, table: EdgeTpuTable) -> ModelReport:
    """Checks one model. Never raises for what is wrong with it."""
    try:
        manifest = load_manifest(folder, name)
    except PorterError as error:
        return ModelReport(name, None, [str(error)])
    variants = [_examine_variant(folder, manifest, variant, table) for variant in manifest.variants]
    return ModelReport(name, manifest, [], variants)


def _examine_variant(
    folder: Path, manifest: Manifest, variant: Variant, table: EdgeTpuTable
) -> VariantReport:
    try:
        path = check_file(folder, manifest, variant)
        model = read_model(path)
    except PorterError as error:
        return VariantReport(variant, [str(error)], [])
    inputs, outputs = model.named(variant.outputs)
    wrong = differences(variant.input_detail, variant.output_details, inputs, outputs)
    problems = [f"{path}: not the tensors of the manifest: {each}" for each in wrong]
    return VariantReport(
        variant, problems, [_examine_operator(operator, table) for operator in model.operators]
    )


def _examine_operator(operator: Operator, table: EdgeTpuTable) -> OperatorReport:
    values = {tensor.dtype for tensor in operator.inputs[:1] + operator.outputs}
    constants = {tensor.dtype for tensor in operator.inputs[1:]}
    edgetpu = "maps" if table.maps(operator.name, values, constants) else "cpu"
    if operator.name == EDGETPU_OPERATOR:
        edgetpu = "compiled"
    rule = table.ops.get(operator.name)
    shape = operator.outputs[0].shape if operator.outputs else ()
    return OperatorReport(operator.name, operator.dtypes, shape, edgetpu, rule.notes if rule else "")


def as_text(
    folder: Path, reports: list[ModelReport], table: EdgeTpuTable, *, every_operator: bool
) -> Iterator[str]:
    """The list for people."""
    yield f"models in {folder}"
    for report in reports:
        yield ""
        if report.manifest is None:
            yield f"{report.name}: WRONG MANIFEST"
        else:
            picture = report.manifest.input
            size = f"{picture.width_px}x{picture.height_px} {picture.colour}"
            yield f"{report.name}: {report.manifest.task}, {size}, {report.manifest.licence}"
        for variant in report.variants:
            yield from _variant_text(variant, every_operator=every_operator)
    problems = [problem for report in reports for problem in report.all_problems()]
    yield ""
    yield f"Edge TPU mapping by {TABLE}: {table.source}"
    yield (
        f"{len(problems)} wrong:" if problems else f"{len(reports)} models, all files as their manifests say"
    )
    yield from (f"- {problem}" for problem in problems)


def _variant_text(report: VariantReport, *, every_operator: bool) -> Iterator[str]:
    variant = report.variant
    verdict = "WRONG, see below" if report.problems else "ok"
    yield f"  {variant.name}  {variant.quantisation}; for {', '.join(variant.delegates)}"
    yield f"    file       {variant.file}, {variant.bytes} bytes, sha256 {variant.sha256[:12]}...: {verdict}"
    yield f"    input      {_tensor_text(variant.input_detail)}"
    for name, detail in variant.output_details.items():
        yield f"    output     {_tensor_text(detail)}: {variant.outputs[name].meaning}"
    if (table := variant.scores) is not None:
        scores = [f"{score_at(table, fmr):.3f} at FMR {fmr:g}" for fmr in (1e-3, 1e-4, 1e-5, 1e-6)]
        yield f"    scores     {', '.join(scores)}; counted to {table.measured_to:g}, on {table.data}"
    if report.operators:
        yield f"    Edge TPU   {_mapping_text(report.operators)}"
    if every_operator:
        for index, each in enumerate(report.operators):
            shape = "x".join(map(str, each.shape))
            yield f"    {index:>4} {each.name:<24} {shape:<14} {' '.join(each.dtypes):<14} {each.edgetpu}"
    else:
        counts = Counter((each.name, each.dtypes, each.edgetpu) for each in report.operators)
        for (name, dtypes, edgetpu), count in sorted(counts.items()):
            yield f"    {count:>4} {name:<24} {' '.join(dtypes):<14} {edgetpu}"


def _mapping_text(operators: list[OperatorReport]) -> str:
    """One sentence on what the Edge TPU would do with a file."""
    left = sum(each.edgetpu == "cpu" for each in operators)
    if any(each.edgetpu == "compiled" for each in operators):
        return f"compiled; {left} operators stay on the CPU" if left else "compiled, all of it"
    if left:
        return f"{left} of {len(operators)} operators do not map"
    return f"all {len(operators)} operators map; not compiled yet: models/compile.sh"


def _tensor_text(detail: TensorDetail) -> str:
    shape = "x".join(str(size) for size in detail.shape)
    quantised = f" scale {detail.scale:.6g} zero point {detail.zero_point}" if detail.scale else ""
    return f"{detail.name:<10} {detail.dtype} {shape}{quantised}"


def as_json(folder: Path, reports: list[ModelReport], table: EdgeTpuTable) -> dict[str, Any]:
    """The list for programs."""
    return {
        "folder": str(folder),
        "ok": not any(report.all_problems() for report in reports),
        "edgetpu_source": table.source,
        "models": [
            {
                "name": report.name,
                "task": report.manifest.task if report.manifest else None,
                "licence": report.manifest.licence if report.manifest else None,
                "problems": report.problems,
                "variants": [_variant_json(variant) for variant in report.variants],
            }
            for report in reports
        ],
    }


def _variant_json(report: VariantReport) -> dict[str, Any]:
    variant = report.variant
    return {
        "name": variant.name,
        "file": variant.file,
        "sha256": variant.sha256,
        "bytes": variant.bytes,
        "delegates": variant.delegates,
        "problems": report.problems,
        "input": asdict(variant.input_detail),
        "outputs": [asdict(detail) for detail in variant.output_details.values()],
        "scores": None if variant.scores is None else msgspec.to_builtins(variant.scores),
        "operators": [asdict(operator) for operator in report.operators],
    }
