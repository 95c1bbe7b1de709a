# SPDX-License-Identifier: Apache-2.0
"""Debian roots for suites that need another system than the one they run on: made once, kept in a cache.

A root is a folder named after the hash of all that it is made from, so that a changed list makes a new one and an
unchanged one costs nothing. Nothing here needs a loop device or a container engine, but it needs to be root.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SUITE = "trixie"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SOURCES = Path("/etc/apt/sources.list.d/debian.sources")
NOT_NEEDED = ("man", "doc", "locale")


class MissingError(Exception):
    """Something that this machine lacks, and what to do about it."""


def need(*programs: str) -> None:
    """Raises MissingError for what a root cannot be made or entered without."""
    if os.geteuid():
        raise MissingError("this suite makes a Debian root and enters it: run it as root")
    lacking = [each for each in programs if shutil.which(each) is None]
    if lacking:
        raise MissingError(f"{' and '.join(lacking)} missing: apt install {' '.join(lacking)}")


def cache() -> Path:
    """Where roots are kept: PORTER_TEST_CACHE, else porter-tests in the user's cache folder."""
    said = os.environ.get("PORTER_TEST_CACHE")
    return Path(said) if said else Path.home() / ".cache" / "porter-tests"


def mirror() -> str:
    """The archive that this machine itself takes its packages from; PORTER_DEBIAN_MIRROR where it has none."""
    said = os.environ.get("PORTER_DEBIAN_MIRROR")
    if said:
        return said
    lines = SOURCES.read_text().splitlines() if SOURCES.exists() else []
    uris = [line.split()[1] for line in lines if line.startswith("URIs:")]
    if not uris or not KEYRING.exists():
        raise MissingError(
            "no Debian archive known here: set PORTER_DEBIAN_MIRROR=URL, and apt install debian-archive-keyring"
        )
    return uris[0]


def made(
    name: str,
    packages: Sequence[str],
    inputs: Sequence[bytes],
    finish: Callable[[Path], None],
    arch: str = "",
) -> Path:
    """The root of that name with these packages, from the cache or made now (a minute or more).

    inputs: whatever else `finish`, which is called with the new root, puts into it: part of the root's name.
    """
    key = hashlib.sha256(repr((SUITE, arch, sorted(packages))).encode() + b"".join(inputs)).hexdigest()[:16]
    root = cache() / f"{name}-{key}"
    if root.exists():
        return root
    print(f"making {root} (once; a minute or more)", flush=True)
    cache().mkdir(parents=True, exist_ok=True)
    half = Path(tempfile.mkdtemp(prefix=f"{name}-", suffix=".half", dir=cache()))
    try:
        _bootstrap(half / "root", packages, arch)
        finish(half / "root")
        (half / "root").rename(root)
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return root


def only_the_root() -> bool:
    """Whether the suite was asked to make its root and no more: .ci/run has time for that early (--root-only)."""
    return "--root-only" in sys.argv[1:]


def _bootstrap(root: Path, packages: Sequence[str], arch: str) -> None:
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(packages)}"]
    command += [f"--architectures={arch}"] if arch else []
    command += [f"--dpkgopt=path-exclude=/usr/share/{each}/*" for each in NOT_NEEDED]
    said = subprocess.run(
        [*command, SUITE, str(root), f"deb [signed-by={KEYRING}] {mirror()} {SUITE} main"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if said.returncode:
        raise MissingError(f"mmdebstrap failed ({said.returncode}):\n{said.stdout[-2000:]}")


def entered(root: Path, binds: dict[Path, str], command: Sequence[str], env: dict[str, str]) -> int:
    """Runs `command` inside, with /proc, /dev and `binds` (a folder here: its place there, read-only). Its exit code.

    All mounts are in a mount namespace of their own and end with it, however that may be.
    """
    lines = ["set -e", f"mount -t proc proc {root}/proc", f"mount --rbind /dev {root}/dev"]
    for here, there in binds.items():
        lines += [f"mkdir -p {root}{there}", f"mount --bind {here} {root}{there}"]
        lines += [f"mount -o remount,bind,ro {root}{there}"]
    lines.append(f'exec chroot {root} "$@"')
    inside = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8"]
    inside += [f"{key}={value}" for key, value in env.items()]
    shell = ["sh", "-c", "\n".join(lines), "sh", *inside, *command]
    return subprocess.run(["unshare", "--mount", "--propagation", "private", *shell], check=False).returncode


def main(suite: Callable[[], int]) -> None:
    """Runs a suite's main and ends the process: 2, with one line, for what is missing here."""
    try:
        sys.exit(suite())
    except MissingError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
