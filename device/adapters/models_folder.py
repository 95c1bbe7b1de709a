# SPDX-License-Identifier: Apache-2.0
"""The models folder: one folder a model, with its manifest `model.toml` and the .tflite files of its variants.

Only detectors and embedders load. The refusal of any other task is one of the things Porter never does (traits), and
so is that of an output beside a detector's maps or the one embedding: there is no side door for an "age" head.
A file is checked against the manifest's size and SHA-256 before anything maps it: the TFLite runtimes trust a file.
"""

from __future__ import annotations

import hashlib
import math
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

import device
from device.errors import ConfigError, InputError
from device.ports import TensorDetail
from device.recognition.operating_point import ScoreTable

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA = 1
MANIFEST = "model.toml"
TASKS = ("detector", "embedder")
SYSTEM_FOLDER = Path("/usr/share/porter/models")
CHUNK_BYTES = 1 << 20
# A detector's maps at each stride: score, objectness, box, five landmarks (`vision/detect.py`).
DETECTOR_OUTPUT = re.compile(r"(cls|obj|bbox|kps)_(8|16|32)")
NO_TRAITS = "Porter knows no traits"

Task = Literal["detector", "embedder"]
Delegate = Literal["cpu", "edgetpu"]
Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
Text = Annotated[str, Meta(min_length=1)]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
Sizes = Annotated[list[Annotated[int, Meta(ge=1)]], Meta(min_length=1, max_length=5)]


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base: immutable, and unknown keys are an error."""


class InputTensor(Part, frozen=True):
    """A variant's input tensor; scale and zero point only where it is quantised."""

    name: Text
    dtype: Literal["int8", "uint8", "float32"]
    shape: Sizes
    scale: Annotated[float, Meta(ge=0)] = 0.0
    zero_point: int = 0


class OutputTensor(Part, frozen=True):
    """A variant's output tensor, by its name in the file, and what its numbers mean."""

    dtype: Literal["int8", "uint8", "float32"]
    shape: Sizes
    meaning: Text
    scale: Annotated[float, Meta(ge=0)] = 0.0
    zero_point: int = 0


class Variant(Part, frozen=True):
    """One .tflite file of a model."""

    name: Name
    file: Text
    sha256: Sha256
    bytes: Annotated[int, Meta(ge=1)]
    delegates: Annotated[list[Delegate], Meta(min_length=1)]
    quantisation: Text
    calibration: Text
    input: InputTensor
    outputs: Annotated[dict[str, OutputTensor], Meta(min_length=1)]
    scores: ScoreTable | None = None

    @property
    def input_detail(self) -> TensorDetail:
        """The input as the interpreter must report it."""
        tensor = self.input
        return TensorDetail(tensor.name, tuple(tensor.shape), tensor.dtype, tensor.scale, tensor.zero_point)

    @property
    def output_details(self) -> dict[str, TensorDetail]:
        """The outputs as the interpreter must report them, by name."""
        return {
            name: TensorDetail(name, tuple(tensor.shape), tensor.dtype, tensor.scale, tensor.zero_point)
            for name, tensor in self.outputs.items()
        }


class InputPicture(Part, frozen=True):
    """What pixels the model wants: value = (pixel - offset) / scale, channels in the order `colour`."""

    width_px: Annotated[int, Meta(ge=1, le=4096)]
    height_px: Annotated[int, Meta(ge=1, le=4096)]
    colour: Literal["rgb", "bgr"]
    offset: float
    scale: Annotated[float, Meta(gt=0)]


class DetectionDefaults(Part, frozen=True):
    """The operating point a detector was measured at."""

    score_threshold: Annotated[float, Meta(gt=0, lt=1)]
    nms_iou: Annotated[float, Meta(gt=0, lt=1)]


class Manifest(Part, frozen=True, rename={"variants": "variant"}):
    """A model's `model.toml`."""

    schema: Literal[1]
    name: Name
    task: Task
    licence: Text
    origin: Text
    source_file: Text
    source_sha256: Sha256
    input: InputPicture
    variants: Annotated[list[Variant], Meta(min_length=1)]
    detection: DetectionDefaults | None = None
    notes: str = ""


def default_folder() -> Path:
    """Where the models are: beside the package in a checkout, else where an installed system keeps them."""
    beside = Path(device.__file__).resolve().parent.parent / "models"
    return beside if beside.is_dir() else SYSTEM_FOLDER


def model_names(folder: Path) -> list[str]:
    """The models in `folder`, by name. Raises InputError where the folder cannot be read."""
    try:
        return sorted(path.parent.name for path in folder.glob(f"*/{MANIFEST}"))
    except OSError as error:
        raise InputError(f"{folder}: cannot be read: {error.strerror}") from error


def load_manifest(folder: Path, name: str) -> Manifest:
    """Reads and checks the manifest of model `name`.

    Raises InputError (no such model, unreadable) and ConfigError (file, path in it, what was expected).
    """
    path = folder / name / MANIFEST
    if Path(name).name != name or name in {"", ".", ".."}:
        raise InputError(
            f"model {name!r}: expected the name of a folder in {folder}", hint="`porter models` lists them"
        )
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        known = ", ".join(model_names(folder)) or "none"
        hint = f"models there: {known}; `models.folder` in the configuration names another folder"
        raise InputError(f"{path}: no such model", hint=hint) from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), "", f"not a TOML file: {error}") from error
    return _checked(raw, path, name)


