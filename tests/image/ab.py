# SPDX-License-Identifier: Apache-2.0
"""Updates of a whole image in QEMU: `make image-ab`. Good ones are kept, bad ones go back by themselves, and the power
fails at every kind of moment.

Three devices are played, each with a card, a broker and a web server that has its updates; what is tried on
which is in `ab_cases`. The updates are made of the image under test (`variants`). A power cut is kill -9 of the
machine: what the guest had written is there, and the tryboot flag is gone. Every moment that is tried is printed and
counted.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tests.debian_root import cache, main, need
from tests.image.__main__ import PROGRAMS, built
from tests.image.ab_cases import (
    LANES,
    POOL,
    cuts,
    enrolled,
    first_boots_that_lose_their_power,
    somebody_enrols,
)
from tests.image.field import Field
from tests.image.owner import FACES, NOBODY
from tests.image.variants import Updates

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.image.variants import Variant


Case = Callable[[Field], str]


class Lane(threading.Thread):
    """One device and its cases, one after the other, then what is left in the pool that lanes share.

    A case that fails leaves the next one a device that is on.
    """

    def __init__(
        self, name: str, image: Path, bundles: Callable[[Variant], Path], cases: list[Case], pool: deque[Case]
    ) -> None:
        super().__init__(name=name)
        self._image, self._bundles, self._own, self._pool = image, bundles, cases, pool
        self.passed, self.failures = 0, list[str]()
        self.kept: Path | None = None

    def run(self) -> None:
        """All of it."""
        if not self._own and not self._pool:
            return
        # Two emulators have a core each; a third one would make the enrolment too slow.
        if not {somebody_enrols, first_boots_that_lose_their_power} & set(self._own):
            enrolled.wait(1800)
        folder = Path(tempfile.mkdtemp(prefix=f"porter-ab-{self.name}-"))
        view = FACES if somebody_enrols in self._own else NOBODY
        field = Field(self.name, self._image, self._bundles, folder, view)
        try:
            for case in self._cases():
                self._try(case, field)
        except Exception as error:  # noqa: BLE001  the other lane is still worth running
            self.failures.append(f"{self.name}: {error!r}")
        finally:
            field.close()
        if self.failures:
            self.kept = folder
        else:
            shutil.rmtree(folder)

    def _cases(self) -> Iterator[Case]:
        yield from self._own
        while True:
            try:
                yield self._pool.popleft()
            except IndexError:
                return

    def _try(self, case: Case, field: Field) -> None:
        name, began = case.__name__.replace("_", " "), time.monotonic()
        try:
            if not field.machine.on() and case is not first_boots_that_lose_their_power:
                field.up()
            said = case(field)
        except Exception as error:  # noqa: BLE001  the others are still worth running
            self.failures.append(f"{self.name}: {name}: {error!r}")
            field.say(f"FAILED {name} ({time.monotonic() - began:.0f} s): {error!r}")
            field.machine.kill()
        else:
            self.passed += 1
            field.say(f"ok {name} ({time.monotonic() - began:.0f} s): {said}")


def suite() -> int:
    """Returns 0 where every case passed."""
    parser = argparse.ArgumentParser(prog="python -m tests.image.ab", description=__doc__)
    parser.add_argument(
        "--image", type=Path, help="an image that is there (with --keys), instead of a new one"
    )
    parser.add_argument("--keys", type=Path, help="the folder of its keys (flash.sh keys)")
    parser.add_argument("--only", default="", help="cases whose name this pattern is found in")
    chosen = parser.parse_args()
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    need(*PROGRAMS, "rauc", "unsquashfs")
    began, out = time.monotonic(), cache() / "image-ab"
    image = chosen.image or built("0.0.1+test", out, "--fast")
    bundles = Updates(image, chosen.keys or out / "keys", out / "bundles")
    print(f"AB {image.name}: made in {time.monotonic() - began:.0f} s", flush=True)
    began = time.monotonic()
    pool = deque(case for case in POOL if re.search(chosen.only, case.__name__))
    lanes = []
    for name, cases in LANES.items():
        own = [case for case in cases if re.search(chosen.only, case.__name__)]
        lanes.append(Lane(name, image, bundles, own, deque() if name == "waiting" else pool))
    if chosen.only:
        enrolled.set()
    for lane in lanes:
        lane.start()
    for lane in lanes:
        lane.join()
    failures = [text for lane in lanes for text in lane.failures]
    print(f"AB {len(cuts)} power cuts:", *cuts, sep="\n  ")
    print(
        f"AB {sum(lane.passed for lane in lanes)} passed, {len(failures)} failed, {time.monotonic() - began:.0f} s"
    )
    print(*failures, *(f"kept: {lane.kept}" for lane in lanes if lane.kept), sep="\n")
    return 1 if failures else 0


if __name__ == "__main__":
    main(suite)
