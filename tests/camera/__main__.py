# SPDX-License-Identifier: Apache-2.0
"""Makes a Debian root with libcamera and picamera2 (once), and runs this folder's tests in it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from PIL import Image

from tests.debian_root import entered, made, main, need, only_the_root

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent
PACKAGES = (
    "python3-libcamera",
    "libcamera-ipa",
    "python3-numpy",
    "python3-pil",
    "python3-prctl",
    "python3-piexif",
    "python3-av",
    "python3-jsonschema",
    "python3-msgspec",
    "python3-pytest",
    "libarchive13t64",  # picamera2.devices wants it
)
REQUIREMENTS, CAMERAS, SHIM = HERE / "requirements.txt", HERE / "virtual.yaml", HERE / "dmabuf_stand_in.c"


def finish(root: Path) -> None:
    """picamera2 itself from its own wheel: Debian does not have it."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    target = ["--only-binary=:all:", "--python-version=3.13", f"--target={root}/opt/picamera2"]
    subprocess.run([*pip, *target, "-r", str(REQUIREMENTS)], check=True)
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", f"{root}/opt/shim.so", str(SHIM)], check=True)


def plug(root: Path) -> None:
    """The cameras, anew for every run, since a test unplugs them; and the picture that one of them is frozen on."""
    folder = root / "usr/share/libcamera/pipeline/virtual"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "virtual.yaml").write_bytes(CAMERAS.read_bytes())
    slope = Image.linear_gradient("L").resize((640, 360)).convert("RGB")
    slope.save(folder / "frozen.jpg")


def suite() -> int:
    """Returns pytest's exit code."""
    need("mmdebstrap", "unshare", "gcc")
    inputs = [each.read_bytes() for each in (REQUIREMENTS, SHIM)]
    root = made("camera", PACKAGES, inputs, finish)
    if only_the_root():
        return 0
    plug(root)
    pytest = ["python3", "-m", "pytest", "-p", "no:cacheprovider", "--noconftest", "-c", "/dev/null", "-ra"]
    env = {
        "LD_PRELOAD": "/opt/shim.so",
        "LIBCAMERA_LOG_LEVELS": "*:ERROR",
        "PYTHONPATH": "/porter:/opt/picamera2",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    tests = "/porter/tests/camera"
    return entered(root, {REPOSITORY: "/porter"}, [*pytest, "--rootdir", tests, tests, *sys.argv[1:]], env)


if __name__ == "__main__":
    main(suite)
