# SPDX-License-Identifier: Apache-2.0
"""The tiny models of tests/data as Porter sees them: tensors, a models folder with manifests, the stub delegate."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from device.ports import TensorDetail
from tests.required import need

if TYPE_CHECKING:
    from numpy.typing import NDArray

DATA = Path(__file__).parent / "data"

INT8_INPUT = TensorDetail("pixels", (1, 4, 4, 3), "int8", 1.0, -128)
INT8_OUTPUTS = {
    "cls_8": TensorDetail("cls_8", (1, 4, 4, 1), "int8", 1.0, -128),
    "cls_16": TensorDetail("cls_16", (1, 2, 2, 1), "int8", 1.0, -128),
}
FLOAT_INPUT = TensorDetail("pixels", (1, 4, 4, 3), "float32")
FLOAT_OUTPUTS = {
    "cls_8": TensorDetail("cls_8", (1, 4, 4, 1), "float32"),
    "cls_16": TensorDetail("cls_16", (1, 2, 2, 1), "float32"),
}

HEAD = """\
schema = 1
name = "tiny"
task = "detector"
licence = "Apache-2.0"
origin = "tests/data/make_tiny_models.py"
source_file = "none.onnx"
source_sha256 = "{zeros}"

[input]
width_px = 4
height_px = 4
colour = "rgb"
offset = 0.0
scale = 1.0

[detection]
score_threshold = 0.6
nms_iou = 0.3
"""

VARIANT = """
[[variant]]
name = "{name}"
file = "{file}"
sha256 = "{sha256}"
bytes = {bytes}
delegates = {delegates}
quantisation = "{dtype}"
calibration = "none: the weights are ones"

[variant.input]
name = "pixels"
dtype = "{dtype}"
shape = [1, 4, 4, 3]
{scale}

[variant.outputs.cls_8]
dtype = "{dtype}"
shape = [1, 4, 4, 1]
meaning = "mean over the channels"
{scale}

[variant.outputs.cls_16]
dtype = "{dtype}"
shape = [1, 2, 2, 1]
meaning = "its 2x2 maximum"
{scale}
"""

# What an embedder's manifest says of its scores: a tenth as many false matches for each 0.1.
SCORES = """
[variant.scores]
data = "9.16 M impostor pairs"
references = 5
comparisons = 9160000
measured_to = 1e-4
score = [0.3, 0.4, 0.5]
fmr = [1e-2, 1e-3, 1e-4]
fmr_low = [0.9e-2, 0.9e-3, 0.9e-4]
fmr_high = [1.1e-2, 1.1e-3, 1.1e-4]
fnmr = [0.0, 0.01, 0.02]
fnmr_low = [0.0, 0.0, 0.01]
fnmr_high = [0.01, 0.02, 0.03]
"""


def variant(name: str, file: str, dtype: str, delegates: list[str]) -> str:
    """One [[variant]] of a manifest, for a file of tests/data."""
    content = (DATA / file).read_bytes()
    scale = "scale = 1.0\nzero_point = -128" if dtype == "int8" else ""
    sha256 = hashlib.sha256(content).hexdigest()
    return VARIANT.format(
        name=name, file=file, sha256=sha256, bytes=len(content), delegates=delegates, dtype=dtype, scale=scale
    )


def tiny_folder(folder: Path, *variants: str) -> Path:
    """A models folder with the one model `tiny`; by default its variants are edgetpu, int8 and float."""
    home = folder / "tiny"
    home.mkdir(parents=True)
    for file in DATA.glob("*.tflite"):
        shutil.copy(file, home)
    wanted = variants or (
        variant("edgetpu", "tiny_edgetpu.tflite", "int8", ["edgetpu"]),
        variant("int8", "tiny_int8.tflite", "int8", ["edgetpu", "cpu"]),
        variant("float", "tiny_float.tflite", "float32", ["cpu"]),
    )
    (home / "model.toml").write_text(HEAD.format(zeros="0" * 64) + "".join(wanted))
    return folder


def picture() -> NDArray[np.uint8]:
    """The pixels whose channels at place i are 15i, 15i + 5, 15i + 10: their mean is 15i + 5."""
    return (5 * np.arange(48, dtype=np.uint8)).reshape(1, 4, 4, 3)


CLS_8 = [15 * place + 5 for place in range(16)]
CLS_16 = [CLS_8[5], CLS_8[7], CLS_8[13], CLS_8[15]]  # values grow, so each 2x2 block's last is its largest


def build_stub_delegate(folder: Path) -> Path:
    """Compiles stub_delegate.c, the stand-in for libedgetpu; its behaviours are listed in that file."""
    library = folder / "libstub.so"
    compiler = need("cc", "gcc")
    source = DATA / "stub_delegate.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-Wall", "-Werror", "-o", library, source], check=True)
    return library
