# SPDX-License-Identifier: Apache-2.0
"""The embedder variants to measure, by name, each in an interpreter of its own behind the product's `Embedder`.

float         the ONNX source that the others were made from, through onnxruntime; its SHA-256 is the manifest's
int8          the fully quantised variant, as the Edge TPU runs it, here on the CPU
cpu           what the loader picks for the CPU
NAME=FILE     any other .tflite of the same model, or any other variant NAME of the manifest without a file
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from device.adapters.interpreter_onnx import OnnxInterpreter
from device.adapters.interpreter_tflite import TfliteInterpreter, find_runtime
from device.adapters.model_tflite import read_model
from device.adapters.models_folder import check_file, load_manifest, pick_variant
from device.errors import InputError
from device.vision.embed import OUTPUT_NAME, Embedder
from device.vision.tensors import Normalisation

if TYPE_CHECKING:
    from device.adapters.models_folder import Manifest

DEFAULT_VARIANTS = ("float", "int8", "cpu")
SOURCE_PIXELS = Normalisation("rgb", 0.0, 1.0)  # the source normalises inside


@dataclass(frozen=True, slots=True)
class EmbedderVariant:
    """One variant, ready to embed. file: its name, sha256: of the file, runtime: what runs it."""

    name: str
    embedder: Embedder
    file: str
    sha256: str
    runtime: str


@dataclass(frozen=True, slots=True)
class VariantOpener:
    """Opens the variants of one embedder. sources: the folder of ONNX sources, where there is one."""

    models: Path
    model: str
    sources: Path | None
    runtime: str
    threads: int

    def open(self, wanted: str) -> EmbedderVariant:
        """The variant called `wanted`, or NAME=FILE. Raises InputError."""
        manifest = load_manifest(self.models, self.model)
        name, _, file = wanted.partition("=")
        if file:
            return self._file(manifest, name, Path(file))
        if name == "float":
            return self._source(manifest)
        return self._variant(manifest, name)

    def _source(self, manifest: Manifest) -> EmbedderVariant:
        if self.sources is None:
            raise InputError(
                "variant float: no --sources", hint=f"give the folder that holds {manifest.source_file}"
            )
        path = self.sources / manifest.source_file
        found = sha256_of(path)
        if found != manifest.source_sha256:
            both = f"expected sha256 {manifest.source_sha256}, found {found}"
            raise InputError(f"{path}: not the source of {manifest.name}: {both}")
        embedder = Embedder(
            OnnxInterpreter(path, output_name=OUTPUT_NAME, threads=self.threads), SOURCE_PIXELS
        )
        return EmbedderVariant("float", embedder, path.name, found, "onnxruntime")

    def _variant(self, manifest: Manifest, name: str) -> EmbedderVariant:
        # By name any variant runs, whatever delegate it is for: int8 is measured here as the Edge TPU would run it.
        named = [variant for variant in manifest.variants if variant.name == name]
        variant = named[0] if named else pick_variant(manifest, "cpu", None if name == "cpu" else name)
        path = check_file(self.models, manifest, variant)
        interpreter = TfliteInterpreter(
            path,
            expected_input=variant.input_detail,
            expected_outputs=variant.output_details,
            runtime=self.runtime,
            threads=self.threads,
        )
        return self._opened(manifest, name, path, variant.sha256, interpreter)

    def _file(self, manifest: Manifest, name: str, path: Path) -> EmbedderVariant:
        """A file without a manifest of its own: its tensors are what it says, its pixels the manifest's."""
        inputs, outputs = read_model(path).named([OUTPUT_NAME])
        if len(inputs) != 1 or OUTPUT_NAME not in outputs:
            expected = f"expected one input and an output {OUTPUT_NAME}"
            raise InputError(f"{path}: {expected}, found {', '.join((*inputs, *outputs))}")
        interpreter = TfliteInterpreter(
            path,
            expected_input=next(iter(inputs.values())),
            expected_outputs=outputs,
            runtime=self.runtime,
            threads=self.threads,
        )
        return self._opened(manifest, name, path, sha256_of(path), interpreter)

    def _opened(
        self, manifest: Manifest, name: str, path: Path, sha256: str, interpreter: TfliteInterpreter
    ) -> EmbedderVariant:
        picture = manifest.input
        embedder = Embedder(interpreter, Normalisation(picture.colour, picture.offset, picture.scale))
        module = find_runtime(self.runtime).partition(".")[0]
        return EmbedderVariant(name, embedder, path.name, sha256, module.replace("_", "-"))


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal. Raises InputError."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
