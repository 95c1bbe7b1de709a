# SPDX-License-Identifier: Apache-2.0
"""models/compile.sh with a stand-in for Google's compiler, whose logs have the documented form of the real ones."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from device.adapters.edgetpu_table import load_edgetpu_table
from device.adapters.model_tflite import read_model
from device.adapters.models_folder import check_file, load_manifest, pick_variant
from device.commands.models import examine
from device.inference import open_on_cpu
from tests.required import need

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "models" / "compile.sh"
MODELS = ("yunet-320x256", "sface")


@pytest.fixture
def compiler(tmp_path: Path) -> Path:
    """The stand-in under the real one's name."""
    path = tmp_path / "bin" / "edgetpu_compiler"
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\nexec {sys.executable} {ROOT / "tests" / "edgetpu_compiler.py"} "$@"\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run(*arguments: str | Path, how: str = "full", path: Path | None = None) -> tuple[int, str, str]:
    """Exit code, output, errors."""
    environment = dict(os.environ, STUB_COMPILER=how)
    if path is not None:
        environment["PATH"] = f"{path}:{environment['PATH']}"
    done = subprocess.run(
        [SCRIPT, *arguments], capture_output=True, text=True, check=False, env=environment, timeout=120
    )
    return done.returncode, done.stdout, done.stderr


def compiled(tmp_path: Path, compiler: Path, *more: str, how: str = "full") -> tuple[int, str, str]:
    out = tmp_path / "out"
    return run("--out", out, "--compiler", compiler, "--sha256", sha256(compiler), *more, how=how)


def test_both_models_are_compiled_in_one_call_and_make_a_folder_that_porter_takes(
    tmp_path: Path, compiler: Path
) -> None:
    code, said, errors = compiled(tmp_path, compiler)
    assert (code, errors) == (0, "")
    out = tmp_path / "out"
    table = load_edgetpu_table(out)
    for name in MODELS:
        assert examine(out, name, table).all_problems() == []
        manifest = load_manifest(out, name)
        variant = pick_variant(manifest, "edgetpu")
        assert (variant.name, variant.delegates) == ("edgetpu", ["edgetpu"])
        assert variant.quantisation.startswith("compiled by Edge TPU Compiler 16.0.384591198; ")
        path = check_file(out, manifest, variant)
        assert read_model(path).compiled
        assert f"sha256 {sha256(path)}" in said
        shipped = load_manifest(ROOT / "models", name)
        assert manifest.variants[1:] == shipped.variants
        assert variant.scores == pick_variant(shipped, "edgetpu").scores
        assert open_on_cpu(out, manifest).variant.name == pick_variant(shipped, "cpu").name
    assert "memory      6.91MiB on the chip, 2.40MiB streamed" in said
    assert "operators   40 on the Edge TPU in 1 part(s), 0 on the CPU" in said
    assert (out / "sface" / "sface-int8_edgetpu.log").exists()


def test_the_compiler_is_found_on_the_path_and_its_hash_is_asked_for(tmp_path: Path, compiler: Path) -> None:
    code, _, errors = run("--out", tmp_path / "out", path=compiler.parent)
    assert code == 2
    assert "no SHA-256 of an installed compiler is known" in errors
    assert f"--sha256 {sha256(compiler)}" in errors
    code, _, errors = run("--out", tmp_path / "out", "--sha256", sha256(compiler), path=compiler.parent)
    assert (code, errors) == (0, "")


def test_another_file_than_the_one_named_is_never_run(tmp_path: Path, compiler: Path) -> None:
    ran = tmp_path / "ran"
    compiler.write_text(f"#!/bin/sh\ntouch {ran}\n")
    code, _, errors = run("--out", tmp_path / "out", "--compiler", compiler, "--sha256", "ab" * 32)
    assert code == 2
    assert f"expected {'ab' * 32}" in errors
    assert not ran.exists()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("failed", "the compiler ended with 1"),
        ("aborted", "the compiler made no file"),
        ("short-log", "its log counts 27 operations, the compiler 40: cut off?"),
        ("empty-log", "its log has no table of operators"),
        ("no-log", "the compiler wrote no log"),
        ("partial", "some operators would stay on the CPU"),
    ],
)
def test_what_went_wrong_is_named_and_leaves_no_folder(
    tmp_path: Path, compiler: Path, how: str, words: str
) -> None:
    code, _, errors = compiled(tmp_path, compiler, how=how)
    assert code == 1
    assert words in errors
    assert "hint: " in errors
    assert not (tmp_path / "out").exists()


def test_a_partial_mapping_is_taken_where_it_is_asked_for_and_says_which_operators(
    tmp_path: Path, compiler: Path
) -> None:
    code, said, errors = compiled(tmp_path, compiler, "--allow-partial", how="partial")
    assert (code, errors) == (0, "")
    assert "40 on the Edge TPU in 1 part(s), 3 on the CPU" in said
    assert "TRANSPOSE x 2: Operation is otherwise supported, but not mapped" in said
    assert "LOGISTIC x 1: More than one subgraph is not supported" in said
    assert "CONV_2D x" not in said
    assert (tmp_path / "out" / "sface" / "model.toml").exists()


def test_a_package_is_unpacked_and_must_be_one_that_is_known_or_named(tmp_path: Path, compiler: Path) -> None:
    need("dpkg-deb", "dpkg")
    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        "Package: edgetpu-compiler\nVersion: 16.0\nArchitecture: amd64\nMaintainer: nobody\nDescription: stand-in\n"
    )
    (tree / "usr" / "bin").mkdir(parents=True)
    (tree / "usr" / "bin" / "edgetpu_compiler").write_bytes(compiler.read_bytes())
    (tree / "usr" / "bin" / "edgetpu_compiler").chmod(0o755)
    package = tmp_path / "edgetpu-compiler.deb"
    subprocess.run(["dpkg-deb", "--build", tree, package], check=True, capture_output=True)
    code, _, errors = run("--out", tmp_path / "out", "--package", package)
    assert code == 2
    assert "of no package that is known" in errors
    code, _, errors = run("--out", tmp_path / "out", "--package", package, "--sha256", sha256(package))
    assert (code, errors) == (0, "")


def test_a_source_that_is_not_the_manifests_is_refused(tmp_path: Path, compiler: Path) -> None:
    models = tmp_path / "models"
    for name in MODELS:
        (models / name).mkdir(parents=True)
        (models / name / "model.toml").write_bytes((ROOT / "models" / name / "model.toml").read_bytes())
        (models / name / f"{name}-int8.tflite").write_bytes(b"another")
    code, _, errors = compiled(tmp_path, compiler, "--models", str(models))
    assert code == 2
    assert "not the file of the manifest" in errors


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--out: expected the folder to make"),
        (["--out"], "--out: expected a value"),
        (["--out", "/"], "it exists"),
        (["--nonsense"], "--nonsense: no such option"),
        (["--out", "x", "--sha256", "12"], "expected 64 hexadecimal digits"),
        (["--out", "x", "--package", "a", "--compiler", "b"], "one of the two"),
        (["--out", "x", "--compiler", "no-such-file", "--sha256", "ab" * 32], "no-such-file: no such file"),
    ],
)
def test_wrong_use_is_said_so(arguments: list[str], words: str) -> None:
    code, _, errors = run(*arguments)
    assert code == 2
    assert words in errors


def test_the_help_teaches() -> None:
    code, said, _ = run("--help")
    assert code == 0
    assert "models.folder" in said
    assert "--allow-partial" in said
