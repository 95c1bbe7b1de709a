# SPDX-License-Identifier: Apache-2.0
"""Writes model.toml from the files as they were built: tensors as an interpreter reports them, sizes, hashes.

What a score is worth cannot be built, it is measured; the tables come from scores.toml, which names the file they
were measured on by its hash. A variant built differently since gets none, and the build says so.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from typing import TYPE_CHECKING, Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

if TYPE_CHECKING:
    from pathlib import Path

    from recipes import Model, Variant

SCORE_THRESHOLD, NMS_IOU = 0.6, 0.3
MEANINGS = {
    "cls": "probability that the cell holds a face",
    "obj": "objectness: how well its box fits",
    "bbox": "box: centre x, y from the cell's corner and log of width, height, in strides",
    "kps": "five landmarks x, y from the cell's corner, in strides; of the subject: right eye, left eye, nose tip, "
    "right mouth corner, left mouth corner",
    "embedding": "the face as a vector, to be scaled to length 1; the comparison score is the cosine",
}


def file_name(model: Model, variant: Variant) -> str:
    """The variant's file in the model's folder."""
    return f"{model.name}-{variant.name}.tflite"


def manifest_text(model: Model, scores: Path) -> str:
    """The whole model.toml."""
    width, height = model.size
    lines = [
        "# Written by models/build; edit recipes.py or scores.toml there, not this file.",
        "schema = 1",
        *_fields(name=model.name, task=model.task, licence=model.source.licence, origin=model.source.origin),
        *_fields(source_file=model.source.file, source_sha256=model.source.sha256, notes=model.notes),
        "",
        "[input]",
        *_fields(width_px=width, height_px=height, colour="rgb", offset=model.offset, scale=model.scale),
    ]
    if model.task == "detector":
        lines += ["", "[detection]", *_fields(score_threshold=SCORE_THRESHOLD, nms_iou=NMS_IOU)]
    measured = tomllib.loads(scores.read_text(encoding="utf-8"))
    for variant in model.variants:
        lines += _variant_lines(model, variant, measured)
    return "\n".join(lines) + "\n"


def _variant_lines(model: Model, variant: Variant, measured: dict[str, Any]) -> list[str]:
    digest = hashlib.sha256(variant.content).hexdigest()
    lines = [
        "",
        "[[variant]]",
        *_fields(
            name=variant.name, file=file_name(model, variant), sha256=digest, bytes=len(variant.content)
        ),
        *_fields(
            delegates=list(variant.delegates),
            quantisation=variant.quantisation,
            calibration=variant.calibration,
        ),
    ]
    interpreter = Interpreter(model_content=variant.content)
    (given,) = interpreter.get_input_details()
    lines += ["", "[variant.input]", *_fields(name=given["name"]), *_tensor_lines(given)]
    for made in interpreter.get_output_details():
        meaning = MEANINGS[made["name"].partition("_")[0]]
        lines += ["", f"[variant.outputs.{made['name']}]", *_tensor_lines(made), *_fields(meaning=meaning)]
    if model.task == "embedder":
        lines += _score_lines(measured.get(model.name, {}).get(variant.name, {}), digest, measured["data"])
    return lines


def _score_lines(entry: dict[str, Any], digest: str, data: str) -> list[str]:
    if entry.get("sha256") != digest:
        print(f"  no scores: scores.toml was measured on {entry.get('sha256')}, this file is {digest}")
        return []
    table = {key: value for key, value in entry.items() if key != "sha256"}
    return ["", "[variant.scores]", *_fields(data=data, **table)]


def _tensor_lines(detail: dict[str, Any]) -> list[str]:
    dtype = np.dtype(detail["dtype"]).name
    lines = _fields(dtype=dtype, shape=[int(size) for size in detail["shape"]])
    scale, zero_point = detail["quantization"]
    return lines + (_fields(scale=float(scale), zero_point=int(zero_point)) if scale else [])


def _fields(**values: Any) -> list[str]:
    """TOML lines. JSON's strings, numbers and lists are TOML's as well."""
    return [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in values.items()]
