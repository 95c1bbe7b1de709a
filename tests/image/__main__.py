# SPDX-License-Identifier: Apache-2.0
"""Makes an image for a 64-bit ARM board, boots it in QEMU and uses it as its owner would: `make image-test`.

The card gets its settings as files, as `flash.sh write` puts them there; a mosquitto here is the broker, over
TLS; everything else goes through ssh with the key from the card. Nothing in the image knows that it is tested.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.debian_root import MissingError, cache, main, need
from tests.image.checks import CHECKS, Rig
from tests.image.field import CARD_BYTES
from tests.image.machine import Machine
from tests.image.owner import Owner, run

REPOSITORY = Path(__file__).parents[2]
PROGRAMS = (
    "mmdebstrap",
    "mksquashfs",
    "genimage",
    "bmaptool",
    "qemu-system-aarch64",
    "fdtput",
    "mosquitto",
    "mtype",
    "ssh",
    "openssl",
)


def built(version: str, out: Path, *extra: str) -> Path:
    """An image of this checkout in `out`, by the very command that users run, for the key in out/keys. MissingError."""
    flash, keys = str(REPOSITORY / "flash.sh"), out / "keys"
    if not keys.exists():
        run(flash, "keys", str(keys))
    command = [flash, "build", "--version", version, "--out", str(out), *extra]
    command += ["--cache", str(cache() / "image-roots"), "--keyring", str(keys / "update.cert.pem")]
    done = subprocess.run(command, check=False)
    if done.returncode:
        raise MissingError(f"flash.sh build failed ({done.returncode})")
    return next(out.glob(f"porter-{version}-*.img"))


def suite() -> int:
    """Returns 0 where every check passed."""
    parser = argparse.ArgumentParser(prog="python -m tests.image", description=__doc__)
    parser.add_argument("--image", type=Path, help="an image that is there, instead of a new one")
    parser.add_argument("--whole", action="store_true", help="with the packages' set-up scripts, as it ships")
    parser.add_argument("--keep", action="store_true", help="keep the card and the console's log")
    chosen = parser.parse_args()
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    need(*PROGRAMS)
    began = time.monotonic()
    image = chosen.image or built("0.0.1+test", cache() / "image", *([] if chosen.whole else ["--fast"]))
    print(f"IMAGE {image.name}: made in {time.monotonic() - began:.0f} s", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="porter-image-"))
    card = folder / "card.img"
    subprocess.run(["cp", "--sparse=always", image, card], check=True)
    with card.open("r+b") as opened:
        opened.truncate(CARD_BYTES)
    owner = Owner(folder)
    machine = Machine(card, folder / "console.log")
    passed, failures = 0, []
    try:
        owner.start_broker()
        owner.put_settings(card)
        machine.start()
        rig = Rig(machine, owner)
        for check in CHECKS:
            name, began = check.__name__.replace("_", " "), time.monotonic()
            try:
                said = check(rig)
            except Exception as error:  # noqa: BLE001  the others are still worth running
                failures.append(f"IMAGE FAILED {name}: {error!r}")
                print(failures[-1], flush=True)
                if not machine.on():
                    break
            else:
                passed += 1
                print(f"IMAGE ok {name} ({time.monotonic() - began:.1f} s): {said}", flush=True)
    finally:
        machine.kill()
        owner.close()
    print(f"IMAGE {passed} of {len(CHECKS)} passed", flush=True)
    if passed < len(CHECKS):
        print("the console's last lines:", *(text for _, text in machine.lines[-25:]), sep="\n  ")
    if chosen.keep or passed < len(CHECKS):
        # Once more: of a long log people, and CI, keep the end.
        print(*failures, f"kept: {folder}", sep="\n")
    else:
        shutil.rmtree(folder)
    return 0 if passed == len(CHECKS) else 1


if __name__ == "__main__":
    main(suite)
    sys.exit(0)
