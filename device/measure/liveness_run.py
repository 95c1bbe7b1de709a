# SPDX-License-Identifier: Apache-2.0
"""porter evaluate --attacks: measures, prints, writes attacks.json into `--out`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from device.measure.liveness import measure_attacks
from device.measure.progress import clock
from device.measure.report import interval, percent, table, write_json
from device.options import Config

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping


def run(args: argparse.Namespace, caveat: str) -> int:
    """caveat: what has to stand beside figures of these photos. Returns the exit code. Raises InputError."""
    started = time.monotonic()
    default = Config()
    config = msgspec.structs.replace(
        default,
        models=msgspec.structs.replace(default.models, folder=str(args.models)),
        inference=msgspec.structs.replace(
            default.inference, delegate="cpu", runtime=args.runtime, threads=args.threads
        ),
    )
    figures = measure_attacks(args.data, config, args.limit)
    figures["about"]["caveat"] = caveat
    print_tables(figures)
    write_json(args.out / "attacks.json", figures)
    print(f"\n{caveat}\n\nwritten: {args.out / 'attacks.json'}")
    print(f"took {clock(time.monotonic() - started)} minutes")
    return 0


def print_tables(figures: Mapping[str, Any]) -> None:
    """What was measured, for people."""
    print_errors("Matches at the shipped threshold (IAPAR)", {"photo": figures["matches"]})
    parallax = figures["parallax"]
    print(f"\nParallax, live from {parallax['live_from']:.3f}")
    rows = [
        (kind, *(str(each[key]) for key in ("presentations", "live", "flat", "null")))
        for kind, each in parallax["kinds"].items()
    ]
    print(table(("kind", "n", "live", "flat", "cannot tell"), rows))
    for rule in ("only_live_passes", "only_flat_is_refused"):
        errors = {kind: each[rule] for kind, each in parallax["kinds"].items()}
        print_errors(f"Parallax, errors where {rule.replace('_', ' ')} (bona_fide: BPCER)", {"track": errors})
    for name, cue in figures["cues"].items():
        said = {"photo": cue["photos"], "track": cue["tracks"]}
        print_errors(f"{name}, threshold {cue['threshold']:.3f}, errors (bona_fide: BPCER)", said)


def print_errors(title: str, said: Mapping[str, Mapping[str, Any]]) -> None:
    """Counts and shares by what was judged and by kind."""
    rows = [
        (
            f"{what} {kind}",
            f"{each['hits']} of {each['trials']}",
            "-" if each["share"] is None else percent(each["share"]),
            interval(each["share_95"]),
        )
        for what, kinds in said.items()
        for kind, each in kinds.items()
    ]
    print(f"\n{title}\n{table(('', 'count', 'share', '95 %'), rows)}")
