# SPDX-License-Identifier: Apache-2.0
"""Models that a test's stub of libedgetpu can run: a shipped int8 model behind one `edgetpu-custom-op` that is a copy.

The real compiler puts nearly all of a model into that operator. Here it only makes the file one that cannot run without
the delegate, so that recognition on "the Edge TPU" gives what the int8 files give, and fails as the stub's script says.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from copy import deepcopy
from typing import TYPE_CHECKING

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from device.adapters.models_folder import default_folder

if TYPE_CHECKING:
    from pathlib import Path

MODELS = ("yunet-320x256", "sface")


def compile_as_copy(source: Path, target: Path) -> None:
    """Writes `source` with the copy before its first operator."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(source.read_bytes(), 0))
    graph = model.subgraphs[0]
    entrance = int(graph.inputs[0])
    copied = deepcopy(graph.tensors[entrance])
    copied.name = b"compiled"
    graph.tensors.append(copied)
    for operator in graph.operators:
        operator.inputs = [
            len(graph.tensors) - 1 if index == entrance else index for index in operator.inputs
        ]
    code = schema.OperatorCodeT()
    code.builtinCode = schema.BuiltinOperator.CUSTOM
    code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode, code.version = b"edgetpu-custom-op", 1
    model.operatorCodes.append(code)
    copy = schema.OperatorT()
    copy.opcodeIndex = len(model.operatorCodes) - 1
    copy.inputs, copy.outputs = [entrance], [len(graph.tensors) - 1]
    graph.operators.insert(0, copy)
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    target.write_bytes(builder.Output())


def compiled_folder(folder: Path) -> Path:
    """A models folder with both models, whose first variant is for the Edge TPU; the others are those that ship."""
    for name in MODELS:
        home = folder / name
        shutil.copytree(default_folder() / name, home)
        target = home / f"{name}-edgetpu.tflite"
        compile_as_copy(home / f"{name}-int8.tflite", target)
        manifest = (home / "model.toml").read_text()
        head, *variants = re.split(r"(?m)^(?=\[\[variant\]\]$)", manifest)
        (int8,) = (text for text in variants if '\nname = "int8"\n' in text)
        content = target.read_bytes()
        for key, value in {
            "name": '"edgetpu"',
            "file": f'"{target.name}"',
            "sha256": f'"{hashlib.sha256(content).hexdigest()}"',
            "bytes": str(len(content)),
            "delegates": '["edgetpu"]',
        }.items():
            int8 = re.sub(rf"(?m)^{key} = .*$", f"{key} = {value}", int8, count=1)
        (home / "model.toml").write_text(head + int8 + "\n" + "".join(variants))
    return folder
