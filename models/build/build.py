# SPDX-License-Identifier: Apache-2.0
"""Builds the models Porter ships: from two ONNX files to .tflite files and their manifests.

Takes about a minute. The same sources and pictures give the same bytes: `--check` builds into a scratch folder and
compares with what is there.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from calibration import load_portraits
from checks import DifferenceError, largest_difference
from manifest import file_name, manifest_text
from recipes import build_sface, build_yunet, find_landmarks, read_sface, read_yunet
from sources import SFACE, YUNET, SourceError, obtain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from recipes import Model

HERE = Path(__file__).resolve().parent
DETECTOR_SIZES = ((320, 256), (640, 480))
LARGEST_FILE_BYTES = 12_000_000


def main() -> int:
    """Exit code 0: built, or the same as before; 1: --check found differences; 2: a source is missing or wrong."""
    arguments = _parser().parse_args()
    try:
        models = list(_models(arguments.sources, arguments.portraits))
    except (SourceError, DifferenceError) as error:
        print(error, file=sys.stderr)
        return 2
    if not arguments.check:
        for model in models:
            _write(model, arguments.out)
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        for model in models:
            _write(model, Path(scratch))
        return _compare(Path(scratch), arguments.out)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Builds the .tflite files and model.toml manifests of models/ from two ONNX files of opencv_zoo.",
        epilog="After a change that alters an embedder's file: measure its scores again (measure_scores.py "
        "writes scores.toml), then build again; without them the product refuses the model.",
    )
    parser.add_argument(
        "--sources",
        type=Path,
        metavar="DIR",
        help=f"folder that holds {YUNET.file} and {SFACE.file}; without it they are fetched from GitHub into "
        "models/build/out. Either way their SHA-256 is checked",
    )
    parser.add_argument(
        "--portraits",
        type=Path,
        metavar="DIR",
        default=HERE.parents[1] / "device" / "demo_data",
        help="folder of the two public-domain portraits to calibrate on (default: device/demo_data)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        default=HERE.parent,
        help="where the model folders are (default: models)",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; exit 1 unless --out holds exactly what would be written",
    )
    return parser


def _models(sources: Path | None, portraits: Path) -> Iterator[Model]:
    yunet_path, sface_path = (obtain(source, sources, HERE / "out") for source in (YUNET, SFACE))
    yunet, sface = read_yunet(yunet_path), read_sface(sface_path)
    worst = largest_difference(yunet, yunet_path, bgr=True, offset=0.0, scale=1.0)
    print(f"YuNet as float on RGB against its source on BGR: largest difference {worst:.2g}")
    worst = largest_difference(sface, sface_path, bgr=False, offset=127.5, scale=128.0)
    print(f"SFace as float against its source: largest difference {worst:.2g}")
    found = find_landmarks(yunet, load_portraits(portraits))
    for width, height in DETECTOR_SIZES:
        yield build_yunet(yunet, found, width, height)
    yield build_sface(sface, found)


def _write(model: Model, out: Path) -> None:
    """The model's folder under `out`. Its LICENSE is kept by hand."""
    folder = out / model.name
    folder.mkdir(parents=True, exist_ok=True)
    for variant in model.variants:
        if len(variant.content) > LARGEST_FILE_BYTES:
            raise ValueError(
                f"{model.name} {variant.name}: {len(variant.content)} bytes are too many to commit"
            )
        _replace(folder / file_name(model, variant), variant.content)
        print(f"{model.name}/{file_name(model, variant)}: {len(variant.content)} bytes")
    text = manifest_text(model, HERE / "scores.toml")
    _replace(folder / "model.toml", text.encode())


def _replace(path: Path, content: bytes) -> None:
    """Writes a new file under the old one's name: a running interpreter has the old one mapped and keeps it."""
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(content)
    part.replace(path)


def _compare(built: Path, kept: Path) -> int:
    """0 where every built file is the same in `kept`, else 1."""
    different = 0
    for path in sorted(item for item in built.rglob("*") if item.is_file()):
        other = kept / path.relative_to(built)
        same = other.exists() and other.read_bytes() == path.read_bytes()
        print(f"{'same     ' if same else 'DIFFERENT'} {path.relative_to(built)}")
        different += not same
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