def pick_variant(manifest: Manifest, delegate: str, name: str | None = None) -> Variant:
    """The first variant that lists `delegate`, or the one called `name`, which must list it too."""
    for variant in manifest.variants:
        if name in {None, variant.name} and delegate in variant.delegates:
            return variant
    known = ", ".join(f"{v.name} ({' '.join(v.delegates)})" for v in manifest.variants)
    wanted = f"variant {name!r}" if name is not None else "a variant"
    raise InputError(
        f"model {manifest.name}: {wanted} for delegate {delegate} is missing", hint=f"there are: {known}"
    )


def variant_path(folder: Path, manifest: Manifest, variant: Variant) -> Path:
    """The variant's file. Raises ConfigError where it would lie outside the model's own folder."""
    home = (folder / manifest.name).resolve()
    path = home / variant.file
    if path.resolve().parent != home:
        expected = f"expected a file in {home}, got {variant.file!r}"
        raise ConfigError(str(home / MANIFEST), f"variant {variant.name}.file", expected)
    return path


def check_file(folder: Path, manifest: Manifest, variant: Variant) -> Path:
    """The variant's file, after its size and SHA-256 were compared with the manifest. Raises InputError."""
    path = variant_path(folder, manifest, variant)
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
    except FileNotFoundError as error:
        hint = "install the models again, or make them with `make models`"
        raise InputError(f"{path}: missing; {manifest.name}/{MANIFEST} lists it", hint=hint) from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    hint = (
        f"copy the file again; if the change is yours, write its size and hash into {path.parent / MANIFEST}"
    )
    if size != variant.bytes:
        what = "truncated" if size < variant.bytes else "too long"
        raise InputError(f"{path}: {what}: expected {variant.bytes} bytes, found {size}", hint=hint)
    if digest.hexdigest() != variant.sha256:
        both = f"expected sha256 {variant.sha256}, found {digest.hexdigest()}"
        raise InputError(f"{path}: not the file of the manifest: {both}", hint=hint)
    return path


def _checked(raw: dict[str, Any], path: Path, name: str) -> Manifest:
    """Turns parsed TOML into a Manifest; schema and task come first, so that they get their own words."""
    if raw.get("schema") != SCHEMA or isinstance(raw["schema"], bool):
        expected = f"expected {SCHEMA}, found {raw.get('schema')!r}"
        raise ConfigError(
            str(path), "schema", expected, hint="this manifest is for another version of Porter"
        )
    if raw.get("task") not in TASKS:
        expected = f"expected {' or '.join(TASKS)}, found {raw.get('task')!r}"
        hint = f"{NO_TRAITS}: no age, sex, ethnicity, emotion or gait; only detectors and embedders load"
        raise ConfigError(str(path), "task", expected, hint=hint)
    for where, number in _floats(raw):
        if not math.isfinite(number):
            raise ConfigError(str(path), where, f"expected a finite number, found {number}")
    try:
        manifest = msgspec.convert(raw, Manifest)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `")
        where = re.sub(r"^(key in )?`?\$\.?", "", where).rstrip("`")
        raise ConfigError(str(path), where, what[:1].lower() + what[1:]) from error
    for where, problem in _contradictions(manifest, name):
        raise ConfigError(str(path), where, problem)
    return manifest


def _floats(value: Any, where: str = "") -> Iterator[tuple[str, float]]:
    """Every float in parsed TOML with its path."""
    if isinstance(value, float):
        yield where, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _floats(item, f"{where}.{key}" if where else key)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _floats(item, f"{where}[{index}]")


def _contradictions(manifest: Manifest, name: str) -> Iterator[tuple[str, str]]:
    """What types alone cannot say: (path, problem)."""
    if manifest.name != name:
        yield "name", f"expected the folder's name {name!r}, found {manifest.name!r}"
    if (manifest.detection is None) == (manifest.task == "detector"):
        yield "detection", "expected this table for a detector, and only for a detector"
    seen: set[str] = set()
    for index, variant in enumerate(manifest.variants):
        here = f"variant[{index}]"
        if variant.name in seen:
            yield f"{here}.name", f"expected a name of its own, found {variant.name!r} twice"
        seen.add(variant.name)
        shape = [1, manifest.input.height_px, manifest.input.width_px, 3]
        if variant.input.shape != shape:
            yield f"{here}.input.shape", f"expected {shape} (from [input]), found {variant.input.shape}"
        yield from _task_contradictions(manifest.task, variant, here)
        tensors: dict[str, InputTensor | OutputTensor] = {
            f"outputs.{key}": item for key, item in variant.outputs.items()
        }
        for key, tensor in {"input": variant.input, **tensors}.items():
            if (tensor.dtype == "float32") != (tensor.scale == 0):
                yield (
                    f"{here}.{key}.scale",
                    f"expected a scale if and only if quantised; dtype is {tensor.dtype}",
                )


def _task_contradictions(task: Task, variant: Variant, here: str) -> Iterator[tuple[str, str]]:
    """What a detector or an embedder may give out, and nothing else."""
    if task == "detector":
        for name in variant.outputs:
            if not DETECTOR_OUTPUT.fullmatch(name):
                yield (
                    f"{here}.outputs.{name}",
                    f"expected only cls, obj, bbox, kps at 8, 16, 32 ({NO_TRAITS})",
                )
        if variant.scores is not None:
            yield f"{here}.scores", "expected none: a detector compares nobody"
        return
    if len(variant.outputs) != 1:
        yield (
            f"{here}.outputs",
            f"expected one, the embedding ({NO_TRAITS}), found {', '.join(variant.outputs)}",
        )
    for name, tensor in variant.outputs.items():
        if len(tensor.shape) != 2 or tensor.shape[0] != 1:
            yield f"{here}.outputs.{name}.shape", f"expected [1, D], found {tensor.shape}"
    if variant.scores is None:
        yield f"{here}.scores", "expected a table of how often each comparison score is reached"
